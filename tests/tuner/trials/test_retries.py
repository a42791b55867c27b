"""Who tries again, and who gives up."""

import pytest

from tuner.protocol import Failure
from tuner.run.log import Training
from tuner.trials.retries import MAX_EXCEPTIONS, MAX_LOST_WORKERS, Retries, all_fail_alike

MEMORY = Failure(kind="out of GPU memory", reason="CUDA out of memory", details="")
LOST = Failure(kind="lost worker", reason="it disappeared", details="")
OWN = Failure(kind="exception", reason="ValueError: no luck", details="")


@pytest.mark.parametrize(
    ("failure", "attempts", "what"), [(OWN, MAX_EXCEPTIONS, "error"), (LOST, MAX_LOST_WORKERS, "lost")]
)
def test_a_training_is_given_up_after_so_many_attempts(failure: Failure, attempts: int, what: str) -> None:
    retries, training = Retries(0.0), Training(key="0000")
    for _ in range(attempts):
        assert retries.again(training)
        assert retries.add(training, failure) == what
    assert not retries.again(training)


def test_memory_is_no_fault_until_a_whole_gpu_does_not_suffice() -> None:
    retries, training = Retries(0.3), Training(key="0000")
    assert [retries.add(training, MEMORY) for _ in range(3)] == ["memory", "memory", "error"]
    assert retries.gpus("0000") == 1.0
    assert retries.gpus("0001") == 0.3


def test_without_gpus_their_memory_is_a_fault_as_any_other() -> None:
    assert Retries(0.0).add(Training(key="0000"), MEMORY) == "error"


def failed(*reasons: str) -> list[Training]:
    return [Training(key=f"{number:04d}", failures=1, reason=reason) for number, reason in enumerate(reasons)]


@pytest.mark.parametrize(
    ("trainings", "planned", "alike"),
    [
        (failed("a", "a", "a"), 20, True),
        (failed("a", "a"), 20, False),
        (failed("a", "a", "b"), 20, False),
        ([Training(key="0000", failures=3, reason="a")], 1, True),
        ([Training(key="0000", failures=2, reason="a")], 1, False),
        ([*failed("a", "a", "a"), Training(key="0009")], 20, True),
        ([], 20, False),
    ],
)
def test_a_reason_is_not_theirs_when_three_fail_by_it(trainings: list[Training], planned: int, alike: bool) -> None:
    assert all_fail_alike(trainings, planned) == alike
