"""How long an epoch may take before the process that trains it is taken for hung, and ended."""

MIN_EPOCH_TIMEOUT = 600.0
"""Seconds that any epoch may take."""
FIRST_EPOCH_TIMEOUT = 3600.0
"""Seconds that an epoch may take as long as it is not known how long epochs take."""
TIMEOUT_EPOCHS = 20
"""Times the longest epoch so far that an epoch may take before its process is taken for hung."""


class EpochTimeout:
    """Judges by the epochs that a search has seen."""

    def __init__(self, given: float | None = None) -> None:
        """No epoch yet.

        Args:
            given: seconds that the user wants instead; None to judge.
        """
        self._given = given
        self._longest: float | None = None

    def add(self, seconds: float) -> None:
        """An epoch took this long."""
        self._longest = max(self._longest or 0.0, seconds)

    def seconds(self) -> float:
        """What the next epoch may take."""
        if self._given is not None:
            return self._given
        if self._longest is None:
            return FIRST_EPOCH_TIMEOUT
        return max(MIN_EPOCH_TIMEOUT, TIMEOUT_EPOCHS * self._longest)
