"""The commands: mistakes answered without a traceback, and the whole path on a small store."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.tuner.drive import Plan, driver, search_in_process, settings_of
from tests.tuner.without_ray import NoCluster
from tuner import export, search
from tuner.errors import SearchError, SettingsMismatch
from tuner.report import __main__ as report
from tuner.report.findings import gather
from tuner.report.model_card import model_card
from tuner.run import jsonlines
from tuner.run.layout import RunFolder
from tuner.run.log import Log
from tuner.run.settings import SearchSettings, check_resumed, duration_text, parse_duration


@pytest.mark.parametrize(("text", "seconds"), [("2h", 7200), ("90", 90), ("1h30m", 5400), ("1.5h", 5400), ("45s", 45)])
def test_durations_are_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "0", "-1h", "2d"])
def test_other_durations_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a duration must"):
        parse_duration(text)


def test_durations_are_written_for_people() -> None:
    assert [duration_text(s) for s in (4.4, 75, 1500, 8000)] == ["4 s", "1 min 15 s", "25 min", "2 h 13 min"]


@pytest.mark.parametrize("arguments", [["--gpus-per-trial", "0.5"], ["--concurrent", "3"], ["--cpus-per-trial", "4"]])
def test_a_refused_start_leaves_the_name_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    monkeypatch.setattr("tuner.driver.Cluster", NoCluster)
    monkeypatch.setattr("tuner.search.check_machine", lambda *_: None)  # as where Ray finds less than PyTorch
    assert search.main(["--space", "table5", "--runs", str(tmp_path), "--name", "z", *arguments]) == 2
    assert "error: " in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    (tmp_path / "z").mkdir()
    (tmp_path / "z" / "mine.txt").touch()
    assert search.main(["--space", "table5", "--runs", str(tmp_path), "--name", "z", *arguments]) == 2
    assert [path.name for path in (tmp_path / "z").iterdir()] == ["mine.txt"], "what is not ours stays"


def test_a_refused_resume_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuner.driver.Cluster", NoCluster)
    run = RunFolder(tmp_path / "run")
    run.write({"settings": settings_of(Plan(folder=str(run.path))).as_dict(), "status": "interrupted"})
    busy = driver(Plan(folder=str(run.path), trials=99))
    before = run.read()
    with run.only_writer(), pytest.raises(SearchError, match="one writer"):
        busy.execute()
    assert run.read() == before


def test_the_model_card_names_the_folder_that_it_was_exported_to(tmp_path: Path) -> None:
    plan = Plan(folder=str(tmp_path / "run"), trials=1)
    run = RunFolder(Path(plan.folder))
    run.write({"settings": settings_of(plan).as_dict(), "status": "done"})
    search_in_process(plan)
    mae = {"mae": 0.1, "rmse": 0.2, "r2": 0.3}
    metrics = {part: {"band_gap": mae, "fermi_energy": mae} for part in ("test", "validation")}
    info = {
        "num_parameters": 1,
        "metrics": metrics,
        "store": {"source": "sample", "fingerprint": "0"},
        "graph": {},
        "trial": {"key": "0000", "params": {}, "seed": 0},
        "search": {"run": "run"},
        "train": {"epochs": 9},
        "best_epoch": 1,
        "score": 0.5,
        "trained_with": {},
    }
    card = model_card(gather(run), info, Path("exports/my best"))
    assert card.startswith("# my best\n")
    assert "python -m model.predict 'exports/my best' my.cif" in card


def test_a_resume_under_other_settings_is_refused_with_both_values() -> None:
    old = settings_of(Plan(folder="x"))
    other = {"train": 1, "validation": 1, "test": 1, "fractions": [0.7, 0.2, 0.1]}
    cases: list[tuple[dict[str, Any], str]] = [
        ({"seed": 4}, "--seed was 3 and is now 4"),
        ({"max_epochs": 50}, "--max-epochs was 9 and is now 50"),
        ({"tasks": ("band_gap",)}, "--tasks was band_gap,fermi_energy and is now band_gap"),
        ({"sampler": "random"}, "--sampler was tpe and is now random"),
        ({"space_text": "other"}, "--space was the space as it was"),
        ({"split": other}, "--valid was 0.1 and is now 0.2"),
        ({"asha": None}, "was grace_epochs 1, reduction 3 and is now none"),
        ({"fingerprint": "x"}, "the sample that ships has changed since the search began: .*; start a new search"),
        ({"fingerprint": "x", "store": "/b"}, "--store /b is not the sample that ships, with which .*; leave --store"),
    ]
    for changes, message in cases:
        with pytest.raises(SettingsMismatch, match=message):
            check_resumed(old, SearchSettings.from_dict({**old.as_dict(), **changes}), "mine")
    for changes in ({"trials": 99}, {"finalists": None}, {"finalist_seeds": 7}):
        check_resumed(old, SearchSettings.from_dict({**old.as_dict(), **changes}), "mine")


def test_settings_survive_the_way_to_disk() -> None:
    settings = settings_of(Plan(folder="x"))
    assert SearchSettings.from_dict(json.loads(json.dumps(settings.as_dict()))) == settings


def test_two_searches_cannot_write_to_one_run(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    script = (
        "import sys; from pathlib import Path; from tuner.run.layout import RunFolder\n"
        "with RunFolder(Path(sys.argv[1])).only_writer(): pass"
    )
    with run.only_writer():
        assert run.is_being_written()
        other = subprocess.run(
            [sys.executable, "-c", script, str(run.path)], capture_output=True, text=True, cwd=Path(__file__).parents[2]
        )
        assert "a run must have one writer, but process" in other.stderr
    assert not run.is_being_written()


def test_the_report_of_a_search_that_died_tells_what_is_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = Plan(folder=str(tmp_path / "run"), trials=9)
    run = RunFolder(Path(plan.folder))
    run.write({"settings": {**settings_of(plan).as_dict(), "trials": 20}, "status": "searching"})
    search_in_process(plan)
    with open(run.epochs, "ab") as file:
        file.write(b'{"torn')
    with open(run.journal, "ab") as file:
        file.write(b'{"torn')
    assert report.main([str(run.path)]) == 0
    output = capsys.readouterr().out
    assert "searching, but no process is at it (use --resume)" in output
    assert "9 of 20 trials" in output
    assert "the best ten" in output
    assert "importance" in output
    rows = list(csv.DictReader((run.report / "trials.csv").read_text().splitlines()))
    assert len(rows) == 9
    assert rows[0]["band_gap MAE [eV]"]
    trials = json.loads((run.report / "trials.json").read_text())["trials"]
    assert trials[0]["curve"]
    assert trials[0]["params"]["num_convs"] == 3
    for name in ("curves.png", "importances.png"):
        assert (run.report / name).read_bytes().startswith(b"\x89PNG")
    assert "## Learning curves" in (run.report / "report.md").read_text()


def test_folders_that_cannot_be_written_to_are_answered_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = Plan(folder=str(tmp_path / "run"), trials=1)
    run = RunFolder(Path(plan.folder))
    run.write({"settings": settings_of(plan).as_dict(), "status": "done"})
    search_in_process(plan)
    jsonlines.write_json(run.trial(0) / "best" / "model.safetensors", {})
    run.report.touch()
    assert report.main([str(run.path)]) == 2
    assert export.main([str(run.path), "-o", str(run.report)]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2
    assert all(line.startswith("error: ") and str(run.report) in line for line in errors)
    assert "-o must be a folder" in errors[1]


def test_nothing_is_reported_as_running_where_no_process_is_at_it(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.write({"settings": settings_of(Plan(folder=str(run.path))).as_dict(), "status": "searching"})
    log = Log(run.epochs)
    log.begin({"0000": {"num_convs": 1}})
    log.add_epoch("0000", 1, "continue", {"score": 0.5})
    assert gather(run).board.trainings["0000"].state == "waiting"
    with run.only_writer():
        assert gather(run).board.trainings["0000"].state == "running"


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report.main([str(tmp_path)]) == 2
    assert export.main([str(tmp_path), "-o", str(tmp_path / "out")]) == 2
    assert "must be the folder of a search" in capsys.readouterr().err


@pytest.mark.ray
@pytest.mark.slow
def test_the_whole_path_from_a_store_to_an_exported_model(tmp_path: Path, sample_store: Path) -> None:
    space = tmp_path / "mine.toml"
    space.write_text(
        "[parameters]\natom_dim = [8, 16]\nlearning_rate = { low = 1e-3, high = 1e-1, log = true }\n"
        "loss_weight = { values = [1, 2], per_task = true }\n[fixed]\nnum_convs = 1\nbatch_size = 64\n"
    )
    runs = ["--runs", str(tmp_path / "runs")]
    here = tmp_path / "here"  # where the user has files named like our packages: neither driver nor workers run them
    (here / "tuner").mkdir(parents=True)
    for name in ("model.py", "graphdb.py", "tuner/__init__.py"):
        (here / name).write_text("raise SystemExit('the wrong file was run')\n")

    def run(module: str, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-P", "-m", module, *arguments],
            capture_output=True,
            text=True,
            cwd=here,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stderr == "", "a quiet search writes nothing to stderr"
        return done.stdout

    tasks = ["--store", str(sample_store), "--tasks", "band_gap,fermi_energy"]
    small = ["--trials", "3", "--max-epochs", "2", "--finalists", "1", "--finalist-seeds", "2"]
    output = run("tuner.search", "--space", str(space), "--name", "mine", *runs, *tasks, *small)
    folder = tmp_path / "runs" / "mine"
    assert "python -m tuner.export" in output
    assert "test MAE" in output
    assert not (folder / ".ray").exists()
    assert "importances.json" in run("tuner.report", str(folder))
    exported = tmp_path / "exported"
    run("tuner.export", str(folder), "-o", str(exported))
    rows = list(csv.DictReader((exported / "predictions.csv").read_text().splitlines()))
    assert list(rows[0]) == [
        "material_id",
        "true band_gap [eV]",
        "predicted band_gap [eV]",
        "true fermi_energy [eV]",
        "predicted fermi_energy [eV]",
    ]
    config = json.loads((exported / "config.json").read_text())
    assert config["metrics"]["test"]["band_gap"]["count"] == len(rows)
    mae = sum(abs(float(r["true band_gap [eV]"]) - float(r["predicted band_gap [eV]"])) for r in rows) / len(rows)
    assert mae == pytest.approx(config["metrics"]["test"]["band_gap"]["mae"], rel=1e-4)
    assert (exported / "parity.png").read_bytes().startswith(b"\x89PNG")
    assert f"python -m model.predict {exported} my.cif" in (exported / "README.md").read_text()
