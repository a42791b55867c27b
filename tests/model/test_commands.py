"""The entry points: train, killed and resumed; predict, with a row for everything; evaluate, on equal graphs only."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from graphdb import build
from model import evaluate, predict, train
from model.checkpoint import load_checkpoint, save_checkpoint
from model.network import MTCGCNN
from model.shipped import WEIGHTS

CONFIG = """
[architecture]
num_convs = 1
atom_dim = 8
head_dim = 8

[train]
epochs = 40
batch_size = 8
learning_rate = 0.02
"""
TASKS = ["--tasks", "formation_energy_per_atom,band_gap"]
NACL = "x\n1.0\n0 2.8 2.8\n2.8 0 2.8\n2.8 2.8 0\nNa Cl\n1 1\ndirect\n0 0 0\n0.5 0.5 0.5\n"


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "small.toml"
    path.write_text(CONFIG)
    return path


@pytest.fixture(scope="module")
def trained(small_store: Path, config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model trained without interruption."""
    folder = tmp_path_factory.mktemp("trained") / "whole"
    assert train.main([str(small_store), "-o", str(folder), "--config", str(config), "--device", "cpu", *TASKS]) == 0
    return folder


def test_training_writes_checkpoint_history_and_nothing_else(trained: Path) -> None:
    assert sorted(path.name for path in trained.iterdir()) == ["config.json", "history.csv", WEIGHTS]
    _, info = load_checkpoint(trained)
    assert {"graph", "split", "metrics", "test_metrics", "train", "versions", "store_fingerprint"} <= info.keys()
    assert len((trained / "history.csv").read_text().splitlines()) == 41


def test_training_killed_and_started_again_ends_with_the_same_weights(
    trained: Path,
    small_store: Path,
    config: Path,
    repository: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = [str(small_store), "-o", str(tmp_path / "run"), "--config", str(config), "--device", "cpu", *TASKS]
    command = [sys.executable, "-m", "model.train", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, cwd=repository, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("epoch    3/"):
                process.send_signal(signal.SIGKILL)
                break
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "run" / WEIGHTS).exists()
    assert train.main(arguments) == 0
    assert "going on after epoch" in capsys.readouterr().out
    whole, resumed = (safetensors.torch.load_file(folder / WEIGHTS) for folder in (trained, tmp_path / "run"))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert not list((tmp_path / "run").glob("state*"))


def test_training_does_not_overwrite_a_finished_model(
    trained: Path, small_store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (trained / WEIGHTS).read_bytes()
    assert train.main([str(small_store), "-o", str(trained), "--device", "cpu"]) == 2
    assert "holds a finished model" in capsys.readouterr().err
    assert (trained / WEIGHTS).read_bytes() == before


def test_diverged_training_leaves_room_for_another_try(
    small_store: Path, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    arguments = [str(small_store), "-o", str(tmp_path), "--config", str(config), "--device", "cpu", *TASKS]
    with monkeypatch.context() as patch:
        patch.setattr("model.training.multitask_loss", lambda output, *_: output.sum() * float("nan"))
        assert train.main(arguments) == 2
    assert "lower learning_rate" in capsys.readouterr().err
    assert train.main([*arguments, "--epochs", "2"]) == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[train]\nlearning_rat = 1",
            "keys that are known, got learning_rat .*; it may have learning_rate, .*; did you mean 'learning_rate'?",
        ),
        ("[train]\nlearning_rate = 'fast'", "learning_rate must be above 0 .* got 'fast'"),
        ("[optimizer]\nx = 1", "tables .*architecture.*, got optimizer"),
        ("train = 3", "train"),
        ("[train", "must be TOML"),
    ],
)
def test_mistakes_in_the_configuration_are_named(
    text: str, message: str, small_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    assert train.main([str(small_store), "-o", str(tmp_path / "out"), "--config", str(path)]) == 2
    error = capsys.readouterr().err
    assert re.search(message, error), error
    assert str(path) in error


@pytest.fixture
def sources(tmp_path: Path) -> list[str]:
    """A CIF, a POSCAR, a folder with an unreadable file among others, and an archive that is none."""
    (tmp_path / "one.poscar").write_text(NACL)
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "b.vasp").write_text(NACL.replace("Cl", "Br"))
    (folder / "a.cif").write_text("data_broken\n_cell_length_a x\n")
    cif = f"""data_Al
_cell_length_a 4.05
_cell_length_b 4.05
_cell_length_c 4.05
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'P 1'
loop_
_atom_site_type_symbol
_atom_site_label
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
{"".join(f"Al Al{i} {x} 1{chr(10)}" for i, x in enumerate(("0 0 0", "0 0.5 0.5", "0.5 0 0.5", "0.5 0.5 0")))}"""
    (tmp_path / "metal.cif").write_text(cif)
    (tmp_path / "cut.tar.gz").write_bytes(b"\x1f\x8b")
    return [str(tmp_path / name) for name in ("metal.cif", "cut.tar.gz", "folder", "one.poscar")]


