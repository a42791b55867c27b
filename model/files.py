"""Files that are whole or absent, whatever happens while they are written."""

import os
import tempfile
from pathlib import Path

UNFINISHED = ".crystune-"
"""How the names of files and folders begin that have not got their own yet."""


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
