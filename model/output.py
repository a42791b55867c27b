"""Where results go: checked before any work, replaced only when they are whole."""

import contextlib
import json
import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TextIO

from model.errors import OutputError
from model.shipped import CONFIG, WEIGHTS


def partial_path(path: Path) -> Path:
    """Where a table lies while it grows."""
    return path.with_name(path.name + ".partial")


def check_table(output: str | None, inputs: Sequence[str | Path]) -> None:
    """Refuse a place where a table must not or cannot go.

    Args:
        output: of ``-o``; None for the screen.
        inputs: files and folders that are read.

    Raises:
        OutputError: with what to do.
    """
    if output is None:
        return
    path = Path(output)
    if not output or path.is_dir():
        raise OutputError(f"-o must be a file for the table, got {output or 'nothing'!r}, a folder; name a file in it")
    if not path.parent.is_dir():
        raise OutputError(
            f"-o must lie in a folder that is there, but there is no folder {path.parent}; "
            f"mkdir -p {shlex.quote(str(path.parent))} makes it"
        )
    for source in inputs:
        if path.exists() and Path(source).exists() and path.samefile(source):
            raise OutputError(f"-o must be another file than those that are read, got {output}; choose another name")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise OutputError(f"-o must be a file that can be written, but {path} cannot; choose another place")


@contextlib.contextmanager
def open_table(output: str, rows: str = "rows") -> Iterator[TextIO]:
    """A file that takes its place at the end, and until then lies beside it.

    Whatever ends the work before, the file under the final name is as it was. After Ctrl-C the part stays beside it,
    and the message of the interrupt says so.

    Args:
        output: the final name; devices and pipes are written to as they are.
        rows: what the part holds.
    """
    path = Path(os.path.realpath(output))
    if path.exists() and not path.is_file():
        with open(path, "w", encoding="utf-8", newline="") as file:
            yield file
        return
    partial = partial_path(path)
    try:
        with open(partial, "w", encoding="utf-8", newline="") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except KeyboardInterrupt as error:
        before = f"; {output} is as it was" if path.exists() else ""
        error.args = (f"the {rows} so far are in {partial_path(Path(output))}{before}",)
        raise
    except Exception:
        partial.unlink(missing_ok=True)
        raise


def check_folder(output: Path, ours: Callable[[Path], bool], what: str) -> None:
    """Refuse a folder for results that holds other things.

    Args:
        output: of ``-o``; made later.
        ours: tells a folder of ours that may be written to again.
        what: such a folder, in words.

    Raises:
        OutputError: with what to do.
    """
    above = output.absolute()
    while not os.path.lexists(above):
        above = above.parent
    if not above.is_dir():
        raise OutputError(f"-o must be a folder, but {above} is a file; choose another")
    if not os.access(above, os.W_OK):
        raise OutputError(f"-o must be a folder that can be written to, but {above} cannot; choose another place")
    if not output.is_dir() or not any(output.iterdir()) or ours(output):
        return
    held = "a finished model" if (output / WEIGHTS).exists() else "other files"
    raise OutputError(
        f"-o must be a new or empty folder or {what}, but {output} holds {held}; choose another"
        + (", or remove it" if held == "a finished model" else "")
    )


def written_with(folder: Path, key: str) -> bool:
    """Whether a folder holds a checkpoint whose configuration has this key."""
    try:
        content = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return (folder / WEIGHTS).is_file() and isinstance(content, dict) and key in content
