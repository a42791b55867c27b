"""Asynchronous successive halving: which trials go on at a rung. Pure arithmetic, no Ray, no Optuna.

Source: Li et al., "A System for Massively Parallel Hyperparameter Tuning" (MLSys 2020), Algorithm 2, in its stopping
form: a trial that is not promoted at once is stopped, and no trial is paused.
"""

from bisect import bisect_left, insort
from collections.abc import Mapping
from typing import ClassVar

from tuner.trials.stopping.base import StoppingRule, check_score


class Asha(StoppingRule):
    """The rungs of one search and the rule that is applied at them.

    A rung at epoch e holds, per trial, the best score of the trial's epochs 1 to e (lower is better), because a trial
    counts by its best epoch. A trial that reaches the rung goes on if it belongs to the best 1/reduction of the values
    recorded so far, its own included; the best of them always goes on. Decisions are never revised: what a rung holds
    depends only on which values were recorded, and a decision only on those recorded before it.
    """

    name = "asha"
    options: ClassVar[Mapping[str, tuple[int, str]]] = {
        "grace_epochs": (1, "epochs"),
        "reduction": (2, "one in so many goes on; 3 is usual"),
    }

    def __init__(self, *, max_epochs: int, grace_epochs: int, reduction: int = 3) -> None:
        """Lay out the rungs: grace_epochs * reduction^k, as far as they lie below max_epochs.

        Args:
            max_epochs: of a trial that nothing stops (R in the paper).
            grace_epochs: that every trial is granted; the first rung (r in the paper), at least 1.
            reduction: one in this many goes on at each rung (eta in the paper), at least 2.

        Raises:
            ValueError: if a setting is out of range.
        """
        if grace_epochs < 1:
            raise ValueError(f"grace_epochs must be >= 1, got {grace_epochs}")
        if reduction < 2:
            raise ValueError(f"reduction must be >= 2, got {reduction}; 3 is usual")
        super().__init__(max_epochs=max_epochs)
        self._reduction = reduction
        self._rungs: dict[int, dict[int, float]] = {}
        self._sorted: dict[int, list[float]] = {}
        epoch = grace_epochs
        while epoch < max_epochs:
            self._rungs[epoch] = {}
            self._sorted[epoch] = []
            epoch *= reduction

    @classmethod
    def resolved(cls, options: Mapping[str, int], max_epochs: int) -> dict[str, int]:
        """As `StoppingRule.resolved`: by default two rungs, at 1/9 and 1/3 of the epochs with a reduction of 3.

        A rung shortly before the end would save nothing.
        """
        reduction = options.get("reduction", 3)
        grace = options.get("grace_epochs", -(-max_epochs // reduction**2))
        if grace > max_epochs:
            raise ValueError(f"grace_epochs must be at most --max-epochs ({max_epochs}), got {grace}")
        return {"grace_epochs": grace, "reduction": reduction}

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
        return num_better < max(1, len(rung) // self._reduction)

    def describe(self) -> str:
        """As `StoppingRule.describe`."""
        return "ASHA with rungs at " + (", ".join(map(str, self._rungs)) or "no epoch (the trials are too short)")
