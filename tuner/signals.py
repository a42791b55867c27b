"""Ctrl-C and SIGTERM: at once while Ray starts, at a convenient moment while trials run."""

import contextlib
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType

from graphdb.command import Terminated

_GRACE_SECONDS = 3.0
"""In which an interrupted start may clean up."""


class Signals:
    """Turns Ctrl-C and SIGTERM into a KeyboardInterrupt when nothing is half written; a second one acts at once."""

    def __init__(self) -> None:
        """Nothing received."""
        self._received: type[KeyboardInterrupt] | None = None

    def check(self) -> None:
        """Raise what was received; called where nothing is half written."""
        if self._received is not None:
            raise self._received

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.check()
        self._received = Terminated if number == signal.SIGTERM else KeyboardInterrupt

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


@contextlib.contextmanager
def may_hang(interrupted: str, grace: float = _GRACE_SECONDS) -> Iterator[None]:
    """In here nothing is half written, so that a signal ends the process also where a library hangs.

    Python's handler raises as soon as the library comes back to Python. If that has not led out of here after a
    while, or if there is a second signal, the process ends on the spot; children that are to die with it do.

    Args:
        interrupted: what is printed then.
        grace: in s.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    first = b""

    def watch() -> None:
        nonlocal first
        deadline: float | None = None
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            byte = os.read(reader, 1) if select.select([reader], [], [], left)[0] else first
            if byte == b"\0":
                return
            if byte[0] not in (signal.SIGINT, signal.SIGTERM):
                continue
            if deadline is not None:  # time is up, or a second signal
                with contextlib.suppress(OSError, ValueError):
                    print(f"interrupted: {interrupted}", file=sys.stderr, flush=True)
                os._exit(128 + byte[0])
            first, deadline = byte, time.monotonic() + grace

    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    thread = threading.Thread(target=watch, daemon=True, name="Ctrl-C while Ray starts")
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.write(writer, b"\0")
        thread.join()
        os.close(reader)
        os.close(writer)
        if first and before != -1:  # whoever listened before counts it as the first
            with contextlib.suppress(OSError):
                os.write(before, first)
