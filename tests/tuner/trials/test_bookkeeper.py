"""Bookkeeping without processes: what is recorded, decided, repeated and given up."""

from pathlib import Path
from typing import Any

import pytest

from tuner.protocol import EpochResult, Failure, TrainingSpec
from tuner.run import jsonlines
from tuner.run.log import Training
from tuner.run.trial_folder import TrialFolder
from tuner.trials.board import Board
from tuner.trials.bookkeeper import Bookkeeper, TrialLimits
from tuner.trials.retries import MAX_EXCEPTIONS, MAX_LOST_WORKERS


class Trainings(Bookkeeper):
    """A fixed number of trainings, and what was said about them."""

    def __init__(self, folder: Path, count: int = 5, limits: TrialLimits | None = None) -> None:
        self.notices: list[tuple[str, str]] = []
        board = Board(title="test", planned=count, max_epochs=3)
        super().__init__(board, folder / "epochs.jsonl", folder / "failures", self._notify, limits)
        self._left = [TrainingSpec(key=f"{i:04d}", params={}, seed=i, epochs=3) for i in range(count)]
        self._root = folder

    def _notify(self, queue: Bookkeeper, what: str, training: Training) -> None:
        self.notices.append((what, training.key))

    def _folder(self, key: str) -> TrialFolder:
        return TrialFolder(self._root / "trials" / key)

    def _new_training(self) -> TrainingSpec | None:
        return self._left.pop(0) if self._left else None


def report(epoch: int, score: float | None = 0.5, **changes: Any) -> EpochResult:
    body: dict[str, Any] = {
        "epoch": epoch,
        "score": score,
        "diverged": score is None,
        "seconds": 1.0,
        "num_crystals": 10,
        "metrics": {},
    }
    return EpochResult(**{"epoch": epoch, "finished": epoch == 3, "body": body, **changes})


def exception(reason: str = "RuntimeError: no luck") -> Failure:
    return Failure(kind="exception", reason=reason, details=f"Traceback ...\n{reason}")


LOST = Failure(kind="lost worker", reason="the worker process disappeared", details="died")


def begin(queue: Bookkeeper) -> TrainingSpec:
    spec = queue.next_training()
    assert spec is not None
    return spec


def test_an_epoch_reported_twice_is_recorded_once(tmp_path: Path) -> None:
    queue = Trainings(tmp_path)
    spec = begin(queue)
    assert queue.on_result(spec.key, report(1))
    assert queue.on_result(spec.key, report(1, state=b"of the second attempt"))
    assert [line["epoch"] for line in jsonlines.read(tmp_path / "epochs.jsonl")] == [1]
    assert queue.saved_state(spec.key) == b"of the second attempt"


def test_a_training_counts_by_its_best_epoch(tmp_path: Path) -> None:
    queue = Trainings(tmp_path)
    spec = begin(queue)
    for epoch, score in ((1, 0.5), (2, 0.3), (3, 0.4)):
        queue.on_result(spec.key, report(epoch, score))
    training = queue.board.trainings[spec.key]
    assert (training.best_score, training.best_epoch, training.state) == (0.3, 2, "finished")


def test_a_diverged_epoch_ends_the_training_and_never_counts_as_best(tmp_path: Path) -> None:
    queue = Trainings(tmp_path)
    spec = begin(queue)
    queue.on_result(spec.key, report(1, 0.5))
    assert not queue.on_result(spec.key, report(2, None))
    assert queue.board.trainings[spec.key].state == "diverged"
    assert queue.board.best() is None


@pytest.mark.parametrize("score", [float("nan"), float("inf")])
def test_a_score_that_is_no_number_is_a_divergence(tmp_path: Path, score: float) -> None:
    queue = Trainings(tmp_path)
    spec = begin(queue)
    queue.on_result(spec.key, report(1, 0.5))
    assert not queue.on_result(spec.key, report(2, score, finished=True))
    assert queue.board.trainings[spec.key].state == "diverged"
    assert jsonlines.read(tmp_path / "epochs.jsonl")[-1]["body"]["score"] is None


