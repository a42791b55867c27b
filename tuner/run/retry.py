"""A results folder that is full or gone for a while: what has to be written is written again until it succeeds."""

import errno
import time
from collections.abc import Callable
from typing import Protocol, TypeVar

T = TypeVar("T")

_PASSING = frozenset(
    number
    for name in [
        "ENOSPC",
        "EDQUOT",
        "EIO",
        "EROFS",
        "ENOENT",
        "ENODEV",
        "ENXIO",
        "ESTALE",
        "ENOTCONN",
        "ETIMEDOUT",
        "EHOSTDOWN",
        "EHOSTUNREACH",
        "EMFILE",
        "ENFILE",
    ]
    if (number := getattr(errno, name, None)) is not None
)
"""Errors that another person, or time, can fix while the search waits."""
_AGAIN_SECONDS = 1.0
_REMIND_SECONDS = 60.0


class RetryWrite(Protocol):
    """How a write is done that must not be lost: a `Retry`, or `once`."""

    def __call__(self, write: Callable[[], T], /) -> T:
        """Do it; returns what it returns."""


class Retry:
    """Repeats a write that must not be lost. It has to be all or nothing: a failed one leaves no trace."""

    def __init__(self, say: Callable[[str], None], check: Callable[[], None] = lambda: None) -> None:
        """Prepare.

        Args:
            say: shows a line to the user.
            check: called while waiting; raises to end the wait, e.g. KeyboardInterrupt.
        """
        self._say = say
        self._check = check

    def __call__(self, write: Callable[[], T]) -> T:
        """Do it, however long it takes.

        Raises:
            OSError: one that waiting does not cure.
        """
        since: float | None = None
        reminder = 0.0
        while True:
            try:
                result = write()
            except OSError as error:
                if error.errno not in _PASSING:
                    raise
                now = time.monotonic()
                since = now if since is None else since
                if now >= reminder:
                    where = f" ({error.filename})" if error.filename else ""
                    self._say(
                        f"the results folder cannot be written to: {error.strerror}{where}; trials wait and go on by "
                        "themselves once it can be"
                        + ("; if it was deleted rather than unmounted, press Ctrl-C" if _is_gone(error) else "")
                    )
                    reminder = now + _REMIND_SECONDS
                time.sleep(_AGAIN_SECONDS)
                self._check()
            else:
                if since is not None:
                    self._say(f"the results folder can be written to again, after {time.monotonic() - since:.0f} s")
                return result


def _is_gone(error: OSError) -> bool:
    return error.errno in (errno.ENOENT, errno.ESTALE, errno.ENODEV)


def once(write: Callable[[], T]) -> T:
    """Do not retry: errors are the caller's."""
    return write()
