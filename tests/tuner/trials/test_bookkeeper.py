"""Bookkeeping without processes: what is recorded, decided, repeated and given up."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.tuner.drive import Plan, search_in_process
from tuner.run import jsonlines
from tuner.run.layout import RunFolder
from tuner.run.trial_folder import TrialFolder
from tuner.space.space import Space
from tuner.study.study import Study, read_records
from tuner.trials.board import Board, Training
from tuner.trials.bookkeeper import MAX_EXCEPTIONS, MAX_LOST_WORKERS, Bookkeeper, TrialLimits
from tuner.trials.interfaces import EpochResult, Failure, TrainingSpec
from tuner.trials.search import SearchQueue


class Jobs(Bookkeeper):
    """A fixed number of trainings, and what was said about them."""

    def __init__(self, folder: Path, count: int = 5, terms: TrialLimits | None = None) -> None:
        self.notices: list[tuple[str, str]] = []
        board = Board(title="test", planned=count, max_epochs=3)
        super().__init__(board, folder / "epochs.jsonl", folder / "failures", self._notify, terms)
        self._left = [TrainingSpec(key=f"{i:04d}", params={}, seed=i, epochs=3) for i in range(count)]
        self._root = folder

    def _notify(self, what: str, training: Training) -> None:
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


def begin(work: Bookkeeper) -> TrainingSpec:
    spec = work.next_training()
    assert spec is not None
    return spec


def test_an_epoch_reported_twice_is_recorded_once(tmp_path: Path) -> None:
    work = Jobs(tmp_path)
    spec = begin(work)
    assert work.on_result(spec.key, report(1))
    assert work.on_result(spec.key, report(1, state=b"of the second attempt"))
    assert [line["epoch"] for line in jsonlines.read(tmp_path / "epochs.jsonl")] == [1]
    assert work.saved_state(spec.key) == b"of the second attempt"


def test_a_job_counts_by_its_best_epoch(tmp_path: Path) -> None:
    work = Jobs(tmp_path)
    spec = begin(work)
    for epoch, score in ((1, 0.5), (2, 0.3), (3, 0.4)):
        work.on_result(spec.key, report(epoch, score))
    training = work.board.trainings[spec.key]
    assert (training.best_score, training.best_epoch, training.state) == (0.3, 2, "finished")


def test_a_diverged_epoch_ends_the_job_and_never_counts_as_best(tmp_path: Path) -> None:
    work = Jobs(tmp_path)
    spec = begin(work)
    work.on_result(spec.key, report(1, 0.5))
    assert not work.on_result(spec.key, report(2, None))
    assert work.board.trainings[spec.key].state == "diverged"
    assert work.board.best() is None


@pytest.mark.parametrize("score", [float("nan"), float("inf")])
def test_a_score_that_is_no_number_is_a_divergence(tmp_path: Path, score: float) -> None:
    work = Jobs(tmp_path)
    spec = begin(work)
    work.on_result(spec.key, report(1, 0.5))
    assert not work.on_result(spec.key, report(2, score, finished=True))
    assert work.board.trainings[spec.key].state == "diverged"
    assert jsonlines.read(tmp_path / "epochs.jsonl")[-1]["body"]["score"] is None


def test_three_exceptions_are_enough_and_the_first_is_announced(tmp_path: Path) -> None:
    work = Jobs(tmp_path)
    fine, spec = begin(work), begin(work)
    work.on_result(fine.key, report(1))
    for _ in range(MAX_EXCEPTIONS):
        assert work.board.trainings[spec.key].state == "waiting", "no process works on it yet"
        work.on_start(spec.key)
        assert work.board.trainings[spec.key].state == "running"
        work.on_failure(spec.key, exception())
        again = begin(work)
    assert work.board.trainings[spec.key].state == "failed"
    assert again.key != spec.key
    assert work.notices == [("error", spec.key), ("failed", spec.key)]
    assert work.failure_file(spec.key).read_text().count("RuntimeError: no luck") == MAX_EXCEPTIONS


def test_a_lost_worker_is_not_the_jobs_fault_until_it_happens_too_often(tmp_path: Path) -> None:
    work = Jobs(tmp_path, count=1)
    spec = begin(work)
    for _ in range(MAX_LOST_WORKERS):
        assert work.board.trainings[spec.key].state == "waiting"
        work.on_start(spec.key)
        work.on_failure(spec.key, LOST)
        work.next_training()
    assert work.board.trainings[spec.key].state == "failed"


def test_a_job_that_gets_on_may_lose_workers_as_often_as_it_likes(tmp_path: Path) -> None:
    work = Jobs(tmp_path, count=1)
    spec = begin(work)
    for _ in range(MAX_LOST_WORKERS - 1):
        work.on_failure(spec.key, LOST)
        begin(work)
    work.on_result(spec.key, report(1))
    for _ in range(MAX_LOST_WORKERS - 1):
        work.on_failure(spec.key, LOST)
        begin(work)
    assert work.board.trainings[spec.key].state == "waiting"


def test_a_job_without_enough_gpu_memory_gets_more_of_a_gpu_each_time(tmp_path: Path) -> None:
    work = Jobs(tmp_path, count=1, terms=TrialLimits(gpus=0.25))
    shares = []
    spec: TrainingSpec | None = begin(work)
    while spec is not None:
        shares.append(spec.gpus)
        work.on_failure(spec.key, Failure(kind="out of GPU memory", reason="CUDA out of memory", details=""))
        spec = work.next_training()
    assert shares == [0.25, 0.5, 1.0, 1.0, 1.0], "a whole GPU that does not suffice is the training's own fault"
    assert [what for what, _ in work.notices] == ["memory", "memory", "error", "failed"]


def test_a_process_that_disappears_after_long_silence_counts_as_hung(tmp_path: Path) -> None:
    work = Jobs(tmp_path, count=1, terms=TrialLimits(epoch_timeout=0.0))
    for _ in range(MAX_EXCEPTIONS):
        spec = begin(work)
        work.on_start(spec.key)
        work.on_failure(spec.key, LOST)
    training = work.board.trainings[spec.key]
    assert training.state == "failed"
    assert "no epoch within 0 s: the process hung" in training.reason


def test_the_more_jobs_run_the_less_often_each_hands_over_its_state(tmp_path: Path) -> None:
    work = Jobs(tmp_path, count=4)
    first = begin(work)
    assert first.state_every == 0
    work.on_result(first.key, report(1, state=bytes(5_000_000)))
    assert [round(begin(work).state_every, 3) for _ in range(3)] == [0.2, 0.3, 0.4]


def test_three_jobs_that_fail_alike_before_any_epoch_end_the_work(tmp_path: Path) -> None:
    work = Jobs(tmp_path, count=20)
    for _ in range(3):
        work.on_failure(begin(work).key, exception("OSError: no store"))
    assert work.abort_reason == "OSError: no store"
    assert work.next_training() is None
    assert work.done()


def test_different_reasons_or_a_trained_epoch_are_no_cause_to_despair(tmp_path: Path) -> None:
    work = Jobs(tmp_path / "a", count=20)
    for number in range(3):
        work.on_failure(begin(work).key, exception(f"OSError: {number}"))
    assert work.abort_reason is None
    work = Jobs(tmp_path / "b", count=20)
    fine = begin(work)
    work.on_result(fine.key, report(1))
    for _ in range(3):
        work.on_failure(begin(work).key, exception())
    assert work.abort_reason is None


@pytest.mark.parametrize("lost", ["nothing", "the study's last lines", "half a line of the log"])
def test_a_restart_brings_study_and_log_into_agreement(tmp_path: Path, lost: str) -> None:
    whole = Plan(folder=str(tmp_path / "whole"), trials=8)
    search_in_process(whole)
    plan = Plan(folder=str(tmp_path / "run"), trials=5)
    search_in_process(plan)
    run = RunFolder(Path(plan.folder))
    if lost == "the study's last lines":  # killed between the log and the study
        lines = run.journal.read_bytes().splitlines(keepends=True)
        run.journal.write_bytes(b"".join(lines[:-5]) + b'{"op_code": 6, "wor')
    elif lost == "half a line of the log":
        content = run.epochs.read_bytes()
        run.epochs.write_bytes(content + b'{"key": "0004", "ep')
    plan.trials = 8
    work = search_in_process(plan)
    mine, theirs = read_records(run.journal), read_records(RunFolder(Path(whole.folder)).journal)
    assert mine == theirs
    assert work.asha is not None
    assert {len(values) for values in work.asha.rungs().values()} != {0}


def test_trials_begun_before_a_kill_come_first_though_nothing_was_trained(tmp_path: Path, table5: Space) -> None:
    def open_work() -> SearchQueue:
        run = RunFolder(tmp_path / "run")
        run.path.mkdir(exist_ok=True)
        study = Study(run.journal, table5, sampler="random", seed=1)
        settings: dict[str, Any] = {"asha": None, "num_trials": 5, "max_epochs": 3, "seed": 1}
        return SearchQueue(run, study, **settings, notice=lambda what, training: None)

    before = open_work()
    begun = [begin(before), begin(before)]
    after = open_work()
    again = [begin(after) for _ in range(3)]
    assert [spec.key for spec in again] == ["0000", "0001", "0002"]
    assert [spec.params for spec in again[:2]] == [spec.params for spec in begun]


def test_failed_trials_are_run_again_on_request_and_only_once(tmp_path: Path, table5: Space) -> None:
    def open_work(*, retry_failed: bool) -> SearchQueue:
        run = RunFolder(tmp_path / "run")
        run.path.mkdir(exist_ok=True)
        study = Study(run.journal, table5, sampler="random", seed=1)
        settings: dict[str, Any] = {"asha": None, "num_trials": 2, "max_epochs": 3, "seed": 1}
        return SearchQueue(run, study, **settings, notice=lambda what, training: None, retry_failed=retry_failed)

    def play(work: SearchQueue, unlucky: str) -> None:
        while (spec := work.next_training()) is not None:
            if spec.key == unlucky:
                work.on_failure(spec.key, exception())
                continue
            for epoch in (1, 2, 3):
                work.on_result(spec.key, report(epoch))

    work = open_work(retry_failed=False)
    play(work, unlucky="0001")
    assert [training.state for training in work.board.trainings.values()] == ["finished", "failed"]
    assert open_work(retry_failed=False).next_training() is None
    for _ in range(2):
        work = open_work(retry_failed=True)
        play(work, unlucky="none")
        states = {key: training.state for key, training in work.board.trainings.items()}
        assert states == {"0000": "finished", "0001": "failed", "0002": "finished"}
    assert dict(work.board.trainings["0002"].params) == dict(work.board.trainings["0001"].params)


@pytest.mark.parametrize("sampler", ["tpe", "random", "grid"])
def test_a_search_ends_with_a_sentence_when_every_point_was_tried(
    tmp_path: Path, make_space: Callable[..., Space], sampler: Any
) -> None:
    space = make_space("[parameters]\natom_dim = [16, 32, 64]\n[baseline]\natom_dim = 32")

    def play(trials: int) -> SearchQueue:
        run = RunFolder(tmp_path / "run")
        run.path.mkdir(exist_ok=True)
        study = Study(run.journal, space, sampler=sampler, seed=1)
        settings: dict[str, Any] = {"asha": None, "num_trials": trials, "max_epochs": 3, "seed": 1}
        work = SearchQueue(run, study, **settings, notice=lambda what, training: None)
        while (spec := work.next_training()) is not None:
            for epoch in (1, 2, 3):
                work.on_result(spec.key, report(epoch))
        assert work.done()
        return work

    assert play(2).exhausted is None
    assert play(3).exhausted is None, "all that was asked for"
    for _ in range(2):  # the second goes on with what is done
        work = play(6)
        assert work.exhausted == "all 3 points of mine.toml have been tried"
        assert len(work.board.trainings) == work.board.planned == work.board.num_ended == 3
        assert sorted(training.params["atom_dim"] for training in work.board.trainings.values()) == [16, 32, 64]
