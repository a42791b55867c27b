"""The log of a search, its one truth: which trials were begun, what became of each epoch, and what failed for good.

    {"key": "0007", "time": ..., "params": {...}}                                      a trial is begun
    {"key": "0007", "time": ..., "epoch": 3, "decision": "continue", "body": {...}}    an epoch, and what it led to
    {"key": "0007", "time": ..., "failed": "ValueError: ..."}                          no further attempt will be made

All else that a resumed search needs is rebuilt from these lines, in their order.
"""

import errno
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from graphdb.records import Value
from tuner.run import jsonlines
from tuner.run.retry import RetryWrite, once

Decision = Literal["continue", "stopped", "finished", "diverged"]
State = Literal["waiting", "running", "stopped", "finished", "diverged", "failed"]
Line = dict[str, Any]


@dataclass(kw_only=True, slots=True)
class Training:
    """What is known of one training, a trial of a search or a finalist, while it runs and afterwards."""

    key: str
    params: Mapping[str, Value] = field(default_factory=dict)
    state: State = "waiting"
    epoch: int = 0
    """Last epoch recorded."""
    curve: dict[int, float] = field(default_factory=dict)
    """Score by epoch, where it is a number."""
    best_epoch: int = 0
    best_score: float | None = None
    """Score of the best epoch; None before the first."""
    best_metrics: Mapping[str, Any] = field(default_factory=dict)
    """Per task, of the best epoch."""
    seconds: float = 0.0
    """Time spent in recorded epochs."""
    started: float = 0.0
    """Time of the first line, in s since 1970."""
    updated: float = 0.0
    """Time of the last one."""
    failures: int = 0
    """Attempts that ended with an exception."""
    lost_workers: int = 0
    """Attempts whose process disappeared, since the last recorded epoch."""
    reason: str = ""
    """Why the last attempt failed."""

    @property
    def number(self) -> int:
        """Of the trial."""
        return int(self.key)

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will come."""
        return self.state not in ("waiting", "running")

    def add(self, line: Line) -> None:
        """Take a line of the log."""
        moment = line.get("time", 0.0)
        self.started, self.updated = min(self.started or moment, moment), max(self.updated, moment)
        if "params" in line:
            self.params = line["params"]
        elif "failed" in line:
            self.state, self.reason = "failed", line["failed"]
        else:
            self._add_epoch(line["epoch"], line["decision"], line["body"])

    def _add_epoch(self, epoch: int, decision: Decision, body: Mapping[str, Any]) -> None:
        self.epoch = epoch
        self.seconds += body.get("seconds") or 0.0
        score = body.get("score")
        if score is not None:
            self.curve[epoch] = score
            if not body.get("diverged") and (self.best_score is None or score < self.best_score):
                self.best_score, self.best_epoch, self.best_metrics = score, epoch, body.get("metrics", {})
        self.state = "running" if decision == "continue" else decision


class Log:
    """The file. One process at a time writes to it (`tuner.run.lock.only_writer`)."""

    def __init__(self, path: Path, retry: RetryWrite = once) -> None:
        """Take over a file, or begin it; a line that a killed writer left unfinished is removed.

        Args:
            path: of the file.
            retry: how to write what must not be lost.
        """
        self._path = path
        self._retry = retry
        path.parent.mkdir(parents=True, exist_ok=True)
        jsonlines.cut_torn_tail(path)
        path.touch()

    def lines(self) -> Iterator[Line]:
        """All lines so far, one after the other."""
        return jsonlines.lines(self._path)

    def complete(self, missing: list[Line]) -> None:
        """Write what the log lacks behind its lines: all, or none of it, whatever happens."""
        whole = [*self.lines(), *missing]
        self._retry(lambda: self._once(lambda: jsonlines.write(self._path, whole)))

    def append(self, lines: list[Line]) -> None:
        """Write these lines together, or none of them."""
        self._retry(lambda: self._once(lambda: jsonlines.append(self._path, *lines)))

    def begin(self, trials: Mapping[str, Mapping[str, Value]]) -> list[Line]:
        """Trials are begun with these parameters: on disk together, or not at all; returns the lines."""
        lines: list[Line] = [{"key": key, "time": _now(), "params": dict(params)} for key, params in trials.items()]
        self.append(lines)
        return lines

    def add_epoch(self, key: str, epoch: int, decision: Decision, body: Mapping[str, Any]) -> Line:
        """An epoch was trained, and the training goes on or has ended; returns the line."""
        line = {"key": key, "time": _now(), "epoch": epoch, "decision": decision, "body": dict(body)}
        self.append([line])
        return line

    def fail(self, key: str, reason: str) -> None:
        """A trial has failed for good."""
        self.append([{"key": key, "time": _now(), "failed": reason}])

    def _once(self, write: Callable[[], None]) -> None:
        if not self._path.exists():  # a new file, in a folder that came back empty, would lack the beginning
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self._path))
        write()


def trainings_of(
    lines: Iterable[Line], added: Callable[[Training, Line], None] = lambda training, line: None
) -> dict[str, Training]:
    """What the lines of a log say of each training, by key; trials in the order of their numbers.

    `added` is told of each line once its training has it.
    """
    found: dict[str, Training] = {}
    for line in lines:
        training = found.setdefault(line["key"], Training(key=line["key"]))
        training.add(line)
        added(training, line)
    return in_order(found)


def in_order(trainings: Mapping[str, Training]) -> dict[str, Training]:
    """Sorted by number: in runs begun before the log held all, its lines are not."""
    return dict(sorted(trainings.items(), key=lambda item: (len(item[0]), item[0])))


def key_of(number: int) -> str:
    """Of a trial: 7 is "0007"."""
    return f"{number:04d}"


def _now() -> float:
    return round(time.time(), 3)
