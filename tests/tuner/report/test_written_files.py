"""The files of a report."""

from pathlib import Path

from tests.tuner.drive import Plan, search_in_process, settings_of
from tuner.report.summary import summarize_run
from tuner.report.written_files import write_report
from tuner.run import jsonlines
from tuner.run.run_folder import RunFolder

SPREAD = {"mean": 0.5, "std": None}


def test_the_page_has_the_best_trials_and_the_finalists_with_units(tmp_path: Path) -> None:
    plan = Plan(folder=str(tmp_path / "run"), trials=3)
    run = RunFolder(Path(plan.folder))
    run.write({"settings": settings_of(plan).as_dict(), "status": "done"})
    search_in_process(plan)
    tasks = settings_of(plan).tasks
    entry = {"trial": 1, "validation_score": SPREAD, "test": {task: {"mae": SPREAD} for task in tasks}}
    content = {"units": dict.fromkeys(tasks, "eV"), "finalists": [entry]}
    jsonlines.write_json(run.finalists_json, content)
    summary = summarize_run(run)
    assert write_report(summary)[-1] == "report.md"
    lines = (run.report / "report.md").read_text().splitlines()
    maes = " | ".join(f"{task} MAE [eV]" for task in tasks)
    assert f"| trial | score | epoch | ended | {maes} | parameters |" in lines
    assert f"| trial | validation score | {maes} |" in lines
    assert "| 0001 | 0.5000 | " + " | ".join(["0.5000"] * len(tasks)) + " |" in lines
    assert sum(line.startswith(f"| {training.key} | ") for training in summary.board.ranked() for line in lines) >= 3
