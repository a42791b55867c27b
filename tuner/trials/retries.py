"""Which failed attempts at a training are followed by another, and with what share of a GPU."""

from collections.abc import Iterable
from typing import Literal

from tuner.protocol import Failure
from tuner.run.log import Training

MAX_EXCEPTIONS = 3
"""Attempts that may end with the training's own exception, or by hanging, before it is given up."""
MAX_LOST_WORKERS = 10
"""Attempts in a row whose process vanishes (killed, node gone) without an epoch before the training is given up."""
ABORT_AFTER = 3
"""Trainings that fail for one reason, while none ever finished an epoch, before the whole work is given up."""


class Retries:
    """Counts the attempts that failed."""

    def __init__(self, gpus: float) -> None:
        """No failure yet.

        Args:
            gpus: that a training has at first.
        """
        self._first = gpus
        self._gpus: dict[str, float] = {}

    def gpus(self, key: str) -> float:
        """GPUs of the next attempt: twice as many, up to a whole one, as those whose memory did not suffice."""
        return self._gpus.get(key, self._first)

    def add(self, training: Training, failure: Failure) -> Literal["memory", "lost", "error"]:
        """An attempt has failed; returns whose fault it was: of too small a share, of a lost worker or its own."""
        share = self.gpus(training.key)
        if failure.kind == "out of GPU memory" and 0 < share < 1:
            self._gpus[training.key] = min(1.0, 2 * share)
            return "memory"
        if failure.kind == "lost worker":
            training.lost_workers += 1
            return "lost"
        training.failures += 1
        return "error"

    def again(self, training: Training) -> bool:
        """Whether there is another attempt."""
        return training.failures < MAX_EXCEPTIONS and training.lost_workers < MAX_LOST_WORKERS


def all_fail_alike(trainings: Iterable[Training], planned: int) -> bool:
    """Whether so many fail for one reason that it cannot be their own, and the others need not be spent on it."""
    unlucky = [training for training in trainings if training.failures]
    return (
        len({training.reason for training in unlucky}) == 1
        and len(unlucky) >= min(ABORT_AFTER, planned)
        and sum(training.failures for training in unlucky) >= ABORT_AFTER
    )