def test_prediction_has_a_row_for_everything_in_order(
    trained: Path, sources: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict.main([str(trained), *sources, "-o", str(tmp_path / "out.csv"), "--device", "cpu"]) == 1
    with (tmp_path / "out.csv").open(newline="") as lines:
        header, *rows = csv.reader(lines)
    assert header == ["material_id", "formation_energy_per_atom [eV/atom]", "band_gap [eV]", "warning", "error"]
    assert [row[0] for row in rows] == ["metal", "cut.tar", "a", "b", "one"]
    for row in rows:
        assert (row[1] == row[2] == "") == (row[0] in ("cut.tar", "a"))
        assert bool(row[4]) == (row[0] in ("cut.tar", "a"))
    errors = capsys.readouterr().err
    assert "3 of 5 crystals predicted" in errors
    assert "2 not: the column 'error' says why" in errors


def test_prediction_on_the_screen_is_the_same_table(
    trained: Path, sources: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    predict.main([str(trained), *sources, "-o", str(tmp_path / "out.csv"), "--device", "cpu"])
    capsys.readouterr()
    assert predict.main([str(trained), *sources, "--device", "cpu"]) == 1
    assert capsys.readouterr().out == (tmp_path / "out.csv").read_text()


def test_prediction_of_nothing_fails_with_1(
    trained: Path, sources: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict.main([str(trained), str(tmp_path / "folder" / "a.cif"), "--device", "cpu"]) == 1
    assert "a,,,,no atoms: " in capsys.readouterr().out


def test_unknown_model_is_refused_with_2(sources: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert predict.main(["no-such-model", *sources]) == 2
    assert "no-such-model, which is not there" in capsys.readouterr().err


def test_evaluation_repeats_the_test_metrics_of_training(
    trained: Path, small_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "predictions.csv"
    assert evaluate.main([str(trained), str(small_store), "--json", "-o", str(output), "--device", "cpu"]) == 0
    report = json.loads(capsys.readouterr().out)
    expected = load_checkpoint(trained)[1]["test_metrics"]
    for task, metrics in expected.items():
        assert report["metrics"][task]["mae"] == pytest.approx(metrics["mae"], rel=1e-5)
        assert report["metrics"][task]["count"] == metrics["count"]
    assert len(output.read_text().splitlines()) == 1 + metrics["count"]


def test_evaluation_on_other_graphs_is_refused_with_both_values(
    trained: Path, sample_csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, info = load_checkpoint(trained)
    save_checkpoint(tmp_path / "other", model, {"graph": {**info["graph"], "shell_width": 0.1}})
    store = tmp_path / "one.lmdb"
    (tmp_path / "one.poscar").write_text(NACL)
    (tmp_path / "t.csv").write_text("material_id,formation_energy_per_atom,band_gap\none,1,2\n")
    assert build.main([str(tmp_path / "one.poscar"), str(store), "--targets", str(tmp_path / "t.csv")]) == 0
    assert evaluate.main([str(tmp_path / "other"), str(store), "--split", "all", "--device", "cpu"]) == 2
    error = capsys.readouterr().err
    assert "shell_width: 0.03, not 0.1" in error
    assert "build a store with these settings" in error


def test_checkpoint_that_does_not_tell_its_graphs_is_refused(
    trained: Path, small_store: Path, sources: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model: MTCGCNN = load_checkpoint(trained)[0]
    save_checkpoint(tmp_path / "blind", model, {})
    for main, argument in ((evaluate.main, str(small_store)), (predict.main, sources[0])):
        assert main([str(tmp_path / "blind"), argument, "--device", "cpu"]) == 2
        assert "must say how its graphs are made" in capsys.readouterr().err


def test_element_that_the_model_was_not_given_costs_its_own_row(
    trained: Path, sources: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, info = load_checkpoint(trained)
    model.elements[1:] = 0.0
    blind = {key: info[key] for key in ("graph", "split")}
    save_checkpoint(tmp_path / "blind", model, blind)
    assert predict.main([str(tmp_path / "blind"), sources[0]]) == 1
    assert "this model knows no Al" in capsys.readouterr().out


def test_configuration_of_a_checkpoint_brings_its_tasks_along(trained: Path, small_store: Path, tmp_path: Path) -> None:
    arguments = [str(small_store), "-o", str(tmp_path / "again"), "--config", str(trained / "config.json")]
    assert train.main([*arguments, "--epochs", "1"]) == 0
    assert load_checkpoint(tmp_path / "again")[0].tasks == load_checkpoint(trained)[0].tasks