def test_three_exceptions_are_enough_and_the_first_is_announced(tmp_path: Path) -> None:
    queue = Trainings(tmp_path)
    fine, spec = begin(queue), begin(queue)
    queue.on_result(fine.key, report(1))
    for _ in range(MAX_EXCEPTIONS):
        assert queue.board.trainings[spec.key].state == "waiting", "no process works on it yet"
        queue.on_start(spec.key)
        assert queue.board.trainings[spec.key].state == "running"
        queue.on_failure(spec.key, exception())
        again = begin(queue)
    assert queue.board.trainings[spec.key].state == "failed"
    assert again.key != spec.key
    assert queue.notices == [("error", spec.key), ("failed", spec.key)]
    assert queue.failure_file(spec.key).read_text().count("RuntimeError: no luck") == MAX_EXCEPTIONS


def test_a_lost_worker_is_not_the_trainings_fault_until_it_happens_too_often(tmp_path: Path) -> None:
    queue = Trainings(tmp_path, count=1)
    spec = begin(queue)
    for _ in range(MAX_LOST_WORKERS):
        assert queue.board.trainings[spec.key].state == "waiting"
        queue.on_start(spec.key)
        queue.on_failure(spec.key, LOST)
        queue.next_training()
    assert queue.board.trainings[spec.key].state == "failed"


def test_a_training_that_gets_on_may_lose_workers_as_often_as_it_likes(tmp_path: Path) -> None:
    queue = Trainings(tmp_path, count=1)
    spec = begin(queue)
    for _ in range(MAX_LOST_WORKERS - 1):
        queue.on_failure(spec.key, LOST)
        begin(queue)
    queue.on_result(spec.key, report(1))
    for _ in range(MAX_LOST_WORKERS - 1):
        queue.on_failure(spec.key, LOST)
        begin(queue)
    assert queue.board.trainings[spec.key].state == "waiting"


def test_a_training_without_enough_gpu_memory_gets_more_of_a_gpu_each_time(tmp_path: Path) -> None:
    queue = Trainings(tmp_path, count=1, limits=TrialLimits(gpus=0.25))
    shares = []
    spec: TrainingSpec | None = begin(queue)
    while spec is not None:
        shares.append(spec.gpus)
        queue.on_failure(spec.key, Failure(kind="out of GPU memory", reason="CUDA out of memory", details=""))
        spec = queue.next_training()
    assert shares == [0.25, 0.5, 1.0, 1.0, 1.0], "a whole GPU that does not suffice is the training's own fault"
    assert [what for what, _ in queue.notices] == ["memory", "memory", "error", "failed"]


def test_a_process_that_disappears_after_long_silence_counts_as_hung(tmp_path: Path) -> None:
    queue = Trainings(tmp_path, count=1, limits=TrialLimits(epoch_timeout=0.0))
    for _ in range(MAX_EXCEPTIONS):
        spec = begin(queue)
        queue.on_start(spec.key)
        queue.on_failure(spec.key, LOST)
    training = queue.board.trainings[spec.key]
    assert training.state == "failed"
    assert "no epoch within 0 s: the process hung" in training.reason


def test_the_more_trainings_run_the_less_often_each_hands_over_its_state(tmp_path: Path) -> None:
    queue = Trainings(tmp_path, count=4)
    first = begin(queue)
    assert first.state_every == 0
    queue.on_result(first.key, report(1, state=bytes(5_000_000)))
    assert [round(begin(queue).state_every, 3) for _ in range(3)] == [0.2, 0.3, 0.4]


def test_three_trainings_that_fail_alike_before_any_epoch_end_the_work(tmp_path: Path) -> None:
    queue = Trainings(tmp_path, count=20)
    for _ in range(3):
        queue.on_failure(begin(queue).key, exception("OSError: no store"))
    assert queue.abort_reason == "OSError: no store"
    assert queue.next_training() is None
    assert queue.done()


def test_different_reasons_or_a_trained_epoch_are_no_cause_to_despair(tmp_path: Path) -> None:
    queue = Trainings(tmp_path / "a", count=20)
    for number in range(3):
        queue.on_failure(begin(queue).key, exception(f"OSError: {number}"))
    assert queue.abort_reason is None
    queue = Trainings(tmp_path / "b", count=20)
    fine = begin(queue)
    queue.on_result(fine.key, report(1))
    for _ in range(3):
        queue.on_failure(begin(queue).key, exception())
    assert queue.abort_reason is None
