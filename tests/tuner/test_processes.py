"""Searches as real processes that are killed: nothing is lost, nothing is done twice, decisions are the same."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ray

from tests.tuner.drive import Plan, driver, search_in_process
from tests.tuner.logs import epochs_in
from tuner.run import jsonlines
from tuner.run.log import Training
from tuner.run.run_folder import RunFolder
from tuner.trials.restore import read_trials
from tuner.trials.stopping.asha import Asha

pytestmark = [pytest.mark.ray, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
LIMIT = 600.0  # so long only where many tests share few cores


def start(plan: Plan) -> "subprocess.Popen[str]":
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "100"}
    environment["RAY_ADDRESS"] = "203.0.113.1:6379"  # somebody else's: a search without --address minds no other Ray
    return subprocess.Popen(
        [sys.executable, "-m", "tests.tuner.drive", plan.as_json()],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    )


def finish(process: "subprocess.Popen[str]") -> str:
    output, _ = process.communicate(timeout=LIMIT)
    return output


def run_to_end(plan: Plan) -> str:
    process = start(plan)
    output = finish(process)
    assert process.returncode == 0, output
    return output


def wait_for(condition: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert process.poll() is None, finish(process)
        assert time.monotonic() < deadline, "the search does not get on"
        time.sleep(0.01)


def num_lines(path: Path) -> int:
    return len(epochs_in(path))


def trained(plan: Plan) -> Counter[tuple[str, int]]:
    lines = jsonlines.read(Path(plan.factory["side_log"]))
    return Counter((line["key"], line["epoch"]) for line in lines)


def table(records: list[Training]) -> list[Any]:
    return [(r.number, r.state, dict(r.params), dict(r.curve)) for r in records]


def rungs(run: RunFolder, records: list[Training], max_epochs: int) -> dict[int, dict[int, float]]:
    """Rung sets as Optuna's storage implies them: best value up to the rung's epoch, of every trial that got there."""
    epochs = Asha(grace_epochs=1, reduction=3, max_epochs=max_epochs).rungs()
    return {
        rung: {r.number: min(v for e, v in r.curve.items() if e <= rung) for r in records if rung in r.curve}
        for rung in epochs
    }


def check_consistency(plan: Plan) -> None:
    """Each trial exactly once; log, study and rungs agree; every epoch recorded once."""
    run = RunFolder(Path(plan.folder))
    records = list(read_trials(run).values())
    lines = epochs_in(run.epochs)
    assert [r.number for r in records] == list(range(plan.trials))
    assert all(r.has_ended for r in records)
    assert max(Counter((line["key"], line["epoch"]) for line in lines).values()) == 1
    for record in records:
        mine = {line["epoch"]: line["body"]["score"] for line in lines if int(line["key"]) == record.number}
        assert {epoch: score for epoch, score in mine.items() if score is not None} == dict(record.curve)
        assert list(mine) == list(range(1, len(mine) + 1))
    asha = Asha(grace_epochs=1, reduction=3, max_epochs=plan.max_epochs)
    best: dict[str, float] = {}
    for line in lines:
        if line["decision"] == "diverged":
            continue
        best[line["key"]] = min(best.get(line["key"], 1e9), line["body"]["score"])
        goes_on = asha.record(int(line["key"]), line["epoch"], best[line["key"]])
        assert line["decision"] == (
            "finished" if line["epoch"] == plan.max_epochs else "continue" if goes_on else "stopped"
        )
    assert asha.rungs() == rungs(run, records, plan.max_epochs)
    leftovers = [path for path in (run.path / "trials").glob("*/*") if path.name != "best"]
    assert leftovers == [], "a trial that ended keeps its best checkpoint only"


def search_processes(folder: Path) -> list[str]:
    """Command lines of processes that have to do with a run folder or its Ray, other than this one."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in command and entry.name != str(os.getpid()):
            found.append(command)
    return found


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return Plan(folder=str(tmp_path / "run"), factory={"side_log": str(tmp_path / "side.jsonl")})


