"""Every trial runs to its end."""

from tuner.trials.stopping.base import StoppingRule, check_score


class NoStopping(StoppingRule):
    """Stops no trial."""

    name = "none"

    def record(self, trial: int, epoch: int, best_score: float) -> bool:
        """Let it go on."""
        check_score(trial, epoch, best_score)
        return True

    def describe(self) -> str:
        """As `StoppingRule.describe`."""
        return "no early stopping"
