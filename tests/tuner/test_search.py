"""The command of a search: what it refuses leaves everything as it was."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.tuner.drive import Plan, driver, settings_of
from tests.tuner.without_ray import NoCluster
from tuner import search
from tuner.errors import SearchError
from tuner.run.lock import only_writer
from tuner.run.run_folder import RunFolder


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
    with only_writer(run), pytest.raises(SearchError, match="one writer"):
        busy.execute()
    assert run.read() == before


def test_two_searches_cannot_write_to_one_run(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    script = (
        "import sys; from pathlib import Path; from tuner.run.lock import only_writer\n"
        "from tuner.run.run_folder import RunFolder\n"
        "with only_writer(RunFolder(Path(sys.argv[1]))): pass"
    )
    with only_writer(run):
        assert run.is_being_written()
        other = subprocess.run(
            [sys.executable, "-c", script, str(run.path)], capture_output=True, text=True, cwd=Path(__file__).parents[2]
        )
        assert "a run must have one writer, but process" in other.stderr
    assert not run.is_being_written()
