"""Bookkeeping of jobs that is common to search and finalists: the log of epochs, failures, what ends when.

Order of events for an epoch: the worker hands over report, best checkpoint and state; the driver writes the checkpoint,
decides, appends one line with report *and* decision to the log, writes the state, and only then is the decision acted
upon. Whatever dies in between, the log holds all that was decided, in order, and what it does not hold is trained and
reported again by the next attempt. The driver alone writes, so no process that was given up can spoil anything.
"""

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tuner.run import jsonlines
from tuner.run.retry import at_once
from tuner.run.trial_folder import JobFolder
from tuner.trials.board import Board, Decision, Progress
from tuner.trials.interfaces import Failure, Job, Report

MAX_EXCEPTIONS = 3
"""Attempts that may end with the job's own exception, or in silence, before it is given up."""
MAX_LOST_WORKERS = 10
"""Attempts in a row whose process vanishes (killed, node gone) without an epoch before the job is given up."""
HOPELESS_AFTER = 3
"""Jobs that fail for one reason, while none ever finished an epoch, before the whole work is given up."""

MIN_SILENCE = 600.0
"""Seconds that any epoch may take."""
FIRST_SILENCE = 3600.0
"""Seconds that an epoch may take as long as it is not known how long epochs take."""
SILENCE_EPOCHS = 20
"""Times the longest epoch so far that an epoch may take before its process is taken for hung."""
STATE_BYTES_PER_SECOND = 50e6
"""What the driver takes of states; trainings hand them over less often when there are many."""

