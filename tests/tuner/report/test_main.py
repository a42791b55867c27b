"""The command `tuner.report`."""

import csv
import json
from pathlib import Path

import pytest

from tests.tuner.drive import Plan, search_in_process, settings_of
from tuner import export
from tuner.report import __main__ as report
from tuner.run import jsonlines
from tuner.run.run_folder import RunFolder


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


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report.main([str(tmp_path)]) == 2
    assert export.main([str(tmp_path), "-o", str(tmp_path / "out")]) == 2
    assert "must be the folder of a search" in capsys.readouterr().err
