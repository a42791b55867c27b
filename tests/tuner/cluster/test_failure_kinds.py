"""What Ray says of a training that ended badly, in words of our own, without starting Ray."""

from typing import Any

import pytest
import ray.exceptions

from tuner.cluster.failure_kinds import LOST_NODE, LOST_WORKER, failure_of

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
def test_whatever_killed_a_worker_is_a_lost_worker(error: Exception) -> None:
    failure = failure_of(error, str(error))
    assert failure.kind == "lost worker"
    assert failure.reason in (LOST_WORKER, LOST_NODE)
    assert failure.details, "what Ray says is kept in the file"


def test_a_lost_worker_is_recognized_by_its_text_where_the_error_cannot_be_read() -> None:
    text = f"Traceback ...\nray.exceptions.ActorDiedError: The actor died.\n{LONG}"
    assert failure_of(None, text).reason == LOST_WORKER


def test_an_exception_of_a_training_is_named_by_its_own_first_line() -> None:
    cause = RuntimeError("CUDA error: out of memory\nCompile with TORCH_USE_CUDA_DSA")
    for error in (
        RAY.RayTaskError("step", "Traceback ...", cause),
        RAY.RayTaskError("x", "y", cause).as_instanceof_cause(),
    ):
        failure = failure_of(error, str(error))
        assert (failure.kind, failure.reason) == ("out of GPU memory", "RuntimeError: CUDA error: out of memory")
    unread = failure_of(None, "Traceback ...\nValueError: no luck")
    assert (unread.kind, unread.reason) == ("exception", "ValueError: no luck")
