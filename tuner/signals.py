"""Ctrl-C and SIGTERM at a convenient moment."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType


class Signals:
    """Turns Ctrl-C and SIGTERM into a KeyboardInterrupt when nothing is half written; a second one acts at once."""

    def __init__(self) -> None:
        """Nothing received."""
        self._received = False

    def check(self) -> None:
        """Raise what was received; called where nothing is half written."""
        if self._received:
            raise KeyboardInterrupt

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self._received:
            raise KeyboardInterrupt
        self._received = True

    @contextlib.contextmanager
    def caught(self) -> Iterator[None]:
        """Receive signals in the meantime."""
        before = {number: signal.signal(number, self._receive) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
            self.check()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
