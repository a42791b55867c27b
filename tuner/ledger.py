"""Bookkeeping of jobs that is common to search and finalists: the log of epochs, failures, what ends when.

Order of events for an epoch: the worker saves its state; the driver decides; one line with report *and* decision is
appended to the log; only then is the decision acted upon. Whatever dies in between, the log holds all that was
decided, in order, and what the log does not hold is reported again by the worker's next attempt.
"""

import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tuner import attempts, jsonlines
from tuner.jobs import Failure, Job, Report
from tuner.progress import Board, Decision, Progress

MAX_EXCEPTIONS = 3
"""Attempts that may end with the job's own exception before it is given up."""
MAX_LOST_WORKERS = 10
"""Attempts whose process may vanish (killed, out of memory, node gone) before the job is given up."""
HOPELESS_AFTER = 3
"""Jobs that fail for one reason, while none ever finished an epoch, before the whole work is given up."""

Notice = Callable[[str, Progress], None]
"""Called with what happened ("ended", "failed", "error", "lost") and to which training."""


class Ledger:
    """Hands out jobs, writes the log, keeps the board. Subclasses decide what the jobs are and when one stops."""

    def __init__(self, board: Board, log: Path, failures: Path, notice: Notice) -> None:
        """Take over what the log of an earlier process holds; subclasses call `_restore` once trainings are known."""
        self.board = board
        self._log = log
        self._failures = failures
        self._notice = notice
        self._queue: deque[Job] = deque()
        self._jobs: dict[str, Job] = {}
        self._running: set[str] = set()
        self.first_error: tuple[str, Failure] | None = None
        """Key and failure of the first attempt that ended with an exception."""
        self.hopeless: str | None = None
        """Why going on makes no sense; None while it does."""
        log.parent.mkdir(parents=True, exist_ok=True)
        jsonlines.cut_torn_tail(log)
        self._restored = jsonlines.read(log)

    # What subclasses say.

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
        job = None
        if self._nothing_trained() and len(self.board.trainings) < HOPELESS_AFTER:
            job = self._new_job()  # Several jobs fail once each before one fails thrice: see `_give_up_if_hopeless`.
        if job is None:
            job = self._queue.popleft() if self._queue else self._new_job()
        if job is not None:
            self._jobs[job.key] = job
            self._running.add(job.key)
            self.board.trainings.setdefault(job.key, Progress(key=job.key, params=job.params)).state = "waiting"
        return job

    def done(self) -> bool:
        """Whether nothing runs and nothing waits. Ask after `next_job` gave None."""
        return not self._running and (not self._queue or self.hopeless is not None)

    def on_start(self, key: str) -> None:
        """A process works on the job, which has waited for one."""
        if key in self._running:
            self.board.trainings[key].state = "running"

    def on_report(self, key: str, report: Report) -> bool:
        """Record an epoch, decide, act."""
        training = self.board.trainings[key]
        if key not in self._running:
            return False
        training.attempt = report.attempt
        if report.epoch <= training.epoch:
            return True  # Heard before, and decided then: a trial that was to stop is not handed out again.
        decision = self._decision(training, report)
        line = {
            "key": key,
            "epoch": report.epoch,
            "decision": decision,
            "attempt": report.attempt,
            "time": round(time.time(), 3),
            "body": dict(report.body),
        }
        jsonlines.append(self._log, line)
        training.add(line)
        training.reason = ""
        if not report.repeated:
            self.board.epochs_now += 1
            self.board.crystals_now += report.body.get("num_crystals") or 0
        self._recorded(training, line)
        if decision == "continue":
            return True
        self._end(training, "ended")
        return False

    def on_failure(self, key: str, failure: Failure) -> None:
        """Keep the traceback; try again or give up."""
        if key not in self._running:
            return
        training = self.board.trainings[key]
        self._running.discard(key)
        if failure.kind == "exception":
            training.failures += 1
        else:
            training.lost_workers += 1
        self._keep(training, failure)
        training.reason = failure.reason
        if failure.kind == "exception":
            if self.first_error is None:
                self.first_error = (key, failure)
                self._notice("error", training)
            self._give_up_if_hopeless(failure.reason)
        if training.failures < MAX_EXCEPTIONS and training.lost_workers < MAX_LOST_WORKERS:
            if failure.kind == "lost worker":
                self._notice("lost", training)
            training.state = "waiting"
            self._queue.appendleft(self._jobs[key])
            return
        training.state = "failed"
        self._end(training, "failed")

    def failure_file(self, key: str) -> Path:
        """Where the tracebacks of a training are kept."""
        return self._failures / f"{key}.txt"

    # Inside.

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
        job = self._jobs.get(training.key)
        self._ended(training)
        if job is not None:
            attempts.conclude(Path(job.folder), training.attempt)
        self._notice(what, training)

    def _keep(self, training: Progress, failure: Failure) -> None:
        path = self.failure_file(training.key)
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a") as file:
            file.write(
                f"--- {failure.kind} no. {training.failures + training.lost_workers} after epoch {training.epoch}, "
                f"{time.strftime('%Y-%m-%d %H:%M:%S')}\nparameters: {dict(training.params)}\n"
                f"{failure.details.rstrip()}\n\n"
            )

    def _nothing_trained(self) -> bool:
        return not any(training.epoch for training in self.board.trainings.values())

    def _give_up_if_hopeless(self, reason: str) -> None:
        """Stop before every job has been spent on a mistake that is not theirs; a resume tries the same jobs again."""
        unlucky = [training for training in self.board.trainings.values() if training.failures]
        if (
            self._nothing_trained()
            and all(training.reason == reason for training in unlucky)
            and len(unlucky) >= min(HOPELESS_AFTER, self.board.planned)
            and sum(training.failures for training in unlucky) >= HOPELESS_AFTER
        ):
            self.hopeless = reason
