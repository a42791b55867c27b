"""What is known of each training while it runs and afterwards, rebuilt from the log of epochs."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tuner.space.parameter import Value

Decision = Literal["continue", "stopped", "finished", "diverged"]
State = Literal["waiting", "running", "stopped", "finished", "diverged", "failed"]


@dataclass(kw_only=True, slots=True)
class Training:
    """One training: a trial of a search or a finalist."""

    key: str
    params: Mapping[str, Value]
    state: State = "waiting"
    epoch: int = 0
    """Last epoch recorded."""
    best_epoch: int = 0
    best_score: float | None = None
    """Score of the best epoch; None before the first."""
    best_metrics: Mapping[str, Any] = field(default_factory=dict)
    """Per task, of the best epoch."""
    seconds: float = 0.0
    """Time spent in recorded epochs."""
    failures: int = 0
    """Attempts that ended with an exception."""
    lost_workers: int = 0
    """Attempts whose process disappeared, since the last recorded epoch."""
    reason: str = ""
    """Why it failed."""

    def add(self, line: Mapping[str, Any]) -> None:
        """Take a line of the log: an epoch with the decision made on it."""
        body = line["body"]
        self.epoch = line["epoch"]
        self.seconds += body.get("seconds") or 0.0
        score = body.get("score")
        if score is not None and not body.get("diverged") and (self.best_score is None or score < self.best_score):
            self.best_score, self.best_epoch, self.best_metrics = score, line["epoch"], body.get("metrics", {})
        decision: Decision = line["decision"]
        self.state = "running" if decision == "continue" else decision


@dataclass(kw_only=True, slots=True)
class Board:
    """All trainings of a phase, and the pace; what the live table and the report show."""

    title: str
    planned: int
    """Trainings that the phase will have."""
    max_epochs: int
    trainings: dict[str, Training] = field(default_factory=dict)
    epochs_now: int = 0
    """Epochs recorded by this process, repeated ones not counted."""
    crystals_now: int = 0
    """Crystals trained on in those."""

    def counts(self) -> Counter[State]:
        """How many trainings there are in each state."""
        return Counter(training.state for training in self.trainings.values())

    def count(self, state: State) -> int:
        """Trainings in a state."""
        return self.counts()[state]

    @property
    def num_ended(self) -> int:
        """Trainings that are over, however they ended."""
        counts = self.counts()
        return len(self.trainings) - counts["waiting"] - counts["running"]

    def ranked(self) -> list[Training]:
        """Trainings that have a score, best first; diverged and failed ones after all others."""
        return sorted((t for t in self.trainings.values() if t.best_score is not None), key=_rank)

    def best(self) -> Training | None:
        """The best training so far, or None before the first score."""
        usable = (t for t in self.trainings.values() if t.best_score is not None and t.state not in _USELESS)
        return min(usable, key=_rank, default=None)

    def replay(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Take lines of a log in their order; trainings must be known."""
        for line in lines:
            self.trainings[line["key"]].add(line)


_USELESS = ("diverged", "failed")


def _rank(training: Training) -> tuple[bool, float, str]:
    assert training.best_score is not None
    return training.state in _USELESS, training.best_score, training.key
