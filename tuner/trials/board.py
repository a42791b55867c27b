"""All trainings of a phase at a glance."""

from collections import Counter
from dataclasses import dataclass, field

from tuner.run.log import State, Training


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
        return sum(training.has_ended for training in self.trainings.values())

    def ranked(self) -> list[Training]:
        """Trainings that have a score, best first; diverged and failed ones after all others."""
        return sorted((t for t in self.trainings.values() if t.best_score is not None), key=_rank)

    def best(self) -> Training | None:
        """The best training so far, or None before the first score."""
        usable = (t for t in self.trainings.values() if t.best_score is not None and t.state not in _USELESS)
        return min(usable, key=_rank, default=None)


_USELESS = ("diverged", "failed")


def _rank(training: Training) -> tuple[bool, float, str]:
    assert training.best_score is not None
    return training.state in _USELESS, training.best_score, training.key
