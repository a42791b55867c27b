"""A search is kept running, with a program in its place that does as it is told."""

import os
import signal
from pathlib import Path

import pytest

from tests.tuner.remote.stand_ins import calls, request, wait_for_the_end
from tuner.remote import server, supervisor
from tuner.remote.job import Job
from tuner.remote.supervisor import driver_arguments


def test_a_killed_search_goes_on_from_disk(head: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRIVER", "kill,crash,done")
    server.start(request(space="table5", trials="9", time_budget="1h"))
    assert wait_for_the_end() == "done"
    first, second, third = calls(head)
    assert "--resume" not in first
    assert "--resume" in second
    assert "--resume" in third
    assert {"--address=auto", "--name=first", f"--runs={head}/crystune-runs", "--trials=9"} <= set(second)
    left = next(word for word in third if word.startswith("--time-budget"))
    assert 3500 < float(left.removeprefix("--time-budget=").removesuffix("s")) <= 3600
    assert Job("first").describe()["restarts"] == 2


def test_a_search_that_dies_again_and_again_is_left(head: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRIVER", ",".join(["kill"] * 9))
    server.start(request(space="table5"))
    assert wait_for_the_end() == "failed"
    assert len(calls(head)) == 1 + supervisor.MOST_RESTARTS
    assert "it is left as it is" in (log := Job("first").log.read_text())
    assert log.endswith("requests forgotten\n")


def test_a_search_whose_processes_vanished_is_lost_until_it_is_resumed(
    head: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DRIVER", "wait,done")
    server.start(request(space="table5"))
    content = Job("first").read()
    for process in ("supervisor", "driver"):
        os.kill(content[process], signal.SIGKILL)
    assert wait_for_the_end() == "lost"
    assert server.stop({"name": "first"})["state"] == "stopped"
    assert (head / "forgotten").exists()
    server.start(request(resume=True))
    assert wait_for_the_end() == "done"


def test_the_runs_of_a_job_may_lie_elsewhere(head: Path) -> None:
    job = Job("first")
    assert driver_arguments(job, {}, resume=False)[-1] == f"--runs={head}/crystune-runs"
    assert driver_arguments(job, {"--runs": "s3://b/runs"}, resume=True)[1:] == [
        "--runs=s3://b/runs",
        "--address=auto",
        "--name=first",
        "--resume",
    ]


def test_several_orders_to_stop_end_the_search_once_and_leave_its_supervisor(
    head: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DRIVER", "wait")
    server.start(request(space="table5"))
    for _ in range(3):
        os.kill(Job("first").read()["supervisor"], signal.SIGTERM)
    assert wait_for_the_end() == "stopped"
    assert Job("first").read()["code"] == 130
