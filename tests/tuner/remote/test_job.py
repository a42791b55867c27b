"""A search by name."""

from pathlib import Path

import pytest

from tuner.errors import SearchError
from tuner.remote.job import Job, all_jobs, check_name


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("name", ["", "a b", "it's", "-x", ".hidden", "a/b", "å"])
def test_a_name_that_a_shell_or_a_uri_would_read_otherwise_is_refused(name: str) -> None:
    with pytest.raises(SearchError, match="must be letters, digits and"):
        check_name(name)


def test_jobs_are_listed_by_when_they_were_started_and_go_on_by_a_command() -> None:
    for name, started in (("late", 2.0), ("early", 1.0)):
        Job(name).folder.mkdir(parents=True)
        Job(name).write(started=started, cluster="my cluster.yaml", flags={})
    assert [job.name for job in all_jobs()] == ["early", "late"]
    assert all_jobs()[0].resume_command() == "python -m tuner.remote resume 'my cluster.yaml' early"


def test_a_job_is_held_by_one_and_lost_when_nobody_holds_it() -> None:
    job = Job("first")
    held = job.lock()
    assert held is not None
    job.write(started=1.0, flags={})
    assert (job.state(), job.lock()) == ("running", None)
    held.close()
    assert job.state() == "lost"
    job.write(ended="stopped")
    assert job.state() == "stopped"
