"""A run has one writer: who holds it, and whether it could be held here."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from graphdb.files import hold, is_held
from tuner.errors import SearchError
from tuner.run.run_folder import RunFolder


@contextmanager
def only_writer(run: RunFolder) -> Iterator[None]:
    """Hold the run for this process; the lock goes with the process, however it ends.

    Raises:
        SearchError: if another process holds it.
    """
    try:
        run.path.mkdir(parents=True, exist_ok=True)
        lock = hold(run.lock_file)
    except OSError as error:
        raise _not_writable(run, error) from error
    if lock is None:
        raise _held(run)
    with lock:
        with suppress(OSError):  # a full disk; the lock itself needs no room
            os.truncate(lock.fileno(), 0)
            os.write(lock.fileno(), str(os.getpid()).encode())
        try:
            yield
        finally:
            if not run.exists():  # never begun: the name stays free
                run.lock_file.unlink(missing_ok=True)
                with suppress(OSError):  # files of somebody else
                    run.path.rmdir()


def check_free(run: RunFolder) -> None:
    """Refuse to go on with a run that this process could not hold, before anything is said or started.

    Raises:
        SearchError: if another process holds it, or it cannot be written to.
    """
    if is_held(run.lock_file):
        raise _held(run)
    for place in (run.path, run.run_json):
        if place.exists() and not os.access(place, os.W_OK):
            raise _not_writable(run, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))


def check_place(run: RunFolder) -> None:
    """Refuse a place where no folder can be made, as far as it can be told without making one.

    Raises:
        SearchError: naming what is in the way.
    """
    above = next((path for path in (run.path, *run.path.parents) if path.exists()), Path())
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        raise _cannot_be_made(run, f"{above} {'cannot be written to' if above.is_dir() else 'is a file'}")


def _held(run: RunFolder) -> SearchError:
    holder = ""
    with suppress(OSError):
        holder = run.lock_file.read_text().strip()
    return SearchError(
        f"a run must have one writer, but process {holder or 'unknown'} is searching in {run.path}; "
        "wait for it, stop it with Ctrl-C, or choose another --name"
    )


def _not_writable(run: RunFolder, error: OSError) -> SearchError:
    reason = (error.strerror or str(error)).lower()
    if not run.exists():
        return _cannot_be_made(run, reason)
    return SearchError(
        f"a run must be writable to go on with it, but {run.path} is not: {reason}; change its permissions"
    )


def _cannot_be_made(run: RunFolder, reason: str) -> SearchError:
    return SearchError(
        f"--runs must be a folder that can be written to, but {run.path} cannot be made: {reason}; "
        "choose another with --runs"
    )
