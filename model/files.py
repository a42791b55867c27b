"""Files that are whole or absent, whatever happens while they are written, and what JSON can hold."""

import math
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

UNFINISHED = ".crystune-"
"""How the names of files and folders begin that have not got their own yet."""


def finite_or_none(value: Any) -> Any:
    """A value for JSON: None in the place of every NaN and inf in it, lists for tuples."""
    if isinstance(value, Mapping):
        return {key: finite_or_none(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [finite_or_none(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_atomically(path: Path, data: bytes) -> None:
    """Replace `path` by a file with this content; readers see the old one or the new one, a power cut included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f"{UNFINISHED}{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
