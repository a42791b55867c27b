"""Asynchronous successive halving: which trials go on at a rung. Pure arithmetic, no Ray, no Optuna.

Source: Li et al., "A System for Massively Parallel Hyperparameter Tuning" (MLSys 2020), Algorithm 2, in its stopping
form: a trial that is not promoted at once is stopped, and no trial is paused.
"""

from bisect import bisect_left, insort
from dataclasses import dataclass

from tuner.trials.stopping.base import StoppingRule, check_score


@dataclass(frozen=True, kw_only=True, slots=True)
class AshaSettings:
    """When trials are compared and how many of them go on."""

    grace_epochs: int
    """Epochs that every trial is granted; the first rung (r in the paper), at least 1."""
    reduction: int = 3
    """One in this many goes on at each rung (eta in the paper), at least 2."""

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ValueError: if a setting is out of range.
        """
        if self.grace_epochs < 1:
            raise ValueError(f"grace_epochs must be >= 1, got {self.grace_epochs}")
        if self.reduction < 2:
            raise ValueError(f"reduction must be >= 2, got {self.reduction}; 3 is usual")


class Asha(StoppingRule):
    """The rungs of one search and the rule that is applied at them.

    A rung at epoch e holds, per trial, the best score of the trial's epochs 1 to e (lower is better), because a trial
    counts by its best epoch. A trial that reaches the rung goes on if it belongs to the best 1/reduction of the values
    recorded so far, its own included; the best of them always goes on. Decisions are never revised: what a rung holds
    depends only on which values were recorded, and a decision only on those recorded before it.
    """

    def __init__(self, settings: AshaSettings, max_epochs: int) -> None:
        """Lay out the rungs: grace_epochs * reduction^k, as far as they lie below max_epochs."""
        self.settings = settings
        self._rungs: dict[int, dict[int, float]] = {}
        self._sorted: dict[int, list[float]] = {}
        epoch = settings.grace_epochs
        while epoch < max_epochs:
            self._rungs[epoch] = {}
            self._sorted[epoch] = []
            epoch *= settings.reduction

    @property
    def rung_epochs(self) -> tuple[int, ...]:
        """Epochs at which trials are compared, ascending."""
        return tuple(self._rungs)

    def rungs(self) -> dict[int, dict[int, float]]:
        """What is recorded: rung epoch -> trial number -> best score up to that epoch (a copy)."""
        return {epoch: dict(values) for epoch, values in self._rungs.items()}

    def record(self, trial: int, epoch: int, best_score: float) -> bool:
        """As `StoppingRule.record`; at epochs that are no rung every trial goes on."""
        check_score(trial, epoch, best_score)
        rung = self._rungs.get(epoch)
        if rung is None or trial in rung:
            return True
        rung[trial] = best_score
        insort(self._sorted[epoch], best_score)
        num_better = bisect_left(self._sorted[epoch], best_score)
        return num_better < max(1, len(rung) // self.settings.reduction)

    def describe(self) -> str:
        """As `StoppingRule.describe`."""
        return "ASHA with rungs at " + (", ".join(map(str, self._rungs)) or "no epoch (the trials are too short)")
