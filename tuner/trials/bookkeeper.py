"""Bookkeeping of trainings that is common to search and finalists: the log of epochs, failures, what ends when.

Order of events for an epoch: the worker hands over result, best checkpoint and state; the driver writes the checkpoint,
decides, appends one line with report *and* decision to the log, writes the state, and only then is the decision acted
upon. Whatever dies in between, the log holds all that was decided, in order, and what it does not hold is trained and
reported again by the next attempt. The driver alone writes, so no process that was given up can spoil anything.
"""

import math
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from tuner.protocol import EpochResult, Failure, TrainingSpec
from tuner.run.log import Decision, Line, Log, Training
from tuner.run.retry import RetryWrite, once
from tuner.run.trial_folder import TrialFolder
from tuner.trials.board import Board
from tuner.trials.epoch_timeout import EpochTimeout
from tuner.trials.retries import ABORT_AFTER, Retries, all_fail_alike

STATE_BYTES_PER_SECOND = 50e6
"""What the driver takes of states; trainings hand them over less often when there are many."""

Notice = Callable[["Bookkeeper", str, Training], None]
"""Called with who notices what ("ended", "failed", "error", "lost", "memory") of which training."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialLimits:
    """What the driver grants every training."""

    gpus: float = 0.0
    """GPUs of a training; doubled, up to a whole one, when their memory did not suffice."""
    epoch_timeout: float | None = None
    """Seconds that an epoch may take; None to judge by the epochs so far, see `EpochTimeout`."""
    retry: RetryWrite = once
    """How to write what must not be lost, see `tuner.run.retry`."""


class Bookkeeper(ABC):
    """Hands out trainings, writes the log, keeps the board. Subclasses know the trainings and when one stops."""

    def __init__(
        self, board: Board, log: Path, failures: Path, notice: Notice, limits: TrialLimits | None = None
    ) -> None:
        """Take over the log of an earlier process; subclasses restore their trainings from it."""
        self.board = board
        self._limits = limits or TrialLimits()
        self._log = Log(log, self._limits.retry)
        self._failures = failures
        self._notice = notice
        self._queue: deque[TrainingSpec] = deque()
        self._specs: dict[str, TrainingSpec] = {}
        self._running: set[str] = set()
        self._last_report: dict[str, float] = {}
        self._retries = Retries(self._limits.gpus)
        self._timeout = EpochTimeout(self._limits.epoch_timeout)
        self._state_bytes = 0
        self._trained = False
        self.first_error: tuple[str, Failure] | None = None
        """Key and failure of the first attempt that ended with an exception."""
        self.abort_reason: str | None = None
        """Why going on makes no sense; None while it does."""

    # What subclasses say.

    @abstractmethod
    def _folder(self, key: str) -> TrialFolder:
        """Where a training's files are."""

    @abstractmethod
    def _new_training(self) -> TrainingSpec | None:
        """The next training that was never handed out, or None when there is none left."""

    def _decide(self, training: Training, epoch: int, best_score: float) -> bool:
        """Whether a training that is fine goes on after this epoch."""
        return True

    def _recorded(self, training: Training) -> None:  # noqa: B027 - a hook
        """An epoch is in the log."""

    def _ended(self, training: Training) -> None:  # noqa: B027 - a hook
        """A training is over."""

    # What the executor calls.

    def next_training(self) -> TrainingSpec | None:
        """A training to start now."""
        if self.abort_reason:
            return None
        spec = self._new_training() if not self._queue or self._several_should_fail_first() else None
        if spec is None and self._queue:
            spec = self._queue.popleft()
        if spec is not None:
            spec = self._specs[spec.key] = self._granted(spec)
            self._running.add(spec.key)
            self.board.trainings.setdefault(spec.key, Training(key=spec.key, params=spec.params)).state = "waiting"
        return spec

    def done(self) -> bool:
        """Whether nothing runs and nothing waits. Ask after `next_training` gave None."""
        return not self._running and (not self._queue or self.abort_reason is not None)

    def saved_state(self, key: str) -> bytes | None:
        """What a training goes on from."""
        return self._limits.retry(self._folder(key).state)

    def on_start(self, key: str) -> None:
        """A process works on the training, which has waited for one."""
        if key in self._running:
            self._last_report[key] = time.monotonic()
            self.board.trainings[key].state = "running"

    def on_result(self, key: str, result: EpochResult) -> bool:
        """Record an epoch, decide, act."""
        training = self.board.trainings[key]
        if key not in self._running:
            return False
        self._last_report[key] = time.monotonic()
        folder = self._folder(key)
        if result.best is not None:
            best = result.best
            self._limits.retry(lambda: folder.save_best(best))
        goes_on = self._record(training, result) if result.epoch > training.epoch else True
        # An epoch reported before was decided then: a trial that was to stop is not handed out again.
        if not goes_on:
            self._end(training, "ended")
        elif result.state is not None:
            state = result.state
            self._state_bytes = len(state)
            self._limits.retry(lambda: folder.save_state(state))
        return goes_on

    def on_failure(self, key: str, failure: Failure) -> None:
        """Keep the traceback; try again or give up."""
        if key not in self._running:
            return
        training = self.board.trainings[key]
        spec = self._specs[key]
        failure = self._or_timeout(spec, failure)
        self._running.discard(key)
        self._keep(training, failure)
        training.reason = failure.reason
        what = self._retries.add(training, failure)
        again = self._retries.again(training)
        if what == "error":
            if self.first_error is None:
                self.first_error = (key, failure)
                self._notice(self, "error", training)
            if not self._trained and all_fail_alike(self.board.trainings.values(), self.board.planned):
                self.abort_reason = failure.reason  # a resume tries the same trainings again
        elif again:
            self._notice(self, what, training)
        if again:
            training.state = "waiting"
            self._queue.appendleft(spec)
            return
        training.state = "failed"
        self._end(training, "failed")

    def failure_file(self, key: str) -> Path:
        """Where the tracebacks of a training are kept."""
        return self._failures / f"{key}.txt"

    # Inside.

    def _several_should_fail_first(self) -> bool:
        """Once each, before one fails thrice: only then is it seen that the reason is not theirs."""
        failed = self.board.trainings[self._queue[0].key].failures > 0
        return failed and not self._trained and len(self.board.trainings) < ABORT_AFTER

    def _granted(self, spec: TrainingSpec) -> TrainingSpec:
        return replace(
            spec,
            gpus=self._retries.gpus(spec.key),
            epoch_timeout=self._timeout.seconds(),
            state_every=(len(self._running) + 1) * self._state_bytes / STATE_BYTES_PER_SECOND,
        )

    def _record(self, training: Training, result: EpochResult) -> bool:
        body = dict(result.body)
        if body.get("score") is None or not math.isfinite(body["score"]):
            body |= {"score": None, "diverged": True}
        decision = self._decision(training, replace(result, body=body))
        line = self._log.add_epoch(training.key, result.epoch, decision, body)
        self._learn(line)
        training.add(line)
        training.reason = ""
        training.lost_workers = 0
        self.board.epochs_now += 1
        self.board.crystals_now += result.body.get("num_crystals") or 0
        self._recorded(training)
        return decision == "continue"

    def _learn(self, line: Line) -> None:
        """Take an epoch, of this process or of an earlier one."""
        self._trained = True
        self._timeout.add(line["body"].get("seconds") or 0.0)

    def _or_timeout(self, spec: TrainingSpec, failure: Failure) -> Failure:
        """A process that its own timer ended looks like any other that disappeared; the time tells them apart."""
        silent = time.monotonic() - self._last_report.get(spec.key, time.monotonic())
        if failure.kind != "lost worker" or silent < spec.epoch_timeout:
            return failure
        reason = f"no epoch within {spec.epoch_timeout:.0f} s: the process hung, and was ended"
        return Failure(kind="exception", reason=reason, details=failure.details)

    def _decision(self, training: Training, result: EpochResult) -> Decision:
        score = result.body.get("score")
        if result.body.get("diverged") or score is None:
            return "diverged"
        best = score if training.best_score is None else min(score, training.best_score)
        goes_on = self._decide(training, result.epoch, best)
        if result.finished:
            return "finished"
        return "continue" if goes_on else "stopped"

    def _end(self, training: Training, what: str) -> None:
        self._running.discard(training.key)
        self._specs.pop(training.key, None)
        self._ended(training)
        self._limits.retry(self._folder(training.key).conclude)
        self._notice(self, what, training)

    def _keep(self, training: Training, failure: Failure) -> None:
        path = self.failure_file(training.key)
        text = (
            f"--- {failure.kind} after epoch {training.epoch}, {time.strftime('%Y-%m-%d %H:%M:%S')}\n"
            f"parameters: {dict(training.params)}\n{failure.details.rstrip()}\n\n"
        )

        def write() -> None:
            path.parent.mkdir(exist_ok=True)
            with open(path, "a") as file:
                file.write(text)

        self._limits.retry(write)