def test_killing_the_driver_again_and_again_changes_no_trial_and_no_decision(plan: Plan, tmp_path: Path) -> None:
    undisturbed = Plan(folder=str(tmp_path / "undisturbed"), trials=14)
    search_in_process(undisturbed)
    plan.trials = 14
    plan.factory["seconds_per_epoch"] = 0.05
    log = RunFolder(Path(plan.folder)).epochs
    numbers = random.Random(5)
    kills = 0
    while True:
        process = start(plan)
        before = num_lines(log)
        goal = before + numbers.randrange(2, 12)
        wait_for(lambda goal=goal, process=process: num_lines(log) >= goal or process.poll() is not None, process)  # type: ignore[misc]
        if process.poll() is not None:
            break
        time.sleep(numbers.random() * 0.1)
        process.send_signal(signal.SIGKILL)
        finish(process)
        kills += 1
        if kills == 3:
            plan.factory["seconds_per_epoch"] = 0.0
            run_to_end(plan)
            break
    assert kills >= 2
    check_consistency(plan)
    mine = list(read_trials(RunFolder(Path(plan.folder))).values())
    theirs = list(read_trials(RunFolder(Path(undisturbed.folder))).values())
    assert table(mine) == table(theirs)
    twice = [epoch for epoch, count in trained(plan).items() if count > 1]
    assert len(twice) <= kills, "only the epoch that was being trained at a kill may be trained again"


def test_a_killed_worker_costs_no_finished_epoch(plan: Plan) -> None:
    plan.trials, plan.factory["seconds_per_epoch"] = 4, 0.1
    process = start(plan)
    side = Path(plan.factory["side_log"])
    for goal in (3, 8):
        wait_for(lambda goal=goal: num_lines(side) >= goal, process)  # type: ignore[misc]
        os.kill(jsonlines.read(side)[-1]["pid"], signal.SIGKILL)
    output = finish(process)
    assert process.returncode == 0, output
    assert output.count("the worker process disappeared (killed, or out of memory); it goes on") == 2
    assert "raylet" not in output
    assert "error:" not in output
    check_consistency(plan)
    assert sum(count - 1 for count in trained(plan).values()) <= 2


def test_two_at_a_time_and_killed_keeps_log_study_and_rungs_in_agreement(plan: Plan) -> None:
    plan.trials, plan.concurrency, plan.factory["seconds_per_epoch"] = 10, 2, 0.05
    log = RunFolder(Path(plan.folder)).epochs
    process = start(plan)
    wait_for(lambda: num_lines(log) >= 9, process)
    process.send_signal(signal.SIGKILL)
    finish(process)
    run_to_end(plan)
    check_consistency(plan)


def test_ctrl_c_ends_at_once_says_how_to_go_on_and_leaves_no_process(plan: Plan) -> None:
    plan.factory["seconds_per_epoch"] = 0.5
    process = start(plan)
    log = RunFolder(Path(plan.folder)).epochs
    wait_for(lambda: num_lines(log) >= 2, process)
    worker = jsonlines.read(Path(plan.factory["side_log"]))[-1]["pid"]
    process.send_signal(signal.SIGINT)
    output = finish(process)
    assert process.returncode == 130, output
    assert output.endswith("interrupted: nothing is lost; go on with: python drive.py again\n")
    assert "Traceback" not in output
    assert not Path(f"/proc/{worker}/cmdline").exists() or not Path(f"/proc/{worker}/cmdline").read_bytes()
    assert search_processes(Path(plan.folder)) == []


