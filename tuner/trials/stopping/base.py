"""What all rules for stopping trials have in common."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar


class StoppingRule(ABC):
    """Decides after each epoch of a trial whether it goes on."""

    name: ClassVar[str]
    """Of the rule, and of its section in a search space."""
    options: ClassVar[Mapping[str, tuple[int, str]]] = {}
    """What that section may set, all whole numbers: the least value and what it means."""

    def __init__(self, *, max_epochs: int, **options: int) -> None:
        """Know no trial yet.

        Args:
            max_epochs: of a trial that nothing stops.
            options: as `resolved` gives them.
        """
        self.max_epochs = max_epochs

    @classmethod
    def resolved(cls, options: Mapping[str, int], max_epochs: int) -> dict[str, int]:
        """All options, those that are not given chosen for trials of so many epochs.

        Raises:
            ValueError: if they could stop nothing.
        """
        return dict(options)

    @abstractmethod
    def record(self, trial: int, epoch: int, best_score: float) -> bool:
        """Record a trial's arrival at an epoch and decide.

        Decisions depend on nothing but what was recorded before, in its order: a resumed search records the log again.

        Args:
            trial: number of the trial.
            epoch: epoch just finished, 1-based.
            best_score: best score of the trial's epochs up to this one, finite, lower is better.

        Returns:
            Whether the trial goes on. A trial that is recorded at an epoch again keeps its value and goes on.

        Raises:
            ValueError: if the score is not finite; a diverged trial is nothing that a rule decides on.
        """

    @abstractmethod
    def describe(self) -> str:
        """The rule in a few words, for the user."""


def check_score(trial: int, epoch: int, best_score: float) -> None:
    """Refuse a score that is no number.

    Raises:
        ValueError: naming it.
    """
    if not math.isfinite(best_score):
        raise ValueError(f"best_score must be finite, got {best_score} for trial {trial} at epoch {epoch}")
