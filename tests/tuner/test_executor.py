"""What the executor makes of Ray's errors, without starting Ray."""

from pathlib import Path
from typing import Any

import pytest
import ray.exceptions

from tuner.errors import SearchError
from tuner.executor import Cluster
from tuner.failures import LOST_NODE, LOST_WORKER, failure_of

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
    assert failure.kind == "lost worker" and failure.reason in (LOST_WORKER, LOST_NODE)
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


def test_an_address_without_a_ray_behind_it_is_refused_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(*_: Any, **__: Any) -> None:
        raise ConnectionError("Could not find any running Ray instance.\nAnd more.")

    monkeypatch.setattr("ray.init", nobody)
    with pytest.raises(SearchError, match="must name a running Ray, got 'auto': Could not .*; start one with") as told:
        Cluster("auto").__enter__()
    assert "\n" not in str(told.value)
