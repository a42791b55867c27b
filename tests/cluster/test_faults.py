"""Every fault that a cluster knows, one after the other: what is noticed, what is trained again, what must hold."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import faults
from tests.cluster.faults import Search, file_figures, new_search, strike, wait_until_whole
from tests.cluster.lab import Lab
from tests.cluster.raylab import ray_down, ray_up, wait_for_silence, workers_of

pytestmark = [pytest.mark.lab, pytest.mark.ray, pytest.mark.slow]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab(tmp_path_factory.mktemp("lab")) as lab:
        ray_up(lab)
        yield lab
        if lab.is_on("head"):
            file_figures(
                "none: ray down", {"work ended after s": ray_down(lab), "silent after s": wait_for_silence(lab)}
            )


@pytest.fixture
def lab(cluster: Lab) -> Lab:
    """With all workers in the cluster."""
    wait_until_whole(cluster)
    return cluster


LOSSES = {
    "training process killed": (faults.kill_training, 5),
    "raylet killed": (faults.kill_raylet, 10),
    "host powered off": (faults.power_off, 25),
    "cable cut": (faults.cut, 25),
}
"""Fault by name, with the seconds after which it must have been noticed."""


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_costs_the_epoch_in_progress_and_nothing_else(lab: Lab, tmp_path: Path, name: str) -> None:
    fault, limit = LOSSES[name]
    search = new_search(lab, tmp_path, name.replace(" ", "-"), trials=8)
    search.start()
    figures = strike(search, fault, search.busy_worker())
    assert figures["noticed after s"] <= limit
    search.finish()
    search.check()
    assert search.retrained() <= 1
    file_figures(name, {**figures, "epochs retrained": search.retrained(), "whole after s": wait_until_whole(lab)})


def test_a_worker_whose_cable_was_cut_and_mended_changes_no_file(lab: Lab, tmp_path: Path) -> None:
    search = new_search(lab, tmp_path, "fixed", trials=10, asha=False)
    search.start()
    worker = search.busy_worker()
    key = search.running_on(worker)
    assert key is not None
    figures = strike(search, faults.cut, worker)
    stale = [line for line in search.begun(worker) if line["key"] == key]
    epochs = [line for line in search.lines() if line["key"] == key]
    assert stale[-1]["epoch"] <= epochs[-1]["epoch"], "the old process trained what its successor has trained too"
    # It still lives, holds a state of that epoch, and sends it as soon as it can.
    assert faults.trainings(lab, worker)
    search.wait_for(lambda: search.lines() and [x for x in search.lines() if x["key"] == key][-1]["epoch"] == 9)
    time.sleep(0.5)
    before = search.fingerprint(key)
    mended = time.monotonic()
    lab.fix(worker)
    search.finish()
    figures["whole after s"] = wait_until_whole(lab)
    assert time.monotonic() - mended > 1
    assert search.fingerprint(key) == before
    search.check()
    assert search.retrained() <= 1
    file_figures("cable cut and fixed", {**figures, "epochs retrained": search.retrained()})


def test_a_killed_driver_goes_on_where_it_was(lab: Lab, tmp_path: Path) -> None:
    search = new_search(lab, tmp_path, "driver", trials=8)
    search.start()
    search.busy_worker()
    search.kill()
    safe = len(search.lines())
    search.start()
    resumed = search.wait_for(lambda: len(search.lines()) > safe)
    search.finish()
    search.check()
    assert search.retrained() <= len(workers_of(lab))
    file_figures("driver killed", {"resumed after s": round(resumed, 1), "epochs retrained": search.retrained()})


def test_a_head_that_was_off_goes_on_where_it_was(lab: Lab, tmp_path: Path) -> None:
    search = new_search(lab, tmp_path, "head", trials=8)
    search.start()
    search.busy_worker()
    lab.power_off("head")
    search.processes[-1].wait(20)
    safe = len(search.lines())
    began = time.monotonic()
    lab.power_on("head")
    up = ray_up(lab)
    search.start()
    search.wait_for(lambda: len(search.lines()) > safe)
    resumed = time.monotonic() - began
    search.finish()
    search.check()
    assert search.retrained() <= len(workers_of(lab))
    figures = {"ray up s": round(up, 1), "resumed after s": round(resumed, 1), "epochs retrained": search.retrained()}
    file_figures("head off and on", figures)


@pytest.mark.parametrize(("name", "seconds"), [("full", 15), ("gone", 60)])
def test_a_results_folder_that_cannot_be_written_to_is_waited_for(
    lab: Lab, tmp_path: Path, name: str, seconds: int
) -> None:
    disk = f"/root/{name}-disk"
    lab.mount_small_disk("head", disk, 100)
    search = new_search(lab, tmp_path, name, root=disk, trials=6)
    search.start()
    search.busy_worker()
    before = len(search.lines())
    (lab.fill if name == "full" else lab.hide)("head", disk)
    noticed = search.wait_for(lambda: "cannot be written to" in search.said())
    time.sleep(seconds)
    assert search.processes[-1].poll() is None, search.said()
    (lab.clear if name == "full" else lab.show)("head", disk)
    mended = time.monotonic()
    search.wait_for(lambda: len(search.lines()) > before + 2)
    resumed = time.monotonic() - mended
    output = search.finish()
    assert output.count("cannot be written to") <= 2
    assert "can be written to again" in output
    assert "Traceback" not in output
    search.check()
    assert search.retrained() == 0
    figures = {"noticed after s": round(noticed, 1), "away for s": seconds, "resumed after s": round(resumed, 1)}
    file_figures(f"results folder {name}", {**figures, "epochs retrained": search.retrained()})


def outcomes(search: Search) -> dict[float, set[str | None]]:
    """Outcomes by learning rate."""
    found: dict[float, set[str | None]] = {}
    for record in search.check():
        found.setdefault(float(record.params["learning_rate"]), set()).add(record.state)
    return found


def test_a_trial_that_hangs_is_ended_and_given_up_and_the_search_goes_on(lab: Lab, tmp_path: Path) -> None:
    hangs = {"hangs_at_rate": 0.001}
    search = new_search(
        lab, tmp_path, "hang", trials=4, sampler="random", seed=7, asha=False, epoch_timeout=5.0, factory=hangs
    )
    search.start()
    output = search.finish()
    assert outcomes(search)[0.001] == {"failed"}
    assert "failed" not in outcomes(search)[0.01]
    assert "no epoch within 5 s: the process hung" in output
    assert "Traceback" not in output.split("error:")[0]
    hung = [r for r in search.check() if r.state == "failed"]
    assert all(list(record.curve) == [1] for record in hung), "what was trained before counts"
    file_figures("training hangs", {"noticed after s": 5.0, "epochs retrained": search.retrained()})


def test_a_trial_that_fails_thrice_is_reported_with_parameters_and_traceback(lab: Lab, tmp_path: Path) -> None:
    fails = {"fails_at_rate": 0.001, "fails_at_epoch": 2}
    search = new_search(lab, tmp_path, "thrice", trials=4, sampler="random", seed=7, asha=False, factory=fails)
    search.start()
    output = search.finish()
    assert outcomes(search)[0.001] == {"failed"}
    assert "failed" not in outcomes(search)[0.01]
    failed = next(record for record in search.check() if record.state == "failed")
    assert "no luck with learning rate 0.001" in output
    assert "parameters: " in output
    text = (search.run.failures / f"{failed.number:04d}.txt").read_text()
    assert text.count("RuntimeError: no luck with learning rate 0.001") >= 3
    assert "faketrainer.py" in text
    assert text.count("'learning_rate': 0.001") == 3
    file_figures("trial fails thrice", {"attempts": 3, "epochs retrained": search.retrained()})


def test_when_every_trial_fails_for_one_reason_the_search_stops_early_and_says_it_once(
    lab: Lab, tmp_path: Path
) -> None:
    search = new_search(lab, tmp_path, "abort_reason", trials=40, factory={"seconds_per_epoch": -1.0})
    began = time.monotonic()
    search.start()
    output = search.finish(expected=1)
    seconds = time.monotonic() - began
    assert output.count("every trial fails for the same reason: ValueError: sleep length must be non-negative") == 1
    assert output.count("python drive.py again") == 1
    assert search.lines() == []
    search.plan.factory["seconds_per_epoch"] = 0.05
    search.plan.trials = 4
    search.start()
    search.finish()
    search.check()
    file_figures("every trial fails", {"stopped after s": round(seconds, 1), "epochs trained before": 0})
