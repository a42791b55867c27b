"""The export of a search: whole, never over other files, with hyperparameters that train on any store."""

import json
import re
import shlex
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from graphdb import build
from graphdb.records import finite_or_none
from model import evaluate, predict, train
from model.checkpoint import load_checkpoint
from model.hyperparameter_file import Hyperparameters
from tuner import export
from tuner.data import load_crystals
from tuner.protocol import EpochResult
from tuner.run import trial_folder
from tuner.run.run_folder import RunFolder
from tuner.run.settings import SearchSettings
from tuner.space.toml import parse_space
from tuner.study.study import Study
from tuner.trainer_factory import make_factory
from tuner.trials.search import SearchQueue
from tuner.trials.stopping.none import NoStopping

SPACE = """
[parameters]
atom_dim = [8]
loss_weight = { values = [1, 3], per_task = true }
[fixed]
num_convs = 1
head_dim = 8
batch_size = 16
learning_rate = 0.02
max_atoms = 64
"""
TASKS = ("formation_energy_per_atom", "band_gap")


@pytest.fixture(scope="module")
def run(small_store: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A search of one trial, without Ray and without processes."""
    found = RunFolder(tmp_path_factory.mktemp("runs") / "my run")
    crystals = load_crystals(str(small_store), list(TASKS))
    known = ("atom_dim", "num_convs", "head_dim", "batch_size", "learning_rate", "max_atoms")
    space = parse_space(SPACE, "mine.toml", TASKS, known, lambda name, value: None, {})
    settings = SearchSettings(
        space_name="mine.toml",
        space_text=SPACE,
        store=str(small_store),
        fingerprint=crystals.graphs.fingerprint,
        tasks=TASKS,
        units=tuple(task.unit for task in crystals.graphs.tasks),
        split=crystals.split.as_dict(),
        seed=1,
        sampler="random",
        stopping={"rule": "none"},
        max_epochs=3,
        trials=1,
        finalists=0,
        finalist_seeds=1,
    )
    found.write({"settings": settings.as_dict(), "status": "done"})
    factory = make_factory(crystals, run="my run", fixed=space.fixed, device="cpu", threads=1)
    work = SearchQueue(
        found,
        Study(space, sampler="random", seed=1),
        rule=NoStopping(max_epochs=3),
        num_trials=1,
        max_epochs=3,
        seed=1,
        notice=lambda queue, what, training: None,
    )
    while (spec := work.next_training()) is not None:
        trainer = factory.build(spec)
        goes_on = True
        while goes_on:
            body = finite_or_none(trainer.run_epoch().as_dict())
            trainer.save_best(found.path / "best", factory.provenance(spec))
            best = trial_folder.pack(found.path / "best")
            goes_on = work.on_result(
                spec.key, EpochResult(epoch=trainer.epoch, finished=trainer.finished, body=body, best=best)
            )
    return found


@pytest.fixture(scope="module")
def exported(run: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exports") / "my best"
    assert export.main([str(run.path), "-o", str(folder), "--device", "cpu"]) == 0
    return folder


def test_export_is_a_whole_checkpoint_with_what_belongs_to_it(exported: Path) -> None:
    names = {path.name for path in exported.iterdir()}
    assert names == {
        *("model.safetensors", "config.json", "metrics.json", "predictions.csv", "parity.png", "README.md"),
        "hyperparameters.toml",
    }
    _, info = load_checkpoint(exported)
    assert info["search"]["trial"] == 0
    assert info["training_elements"].keys() == set(TASKS)
    assert all(info["training_elements"].values())
    assert "- Elements: " in (exported / "README.md").read_text()


def test_what_the_export_says_to_type_next_works(
    run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export.main([str(run.path), "-o", str(tmp_path / "a b"), "--device", "cpu"]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    arguments = shlex.split(line.removeprefix("Next: python -m model.predict "))
    assert arguments == [str(tmp_path / "a b"), "my.cif"]
    example = Path(__file__).parents[2] / "examples" / "NbCoSn.cif"
    assert predict.main([arguments[0], str(example), "--device", "cpu"]) == 0
    # an export may be renewed, and what others put beside it stays
    (tmp_path / "a b" / "notes.txt").write_text("mine")
    assert export.main([str(run.path), "-o", str(tmp_path / "a b"), "--device", "cpu"]) == 0
    assert (tmp_path / "a b" / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("held", "message"),
    [
        ({"my.cif": "data_x"}, "holds other files; choose another"),
        ({"model.safetensors": "", "config.json": "{}"}, "holds a finished model; choose another, or remove it"),
        (None, "must be a folder, but .* is a file"),
    ],
)
def test_export_touches_nothing_that_is_not_its_own(
    held: dict[str, str] | None, message: str, run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    if held is None:
        output.write_text("mine")
    else:
        output.mkdir()
        for name, text in held.items():
            (output / name).write_text(text)
    assert export.main([str(run.path), "-o", str(output)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: -o must be")
    assert len(error.splitlines()) == 1

    assert re.search(message, error)
    if held is None:
        assert output.read_text() == "mine"
    else:
        assert {path.name: path.read_text() for path in output.iterdir()} == held


KILLED_AT_A_RENAME = """
import os, signal, sys
from tuner import export
left, rename = int(sys.argv.pop(1)), os.replace
def replace(*paths):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    rename(*paths)
os.replace = replace
export.main(sys.argv[1:])
"""


@pytest.mark.parametrize("rename", [1, 4], ids=["before the checkpoint", "between weights and configuration"])
def test_an_export_that_was_killed_is_done_anew_in_the_same_folder(
    rename: int, run: RunFolder, exported: Path, tmp_path: Path, repository: Path
) -> None:
    arguments = [str(run.path), "-o", str(tmp_path / "out"), "--device", "cpu"]
    command = [sys.executable, "-c", KILLED_AT_A_RENAME, str(rename), *arguments]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert any((tmp_path / "out").iterdir())
    assert export.main(arguments) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {path.name for path in exported.iterdir()}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--trial", "-1"], "--trial: must be an integer of at least 0, got '-1'"),
        (["--trial", "7"], "trial 7 must have a checkpoint"),
        (["--device", "mps:9"], "device must be auto or one that is here, got 'mps:9'; there are: cpu"),
        (["--devise", "cpu"], "there is no option --devise; did you mean '--device'?"),
    ],
)
def test_mistakes_of_an_export_are_one_line(
    arguments: list[str], message: str, run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        status = export.main([str(run.path), "-o", str(tmp_path / "out"), *arguments])
    except SystemExit as stop:
        status = int(stop.code or 0)
    error = capsys.readouterr().err
    assert status == 2
    assert error.startswith("error: ")
    assert len(error.splitlines()) == 1
    assert message in error
    assert not (tmp_path / "out").exists()


def train_settings(folder: Path) -> tuple[Any, dict[str, Any], Any]:
    _, info = load_checkpoint(folder)
    return info["architecture"], {k: v for k, v in info["train"].items() if k != "loss_weights"}, info["loader"]


@pytest.fixture
def other_store(tmp_path: Path, repository: Path) -> Path:
    """Other crystals with one of the tasks and another one."""
    source = tmp_path / "crystals"
    source.mkdir()
    cell = "x\n1.0\n0 {a} {a}\n{a} 0 {a}\n{a} {a} 0\n{kinds}\n1 1\ndirect\n0 0 0\n0.5 0.5 0.5\n"
    lines = ["id,band_gap [eV],hardness"]
    for number, kinds in enumerate([f"{x} {y}" for x in ("Li", "Na", "K", "Rb", "Cs") for y in ("F", "Cl", "Br", "I")]):
        (source / f"salt{number}.vasp").write_text(cell.format(a=2.5 + number / 20, kinds=kinds))
        lines.append(f"salt{number},{number / 7},{number**2}")
    (tmp_path / "targets.csv").write_text("\n".join(lines))
    store = tmp_path / "other.lmdb"
    assert build.main([str(source), str(store), "--targets", str(tmp_path / "targets.csv")]) == 0
    return store


def test_hyperparameters_of_an_export_train_another_store_alike(
    exported: Path, other_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = exported / "hyperparameters.toml"
    document = tomllib.loads(path.read_text())
    assert document.keys() == {"architecture", "train", "loader"}
    assert document["train"]["loss_weights"].keys() == set(TASKS)
    output = tmp_path / "on other"
    shares = ["--valid", "0.25", "--test", "0.1"]
    command = [str(other_store), "-o", str(output), "--device", "cpu", *shares]
    assert train.main([*command, "--config", str(path)]) == 0
    printed = capsys.readouterr()
    assert "has no formation_energy_per_atom: their weights of the loss are left out" in printed.err
    assert train_settings(output) == train_settings(exported)
    weights = load_checkpoint(output)[1]["train"]["loss_weights"]
    assert weights == [document["train"]["loss_weights"]["band_gap"], 1.0]
    assert load_checkpoint(output)[1]["split"]["fractions"] == [0.65, 0.25, 0.1]
    assert evaluate.main([str(output), str(other_store), "--split", "validation", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["metrics"]["hardness"]["count"] == load_checkpoint(output)[1]["split"]["validation"]


def test_hyperparameters_are_read_back_as_they_were_written(exported: Path, tmp_path: Path) -> None:
    first = Hyperparameters.read(str(exported / "hyperparameters.toml"))
    (tmp_path / "again.toml").write_text(first.as_toml(["a comment"]))
    assert Hyperparameters.read(str(tmp_path / "again.toml")) == first
    assert first.max_atoms == 64
    from_json = Hyperparameters.read(str(exported / "config.json"))
    assert (from_json.architecture, from_json.train) == (first.architecture, first.train)
    assert (from_json.loss_weights, from_json.max_atoms) == (first.loss_weights, first.max_atoms)
    assert from_json.tasks == TASKS


def test_configuration_of_a_checkpoint_on_a_store_without_its_tasks_is_refused_naming_the_flag(
    exported: Path, other_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [str(other_store), "-o", str(tmp_path / "out"), "--config", str(exported / "config.json")]
    assert train.main(command) == 2
    error = capsys.readouterr().err
    assert "must be properties of" in error
    assert error.rstrip().endswith("--tasks chooses others")
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "out").exists()
    assert train.main([*command, "--tasks", "hardness", "--valid", "0.25", "--epochs", "1", "--device", "cpu"]) == 0
