"""Temporary folders that name their process: what a killed one leaves behind is removed by the next."""

import os
import shutil
import tempfile
from pathlib import Path

from tuner.errors import SearchError

MEMORY = Path("/dev/shm")
"""Where Linux keeps files in memory."""
_SHORT = Path("/tmp")
"""Where folders go whose path would be too long; the temporary folder of macOS is, for one."""


def temporary_folder(kind: str, *, longest: int | None = None) -> str:
    """Make one that only this user may enter.

    Args:
        kind: part of its name.
        longest: how many bytes its path may have.

    Raises:
        SearchError: if none can be made.
    """
    prefix = prefix_of(kind)
    try:
        parent = Path(tempfile.gettempdir())
        if longest is not None and len(os.fsencode(parent / f"{prefix}xxxxxxxx")) > longest:
            parent = _SHORT
        return tempfile.mkdtemp(prefix=prefix, dir=parent)
    except OSError as error:
        limit = f" of at most {longest - len(prefix) - 9} letters" if longest is not None else ""
        raise SearchError(
            f"a folder for temporary files must be writable, but {error.filename or 'none of the usual ones'} is not: "
            f"{error.strerror}; set TMPDIR to a folder{limit} that is"
        ) from error


def prefix_of(kind: str) -> str:
    """How the name of such a folder begins."""
    return f"crystune-{kind}-{os.getpid()}-"


def remove_stale_folders() -> None:
    """Remove those whose process is gone."""
    try:
        parents = {Path(tempfile.gettempdir()), _SHORT, MEMORY}
    except OSError:  # no temporary folder at all, which `temporary_folder` says
        return
    for folder in (folder for parent in parents for folder in parent.glob("crystune-*-*-*")):
        owner = folder.name.split("-")[2]
        if owner.isdigit() and not _is_alive(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True
