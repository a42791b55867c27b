"""Where results go: checked before any work, replaced only when they are whole."""

import contextlib
import csv
import json
import math
import os
import shlex
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TextIO

from graphdb.filenames import name_format
from graphdb.files import UNFINISHED
from graphdb.foreign import HEAD_BYTES, what_is
from model.errors import OutputError
from model.shipped import CONFIG, NEXT_CONFIG, WEIGHTS

_ID = "material_id"


class PredictionTable:
    """Rows of a CSV of predictions: one for each crystal, which its id begins."""

    def __init__(self, file: TextIO, columns: Iterable[str] | None) -> None:
        """Write the header.

        Args:
            file: where the CSV goes.
            columns: names of those beside the id; None for rows that go on with a table.
        """
        self._writer = csv.writer(file, lineterminator="\n")
        if columns is not None:
            self._writer.writerow([_ID, *columns])

    def add(self, material_id: str, cells: Iterable[float | str | None]) -> None:
        """Write the row of a crystal: texts as they are, numbers with six digits, nothing for None."""
        row = [cell if cell is None or isinstance(cell, str) else f"{cell:.6g}" for cell in cells]
        self._writer.writerow([material_id, *row])


def known_values(targets: Iterable[float]) -> list[float | None]:
    """Cells for targets, which are NaN where they are unknown."""
    return [None if math.isnan(target) else target for target in targets]


def partial_path(path: Path) -> Path:
    """Where a table lies while it grows."""
    return path.with_name(path.name + ".partial")


def journal_path(path: Path) -> Path:
    """What a later run must know to go on with a table that lies beside its place."""
    return path.with_name(path.name + ".partial.journal")


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
    if not output.strip():
        raise OutputError(f"-o must be a file for the table, got {output!r}; leave it out for the screen")
    path = Path(output)
    if path.is_dir():
        raise OutputError(f"-o must be a file for the table, got {output!r}, a folder; name a file in it")
    folder = Path(os.path.realpath(path)).parent if path.is_symlink() else path.parent
    if not folder.is_dir():
        raise OutputError(
            f"-o must lie in a folder that is there, but there is no folder {folder}; "
            f"mkdir -p {shlex.quote(str(folder))} makes it"
        )
    _check_apart(output, inputs)
    _check_replaceable(path)
    # A file is replaced by one that grew beside it, which needs the right to write to the folder too.
    needed = [path] if path.exists() else []
    if not is_device(path):
        needed.append(folder)
    for place in needed:
        if not os.access(place, os.W_OK) or (place.is_dir() and not _takes_files(place)):
            raise OutputError(f"-o must be a file that can be written, but {place} cannot; choose another place")


def _check_replaceable(path: Path) -> None:
    """Refuse to replace what is no table but a crystal, a store, a model, an archive."""
    if not path.is_file():
        return
    with path.open("rb") as stream:
        what = what_is("", stream.read(HEAD_BYTES)).partition(":")[0]
    if name_format(path.name) is not None:
        what = what or "named as a crystal"
    elif path.name == WEIGHTS:
        what = "a model"
    if what:
        raise OutputError(f"-o must be a file for the table, but {path} is there and is {what}; choose another name")


def _check_apart(output: str, inputs: Sequence[str | Path]) -> None:
    """Refuse a table that would replace what is read."""
    path = Path(output)
    for source in inputs:
        if path.exists() and Path(source).exists() and path.samefile(source):
            raise OutputError(f"-o must be another file than those that are read, got {output}; choose another name")
        if _lies_in(path, Path(source)) and not _is_table(path):
            raise OutputError(
                f"-o must not be a file among those that are read, but {output} lies in {source} and is no table "
                "of predictions; choose another name"
            )


def _lies_in(path: Path, folder: Path) -> bool:
    return path.is_file() and folder.is_dir() and path.resolve().is_relative_to(folder.resolve())


def _is_table(path: Path) -> bool:
    """Whether a file begins as our tables do."""
    with path.open("rb") as stream:
        return stream.read(len(_ID) + 1) in (f"{_ID},".encode(), b"")


def is_device(path: Path) -> bool:
    """Whether this is there and no file that could be replaced: a device, or a pipe."""
    return path.exists() and not path.is_file()


def written_files(output: str | None) -> frozenset[str]:
    """Real paths of what a table is written to, for those who read the folder around it."""
    if output is None or is_device(Path(output)):
        return frozenset()
    path = Path(os.path.realpath(output))
    return frozenset({str(path), str(partial_path(path)), str(journal_path(path))})


@contextlib.contextmanager
def open_table(output: str, rows: str = "rows") -> Iterator[TextIO]:
    """A file that takes its place at the end, and until then lies beside it.

    Whatever ends the work before, the file under the final name is as it was. After Ctrl-C the part stays beside it,
    and the message of the interrupt says so.

    Args:
        output: the final name; devices and pipes are written to as they are.
        rows: what the part holds.
    """
    if is_device(Path(output)):  # a pipe among the open files has no real path
        with open(output, "w", encoding="utf-8", newline="") as file:
            yield file
        return
    path = Path(os.path.realpath(output))
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


def _takes_files(folder: Path) -> bool:
    """Whether a file can be made in a folder: tried, for permissions tell root nothing, nor of /proc."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def check_folder(output: Path, ours: Callable[[Path], bool], what: str) -> None:
    """Refuse a folder for results that holds other things.

    What a process of ours was killed over does not count, and is removed from a folder that may be written to.

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
    if not _takes_files(above):
        raise OutputError(f"-o must be a folder that can be written to, but {above} cannot; choose another place")
    if not output.is_dir():
        return
    unfinished = [path for path in output.iterdir() if path.name.startswith(UNFINISHED)]
    others = [path for path in output.iterdir() if path not in unfinished and path.name != NEXT_CONFIG]
    if not others or ours(output):
        for path in unfinished:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        return
    held = "a finished model" if (output / WEIGHTS).exists() else "other files"
    raise OutputError(
        f"-o must be a new or empty folder or {what}, but {output} holds {held}; choose another"
        + (", or remove it" if held == "a finished model" else "")
    )


def written_with(folder: Path, key: str) -> bool:
    """Whether a folder holds a checkpoint whose configuration has this key.

    A process that was killed between the two files leaves weights whose configuration has not got its name yet.
    """
    name = CONFIG if (folder / CONFIG).exists() else NEXT_CONFIG
    try:
        content = json.loads((folder / name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return (folder / WEIGHTS).is_file() and isinstance(content, dict) and key in content
