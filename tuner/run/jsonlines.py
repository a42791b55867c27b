"""Files of one JSON object a line that survive a process killed in the middle of a write."""

import contextlib
import errno
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from graphdb.files import write_atomically
from graphdb.records import finite_or_none


def append(path: Path, *records: dict[str, Any]) -> None:
    """Append a line for each so that neither a kill nor a power cut loses them afterwards.

    Raises:
        OSError: if not all of it could be written; then, if the disk allows, nothing of it remains, and it may be tried
            again.
    """
    content = _text(records).encode()
    with open(path, "ab", buffering=0) as file:
        size = file.tell()
        if size and _last_byte(path) != b"\n":  # of an attempt whose remains could not be removed
            cut_torn_tail(path)
            size = os.fstat(file.fileno()).st_size
        try:
            if file.write(content) != len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
            os.fsync(file.fileno())
        except OSError as error:
            with contextlib.suppress(OSError):
                file.truncate(size)
            error.filename = error.filename or str(path)
            raise


def write(path: Path, records: Iterable[dict[str, Any]]) -> None:
    """Replace all lines, atomically."""
    write_atomically(path, _text(records).encode())


def _text(records: Iterable[dict[str, Any]]) -> str:
    return "".join(
        json.dumps(finite_or_none(record), allow_nan=False, separators=(",", ":")) + "\n" for record in records
    )


def _last_byte(path: Path) -> bytes:
    with open(path, "rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1)


def lines(path: Path) -> Iterator[dict[str, Any]]:
    """All complete lines, one after the other; a torn last line is as if it had never been written.

    Raises:
        ValueError: if a line other than the last is damaged.
    """
    if not path.exists():
        return
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return
            try:
                record = json.loads(line)
            except ValueError as error:
                raise ValueError(
                    f"line {number} of {path} must be a JSON object, got {line[:80].rstrip()!r}; restore the file"
                ) from error
            yield record


def read(path: Path) -> list[dict[str, Any]]:
    """As `lines`, all at once."""
    return list(lines(path))


def cut_torn_tail(path: Path) -> None:
    """Remove a last line that lacks its newline, so that the next line does not merge with it."""
    if not path.exists():
        return
    content = path.read_bytes()
    if content and not content.endswith(b"\n"):
        with open(path, "r+b") as file:
            file.truncate(content.rfind(b"\n") + 1)


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file atomically: a reader sees the old or the new content, never half, also after a power cut."""
    write_atomically(path, (json.dumps(finite_or_none(content), indent=1, allow_nan=False) + "\n").encode())