Notice = Callable[[str, Progress], None]
"""Called with what happened ("ended", "failed", "error", "lost", "memory") and to which training."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Terms:
    """What the driver grants every job."""

    gpus: float = 0.0
    """GPUs of a job; doubled, up to a whole one, when their memory did not suffice."""
    silence: float | None = None
    """Seconds that an epoch may take; None for SILENCE_EPOCHS times the longest so far."""
    patiently: Callable[[Callable[[], Any]], Any] = at_once
    """How to write what must not be lost, see `tuner.run.retry`."""


class Ledger:
    """Hands out jobs, writes the log, keeps the board. Subclasses decide what the jobs are and when one stops."""

    def __init__(self, board: Board, log: Path, failures: Path, notice: Notice, terms: Terms | None = None) -> None:
        """Take over what the log of an earlier process holds; subclasses call `_restore` once trainings are known."""
        self.board = board
        self._terms = terms or Terms()
        self._log = log
        self._failures = failures
        self._notice = notice
        self._queue: deque[Job] = deque()
        self._jobs: dict[str, Job] = {}
        self._running: set[str] = set()
        self._heard: dict[str, float] = {}
        self._gpus: dict[str, float] = {}
        self._longest_epoch = 0.0
        self._state_bytes = 0
        self._trained = False
        self.first_error: tuple[str, Failure] | None = None
        """Key and failure of the first attempt that ended with an exception."""
        self.hopeless: str | None = None
        """Why going on makes no sense; None while it does."""
        log.parent.mkdir(parents=True, exist_ok=True)
        jsonlines.cut_torn_tail(log)
        self._restored = jsonlines.read(log)
        for line in self._restored:
            self._learn(line)

    # What subclasses say.

    def _folder(self, key: str) -> JobFolder:
        """Where a job's files are."""
        raise NotImplementedError

    def _new_job(self) -> Job | None:
        """The next job that was never handed out, or None when there is none left."""
        raise NotImplementedError

    def _decide(self, training: Progress, epoch: int, best_score: float) -> bool:
        """Whether a training that is fine goes on after this epoch."""
        return True

    def _recorded(self, training: Progress, line: dict[str, Any]) -> None:
        """An epoch is in the log."""

    def _ended(self, training: Progress) -> None:
        """A training is over; told once, or again after a restart."""

    # What the executor calls.

    def next_job(self) -> Job | None:
        """A job to start now."""
        if self.hopeless:
            return None
        job = self._new_job() if not self._queue or self._several_should_fail_first() else None
        if job is None and self._queue:
            job = self._queue.popleft()
        if job is not None:
            job = self._jobs[job.key] = self._granted(job)
            self._running.add(job.key)
            self.board.trainings.setdefault(job.key, Progress(key=job.key, params=job.params)).state = "waiting"
        return job

    def done(self) -> bool:
        """Whether nothing runs and nothing waits. Ask after `next_job` gave None."""
        return not self._running and (not self._queue or self.hopeless is not None)

    def saved_state(self, key: str) -> bytes | None:
        """What a job goes on from."""
        state: bytes | None = self._terms.patiently(self._folder(key).state)
        return state

    def on_start(self, key: str) -> None:
        """A process works on the job, which has waited for one."""
        if key in self._running:
            self._heard[key] = time.monotonic()
            self.board.trainings[key].state = "running"

    def on_report(self, key: str, report: Report) -> bool:
        """Record an epoch, decide, act."""
        training = self.board.trainings[key]
        if key not in self._running:
            return False
        self._heard[key] = time.monotonic()
        folder = self._folder(key)
        if report.best is not None:
            best = report.best
            self._terms.patiently(lambda: folder.save_best(best))
        goes_on = self._record(training, report) if report.epoch > training.epoch else True
        # An epoch heard before was decided then: a trial that was to stop is not handed out again.
        if not goes_on:
            self._end(training, "ended")
        elif report.state is not None:
            state = report.state
            self._state_bytes = len(state)
            self._terms.patiently(lambda: folder.save_state(state))
        return goes_on

    def on_failure(self, key: str, failure: Failure) -> None:
        """Keep the traceback; try again or give up."""
        if key not in self._running:
            return
        training = self.board.trainings[key]
        job = self._jobs[key]
        failure = self._told_by_silence(job, failure)
        self._running.discard(key)
        self._keep(training, failure)
        training.reason = failure.reason
        if failure.kind == "out of GPU memory" and 0 < (job.gpus or 0) < 1:
            self._gpus[key] = min(1.0, 2 * (job.gpus or 0))
            self._notice("memory", training)
        elif failure.kind == "lost worker":
            training.lost_workers += 1
            if training.lost_workers < MAX_LOST_WORKERS:
                self._notice("lost", training)
        else:
            training.failures += 1
            if self.first_error is None:
                self.first_error = (key, failure)
                self._notice("error", training)
            self._give_up_if_hopeless(failure.reason)
        if training.failures < MAX_EXCEPTIONS and training.lost_workers < MAX_LOST_WORKERS:
            training.state = "waiting"
            self._queue.appendleft(job)
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
        return failed and not self._trained and len(self.board.trainings) < HOPELESS_AFTER

    def _granted(self, job: Job) -> Job:
        limit = self._terms.silence
        if limit is None:
            limit = max(MIN_SILENCE, SILENCE_EPOCHS * self._longest_epoch) if self._trained else FIRST_SILENCE
        return replace(
            job,
            gpus=self._gpus.get(job.key, self._terms.gpus),
            silence=limit,
            state_every=(len(self._running) + 1) * self._state_bytes / STATE_BYTES_PER_SECOND,
        )

    def _record(self, training: Progress, report: Report) -> bool:
        body = dict(report.body)
        if body.get("score") is None or not math.isfinite(body["score"]):
            body |= {"score": None, "diverged": True}
        decision = self._decision(training, replace(report, body=body))
        line = {
            "key": training.key,
            "epoch": report.epoch,
            "decision": decision,
            "time": round(time.time(), 3),
            "body": body,
        }
        self._terms.patiently(lambda: jsonlines.append(self._log, line))
        self._learn(line)
        training.add(line)
        training.reason = ""
        training.lost_workers = 0
        self.board.epochs_now += 1
        self.board.crystals_now += report.body.get("num_crystals") or 0
        self._recorded(training, line)
        return decision == "continue"

    def _learn(self, line: dict[str, Any]) -> None:
        self._trained = True
        self._longest_epoch = max(self._longest_epoch, line["body"].get("seconds") or 0.0)

    def _told_by_silence(self, job: Job, failure: Failure) -> Failure:
        """A process that its own timer ended looks like any other that disappeared; the time tells."""
        silent = time.monotonic() - self._heard.get(job.key, time.monotonic())
        if failure.kind != "lost worker" or silent < job.silence:
            return failure
        reason = f"no epoch within {job.silence:.0f} s: the process hung, and was ended"
        return Failure(kind="exception", reason=reason, details=failure.details)

    def _decision(self, training: Progress, report: Report) -> Decision:
        score = report.body.get("score")
        if report.body.get("diverged") or score is None:
            return "diverged"
        best = score if training.best_score is None else min(score, training.best_score)
        goes_on = self._decide(training, report.epoch, best)
        if report.finished:
            return "finished"
        return "continue" if goes_on else "stopped"

    def _end(self, training: Progress, what: str) -> None:
        self._running.discard(training.key)
        self._jobs.pop(training.key, None)
        self._ended(training)
        self._terms.patiently(self._folder(training.key).conclude)
        self._notice(what, training)

    def _keep(self, training: Progress, failure: Failure) -> None:
        path = self.failure_file(training.key)
        text = (
            f"--- {failure.kind} after epoch {training.epoch}, {time.strftime('%Y-%m-%d %H:%M:%S')}\n"
            f"parameters: {dict(training.params)}\n{failure.details.rstrip()}\n\n"
        )

        def write() -> None:
            path.parent.mkdir(exist_ok=True)
            with open(path, "a") as file:
                file.write(text)

        self._terms.patiently(write)

    def _give_up_if_hopeless(self, reason: str) -> None:
        """Stop before every job has been spent on a mistake that is not theirs; a resume tries the same jobs again."""
        unlucky = [training for training in self.board.trainings.values() if training.failures]
        if (
            not self._trained
            and all(training.reason == reason for training in unlucky)
            and len(unlucky) >= min(HOPELESS_AFTER, self.board.planned)
            and sum(training.failures for training in unlucky) >= HOPELESS_AFTER
        ):
            self.hopeless = reason