def test_a_trial_that_fails_thrice_is_given_up_with_its_traceback_and_the_search_goes_on(plan: Plan) -> None:
    plan.trials, plan.sampler, plan.seed = 3, "random", 7  # rates 0.01, 0.001 and 0.1
    plan.factory |= {"fails_at_rate": 0.001, "fails_at_epoch": 1, "diverges_at_rate": 0.1, "diverges_from": 1}
    output = run_to_end(plan)
    run = RunFolder(Path(plan.folder))
    records = list(read_trials(run).values())
    failed = [r for r in records if r.state == "failed"]
    diverged = [r for r in records if r.state == "diverged"]
    assert failed
    assert all(r.params["learning_rate"] == 0.001 for r in failed)
    assert diverged
    assert all(r.params["learning_rate"] == 0.1 for r in diverged)
    assert output.count("no luck with learning rate") >= 1
    assert "Traceback" not in output.split("error:")[0]
    assert all("no luck" in r.reason for r in failed)
    text = (run.failures / f"{failed[0].number:04d}.txt").read_text()
    assert text.count("no luck with learning rate 0.001") >= 3
    assert "faketrainer.py" in text
    assert {r.state for r in records} <= {"failed", "diverged", "finished", "stopped"}


def test_a_trial_that_hangs_is_ended_thrice_given_up_and_the_search_goes_on(plan: Plan) -> None:
    plan.trials, plan.sampler, plan.seed, plan.epoch_timeout, plan.asha = 3, "random", 7, 1.0, False
    plan.factory |= {"hangs_at_rate": 0.001}
    output = run_to_end(plan)
    records = list(read_trials(RunFolder(Path(plan.folder))).values())
    failed = [r for r in records if r.state == "failed"]
    assert failed
    assert all(r.params["learning_rate"] == 0.001 for r in failed)
    assert all("no epoch within 1 s: the process hung" in r.reason for r in failed), output
    assert all(list(r.curve) == [1] for r in failed)
    assert {r.state for r in records} <= {"failed", "finished", "stopped"}


def test_a_trial_that_lacks_gpu_memory_gets_a_larger_share(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    init = ray.init
    monkeypatch.setattr("ray.init", lambda *address, **settings: init(*address, **settings, num_gpus=2))
    plan.trials, plan.gpus_per_trial, plan.factory["gpus_needed"] = 2, 0.25, 1.0
    assert driver(plan).execute()
    check_consistency(plan)
    text = (RunFolder(Path(plan.folder)).failures / "0000.txt").read_text()
    assert text.count("--- out of GPU memory after epoch 0") == 2, "0.25 and 0.5 did not suffice"


def test_a_search_in_which_everything_fails_for_one_reason_stops_early_and_says_it(plan: Plan) -> None:
    plan.trials = 20
    plan.factory |= {"tasks": [], "seconds_per_epoch": -1.0}
    process = start(plan)
    output = finish(process)
    assert process.returncode == 2
    assert "every trial fails for the same reason: ValueError: sleep length must be non-negative" in output
    records = list(read_trials(RunFolder(Path(plan.folder))).values())
    assert len(records) < 6
    assert all(not r.has_ended for r in records)
    plan.factory |= {"seconds_per_epoch": 0.0}
    plan.trials = 4
    run_to_end(plan)
    assert all(r.has_ended for r in list(read_trials(RunFolder(Path(plan.folder))).values()))


def test_finalists_go_on_after_a_kill_and_the_best_by_validation_is_chosen(plan: Plan) -> None:
    plan.trials, plan.finalists, plan.factory["seconds_per_epoch"] = 4, 2, 0.02
    run = RunFolder(Path(plan.folder))
    process = start(plan)
    wait_for(lambda: num_lines(run.finalist_epochs) >= 5, process)
    process.send_signal(signal.SIGKILL)
    finish(process)
    output = run_to_end(plan)
    assert "finalists" in output
    content = run.read_finalists()
    assert content is not None
    assert len(content["finalists"]) == 2
    scores = [entry["validation_score"]["mean"] for entry in content["finalists"]]
    assert scores == sorted(scores)
    assert content["selected"]["trial"] == content["finalists"][0]["trial"]
    assert all(len(entry["runs"]) == 2 for entry in content["finalists"])
    assert (run.path / content["selected"]["folder"] / "config.json").exists()
    assert json.loads(run.run_json.read_text())["status"] == "done"
