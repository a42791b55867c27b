"""What the files of a run tell."""

from pathlib import Path

from tests.tuner.drive import Plan, settings_of
from tuner.report.summary import summarize_run
from tuner.run import jsonlines
from tuner.run.layout import RunFolder
from tuner.space.space import Space
from tuner.study.study import Study


def test_nothing_is_reported_as_running_where_no_process_is_at_it(tmp_path: Path, table5: Space) -> None:
    run = RunFolder(tmp_path / "run")
    run.write({"settings": settings_of(Plan(folder=str(run.path))).as_dict(), "status": "searching"})
    Study(run.journal, table5, sampler="random", seed=1).ask()
    epoch = {"key": "0000", "epoch": 1, "decision": "continue", "attempt": "attempt-0001", "body": {"score": 0.5}}
    jsonlines.append(run.epochs, epoch)
    assert summarize_run(run).board.trainings["0000"].state == "waiting"
    with run.only_writer():
        assert summarize_run(run).board.trainings["0000"].state == "running"
