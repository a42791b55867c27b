"""What the executor makes of Ray's errors, and what it gives Tune to do, without starting Ray."""

import itertools
import socket
from typing import Any

import pytest
import ray.exceptions

from tuner.cluster.executor import _CAPACITY_SECONDS, _Attempts, _Scheduler, _Searcher
from tuner.cluster.failures import LOST_NODE, LOST_WORKER, failure_of
from tuner.cluster.session import _ENVIRONMENT, Cluster
from tuner.errors import SearchError
from tuner.trials.interfaces import TrainingSpec

RAY: Any = ray.exceptions  # without types
LONG = "Killed by Ray.\nRefer to the documentation on how to address the out of memory issue: https://..."


@pytest.mark.parametrize(
    "error",
    [
        RAY.ActorDiedError(),
        RAY.OutOfMemoryError(LONG),
        RAY.NodeDiedError(LONG),
        RAY.RayTaskError("step", LONG, RAY.OutOfMemoryError(LONG)),
        RAY.RayTaskError("step", LONG, RAY.OutOfMemoryError(LONG)).as_instanceof_cause(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_killed_a_worker_is_told_in_our_words(error: Exception) -> None:
    failure = failure_of(error, str(error))
    assert failure.kind == "lost worker"
    assert failure.reason in (LOST_WORKER, LOST_NODE)
    assert failure.details, "what Ray says is kept in the file"


def test_a_lost_worker_is_recognized_by_its_text_where_the_error_cannot_be_read() -> None:
    text = f"Traceback ...\nray.exceptions.ActorDiedError: The actor died.\n{LONG}"
    assert failure_of(None, text).reason == LOST_WORKER


def test_an_exception_of_a_training_is_told_by_its_own_first_line() -> None:
    cause = RuntimeError("CUDA error: out of memory\nCompile with TORCH_USE_CUDA_DSA")
    for error in (
        RAY.RayTaskError("step", "Traceback ...", cause),
        RAY.RayTaskError("x", "y", cause).as_instanceof_cause(),
    ):
        failure = failure_of(error, str(error))
        assert (failure.kind, failure.reason) == ("out of GPU memory", "RuntimeError: CUDA error: out of memory")
    unread = failure_of(None, "Traceback ...\nValueError: no luck")
    assert (unread.kind, unread.reason) == ("exception", "ValueError: no luck")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ConnectionError("Could not find any running Ray instance.\nAnd more."), "Could not find any running Ray .*"),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_an_address_without_a_ray_behind_it_is_refused_in_a_line(
    error: OSError, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("tuner.cluster.ray_private.resolved_address", nobody)
    with pytest.raises(SearchError, match=f"must name a running Ray, got 'auto': {reason}; start one with") as told:
        Cluster("auto").__enter__()
    assert "\n" not in str(told.value)


class FakeWork:
    """Has a training whenever it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def next_training(self) -> TrainingSpec:
        self.asked += 1
        return TrainingSpec(key=f"{self.asked:04d}", params={}, seed=0, epochs=1)

    def saved_state(self, key: str) -> None:
        return None


def proposed(proposer: Any) -> int:
    """How many trainings Tune gets when it asks as often as it can."""
    return next(count for count in itertools.count() if proposer.suggest(str(next(NUMBERS))) is None)


NUMBERS = itertools.count()


def test_tune_gets_as_many_jobs_as_fit_and_one_where_none_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    now, fits = 1000.0, 0
    monkeypatch.setattr("tuner.cluster.executor.time.monotonic", lambda: now)
    work: Any = FakeWork()
    proposer = _Searcher(_Attempts(work), lambda: fits)
    assert proposed(proposer) == 1, "Tune must have something to wait for"
    fits = 8
    assert proposed(proposer) == 0, "the cluster is not asked at each step of the loop"
    now += _CAPACITY_SECONDS
    assert proposed(proposer) == 7, "all that fit, at once: their processes start side by side"
    proposer.on_trial_complete(next(iter(proposer._bridge.specs)))
    assert proposed(proposer) == 1
    now, fits = now + _CAPACITY_SECONDS, 4
    assert proposed(proposer) == 0, "a lost node's trainings count until they are given up"
    for trial in list(proposer._bridge.specs)[:5]:
        proposer.on_trial_complete(trial)
    assert proposed(proposer) == 1
    assert len(proposer._bridge.specs) == 4


def test_processes_start_side_by_side_also_without_a_number_to_run_at_a_time() -> None:
    assert int(_ENVIRONMENT["TUNE_MAX_PENDING_TRIALS_PG"]) >= 800


def test_an_address_that_a_dead_ray_left_behind_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray itself would try for ever."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.setattr("tuner.cluster.ray_private.resolved_address", lambda _: f"127.0.0.1:{port}")
    with pytest.raises(SearchError, match=f"got 'auto': nothing answers at 127.0.0.1:{port}"):
        Cluster("auto").__enter__()


def test_no_trial_whose_process_starts_is_given_a_free_one_instead() -> None:
    work: Any = FakeWork()
    assert _Scheduler(_Attempts(work)).choose_trial_to_run(None) is None
