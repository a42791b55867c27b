"""What the files of a run tell."""

from pathlib import Path

from tests.tuner.drive import Plan, settings_of
from tuner.report.summary import summarize_run
from tuner.run.lock import only_writer
from tuner.run.log import Log
from tuner.run.run_folder import RunFolder


def test_nothing_is_reported_as_running_where_no_process_is_at_it(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.write({"settings": settings_of(Plan(folder=str(run.path))).as_dict(), "status": "searching"})
    log = Log(run.epochs)
    log.begin({"0000": {"num_convs": 1}})
    log.add_epoch("0000", 1, "continue", {"score": 0.5})
    assert summarize_run(run).board.trainings["0000"].state == "waiting"
    with only_writer(run):
        assert summarize_run(run).board.trainings["0000"].state == "running"
