"""One epoch of a training per step: what a worker hands over, and what it goes on from, without starting Ray."""

import copy
import json
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.tuner.faketrainer import FakeFactory, FakeTrainer
from tuner.cluster.worker import BEST_KEY, REPORT_KEY, STATE_KEY, Opaque, TrainingWorker
from tuner.protocol import TrainingSpec
from tuner.run import trial_folder

SPEC = TrainingSpec(key="0000", params={"learning_rate": 0.01, "num_convs": 3}, seed=1, epochs=3)


def worker_of(spec: TrainingSpec, state: bytes | None = None) -> TrainingWorker:
    """As Tune sets it up; the state stands for its reference."""
    made = TrainingWorker.__new__(TrainingWorker)
    made.setup({"training": spec.as_dict(), "state": Opaque(state)}, FakeFactory())
    return made


@pytest.fixture(autouse=True)
def references_are_what_they_refer_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.get", lambda reference: reference)


def test_a_state_comes_with_each_epoch_but_the_last_and_loads_elsewhere() -> None:
    first = worker_of(SPEC)
    results = [first.step() for _ in range(3)]
    assert [STATE_KEY in result for result in results] == [True, True, False]
    reports = [json.loads(result[REPORT_KEY]) for result in results]
    assert [(report["epoch"], report["finished"]) for report in reports] == [(1, False), (2, False), (3, True)]
    second = worker_of(SPEC, results[1][STATE_KEY].content.tobytes())
    assert json.loads(second.step()[REPORT_KEY]) == reports[2]


def test_states_are_handed_over_as_seldom_as_asked() -> None:
    spec = TrainingSpec(**{**SPEC.as_dict(), "state_every": 3600.0})
    seldom = worker_of(spec)
    assert [STATE_KEY in seldom.step() for _ in range(3)] == [True, False, False]


def test_a_large_state_is_handed_over_as_seldom_as_it_costs_a_hundredth_of_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock: Any = SimpleNamespace(now=0.0)
    clock.monotonic = lambda: clock.now
    monkeypatch.setattr("tuner.cluster.worker.time", clock)
    save_state = FakeTrainer.save_state

    def large(trainer: FakeTrainer, folder: Path) -> None:
        save_state(trainer, folder)
        (folder / "weights").write_bytes(bytes(3_000_000))

    monkeypatch.setattr(FakeTrainer, "save_state", large)
    worker = worker_of(TrainingSpec(**{**SPEC.as_dict(), "epochs": 9}))
    for clock.now, handed_over in ((0.0, True), (1.0, False), (2.8, False), (3.0, True), (5.0, False), (6.0, True)):
        assert (STATE_KEY in worker.step()) is handed_over, clock.now


def test_the_best_checkpoint_comes_with_its_epoch_and_again_from_a_new_worker(tmp_path: Path) -> None:
    first = worker_of(SPEC)
    result = first.step()
    trial_folder.unpack(result[BEST_KEY].content.tobytes(), tmp_path / "best")
    assert (tmp_path / "best" / "config.json").exists()
    again = worker_of(SPEC, result[STATE_KEY].content.tobytes())
    assert BEST_KEY in again.step()


def test_a_torn_state_begins_the_training_again() -> None:
    assert json.loads(worker_of(SPEC, b"torn").step()[REPORT_KEY])["epoch"] == 1


def test_a_step_leaves_no_alarm_behind() -> None:
    worker_of(SPEC).step()
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_what_tune_shall_not_copy_or_print_stays_one_and_short() -> None:
    content = Opaque(b"a long state" * 1000)
    assert copy.deepcopy({"state": content})["state"] is content
    assert str([content]) == "[...]"


def test_what_is_handed_over_is_saved_in_memory_and_elsewhere_where_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places: list[Path] = []
    save_state = FakeTrainer.save_state

    def noted(trainer: FakeTrainer, folder: Path) -> None:
        places.append(folder)
        save_state(trainer, folder)

    monkeypatch.setattr(FakeTrainer, "save_state", noted)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for memory in (tmp_path / "memory", tmp_path / "none"):
        monkeypatch.setattr("tuner.cluster.worker.MEMORY", memory)
        (tmp_path / "memory").mkdir(exist_ok=True)
        assert STATE_KEY in worker_of(SPEC).step()
    assert [place.parents[1] for place in places] == [tmp_path / "memory", tmp_path]
    assert not list((tmp_path / "memory").iterdir())
