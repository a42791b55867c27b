"""Tables that grow a portion at a time; in a file, one is gone on with after whatever ended its process.

Beside ``keep.csv.partial``, ``keep.csv.partial.journal`` has a line of JSON that says what the table is made of, then
one for each portion: where it ends, its checksum, and what a later run must know so as not to make it again.
"""

import contextlib
import csv
import functools
import io
import itertools
import json
import os
import shlex
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, TextIO

from graphdb.command import count
from graphdb.errors import Reason, SkippedCrystal
from graphdb.files import hold
from model.errors import OutputError
from model.output import PredictionTable, journal_path, partial_path

Texts = Sequence[tuple[bytes, SkippedCrystal | None]]
"""Digests of texts, and why each cannot be used."""

_PORTION = {"size", "rows", "crc", "tally"}
_DIGEST_BYTES = 8
"""Of 16: enough to tell that a text has changed."""


class StreamTable:
    """A table on the screen, a device or a pipe: no run goes on with it. A context, which tells how far it came."""

    tally: Sequence[int] = ()
    remark = ""

    def __init__(self, file: TextIO, columns: Sequence[str]) -> None:
        """Write nothing yet.

        Args:
            file: where the table goes.
            columns: names of those beside the id.
        """
        self._file = file
        self._columns: Sequence[str] | None = columns
        self._is_torn = False
        self.num_rows = 0
        """Rows that were written whole."""
        self.material_ids: Iterator[str] = iter(())

    def texts(self, group: int) -> Iterator[tuple[bytes, SkippedCrystal | None]]:
        """None: see `FileTable`."""
        return iter(())

    def start_anew(self, changed: str) -> None:
        """Nothing: see `FileTable`."""

    def add(self, text: str, num_rows: int, tally: Sequence[int], group: int, texts: Texts) -> None:
        """Write a portion; see `FileTable`."""
        self._is_torn = True
        if self._columns is not None:
            PredictionTable(self._file, self._columns)
            self._columns = None
        self._file.write(text)
        self._file.flush()
        self._is_torn = False
        self.num_rows += num_rows

    def discard(self) -> None:
        """Say nothing of the rows: they are not worth it."""
        self.num_rows = 0

    def __enter__(self) -> Self:
        """Return the table itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Add to an error or interrupt what was written before."""
        if error is None or not (self.num_rows or self._is_torn):
            return
        written = f"{count(self.num_rows, 'row')}{' and a part of the next' if self._is_torn else ''}"
        _tell(error, f"the output ends after {written}; with -o FILE the same command would go on from there")


class FileTable:
    """A table that takes its place when it is whole; a context, in which no other process writes it.

    Whatever ends the work before, the file under the final name is as it was.
    """

    def __init__(self, output: str, columns: Sequence[str], origin: Mapping[str, Any]) -> None:
        """Touch nothing yet.

        Args:
            output: of ``-o``, a file to be or to be replaced.
            columns: names of those beside the id.
            origin: JSON-able values that decide all rows, by what they are of, in a word ("model", "crystals").
        """
        self._output = output
        self._path = Path(os.path.realpath(output))
        self._partial, self._journal = partial_path(self._path), journal_path(self._path)
        header = io.StringIO()
        PredictionTable(header, columns)
        self._header = header.getvalue().encode()
        self._origin: dict[str, Any] = json.loads(json.dumps(dict(origin)))
        self._files: tuple[IO[bytes], IO[bytes]] | None = None
        self._changed: Sequence[str] = ()
        self._forget()

    def _forget(self) -> None:
        self._num_portions = self._size = self._crc = self._journal_size = 0
        self.num_rows = 0
        """Rows that are there."""
        self.tally: Sequence[int] = ()
        """What `add` was told last; empty before the first portion."""

    def __enter__(self) -> Self:
        """Find out what is there.

        Raises:
            OutputError: if another process writes it.
        """
        try:
            self._lock = hold(self._partial)
        except OSError:  # a file system without locks
            self._lock = self._partial.open("a+")
        if self._lock is None:
            raise OutputError(
                f"-o must be a file that no other process writes, but one is writing {self._output} now; wait for it, "
                "or choose another name"
            )
        with contextlib.suppress(OSError):
            self._find()
        return self

    @property
    def remark(self) -> str:
        """What becomes of the part that an earlier run left, in a line; empty if there is none."""
        part = partial_path(Path(self._output))
        if self._changed:
            return (
                f"{part} is of another {' and '.join(self._changed)}: starting anew, without the rows that an "
                f"interrupted run left there; to keep such rows, predict into another file than -o "
                f"{shlex.quote(self._output)}"
            )
        return f"going on from {part}, which has {count(self.num_rows, 'row')}" if self.num_rows else ""

    def _find(self) -> None:
        """Take over the portions that are there whole."""
        with self._journal.open("rb") as journal, self._partial.open("rb") as table:
            first = _parsed(journal.readline())
            if self._size_of(table) == 0 or first is None:
                return
            changed = [name for name in self._origin if first.get(name) != self._origin[name]]
            if changed:
                self._changed = changed
                return
            self._size, self._crc = len(self._header), 0
            if table.read(self._size) != self._header:
                self._forget()
                return
            self._journal_size = journal.tell()
            for raw in journal:
                line = _parsed(raw)
                if line is None or not self._take(line, table):
                    return
                self._journal_size += len(raw)

    @staticmethod
    def _size_of(file: IO[bytes]) -> int:
        return os.fstat(file.fileno()).st_size

    def _take(self, line: Mapping[str, Any], table: IO[bytes]) -> bool:
        """Whether a portion is as it was written."""
        if not line.keys() >= _PORTION:
            return False
        text = table.read(line["size"])
        crc = zlib.crc32(text, self._crc)
        if len(text) != line["size"] or crc != line["crc"]:
            return False
        self._num_portions += 1
        self._size += len(text)
        self._crc = crc
        self.num_rows += line["rows"]
        self.tally = line["tally"]
        return True

    @functools.cached_property
    def material_ids(self) -> Iterator[str]:
        """The first cells of the rows that are there."""
        return self._first_cells()

    def _first_cells(self) -> Iterator[str]:
        with self._partial.open(encoding="utf-8", newline="") as file:
            for row in itertools.islice(csv.reader(file), 1, 1 + self.num_rows):
                yield row[0]

    def texts(self, group: int) -> Iterator[tuple[bytes, SkippedCrystal | None]]:
        """What `add` was told of the texts of a group."""
        if self._num_portions == 0:
            return
        with self._journal.open("rb") as journal:
            for raw in itertools.islice(journal, 1, 1 + self._num_portions):
                line = json.loads(raw)
                if line["group"] != group:
                    continue
                refused = {number: entry for number, *entry in line["refused"]}
                digests = bytes.fromhex(line["texts"])
                for number in range(len(digests) // _DIGEST_BYTES):
                    refusal = None
                    if number in refused:
                        material_id, reason, message, where = refused[number]
                        refusal = SkippedCrystal(material_id, Reason(reason), message, where)
                    yield digests[number * _DIGEST_BYTES :][:_DIGEST_BYTES], refusal

    def start_anew(self, changed: str) -> None:
        """Do without what is there, for what has changed since."""
        self._forget()
        self._changed = [changed]

    def add(self, text: str, num_rows: int, tally: Sequence[int], group: int, texts: Texts) -> None:
        """Write a portion.

        Args:
            text: its rows.
            num_rows: how many.
            tally: numbers that a later run needs, counted up to here.
            group: position of the first of the files that its rows come from.
            texts: that were read for it.
        """
        table, journal = self._files or self._open()
        content = text.encode()
        self._crc = zlib.crc32(content, self._crc)
        refused = [(i, s.material_id, s.reason, s.message, s.where) for i, (_, s) in enumerate(texts) if s is not None]
        line = {
            "size": len(content),
            "rows": num_rows,
            "crc": self._crc,
            "tally": list(tally),
            "group": group,
            "texts": b"".join(digest[:_DIGEST_BYTES] for digest, _ in texts).hex(),
            "refused": refused,
        }
        table.write(content)
        table.flush()  # before the journal tells of it
        journal.write(json.dumps(line).encode() + b"\n")
        journal.flush()
        self.num_rows += num_rows

    def discard(self) -> None:
        """Keep nothing of what this run wrote."""
        if self._files is None and self._partial.exists() and self._partial.stat().st_size:  # of an earlier run
            return
        self._close()
        self._partial.unlink(missing_ok=True)
        self._journal.unlink(missing_ok=True)
        self._forget()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Put the table in its place, or keep what there is of it for the next run."""
        try:
            if error is None:
                table, _ = self._files or self._open()
                table.flush()
                os.fsync(table.fileno())
                self._close()
                os.replace(self._partial, self._path)
                self._journal.unlink(missing_ok=True)
            elif self.num_rows == 0:
                self.discard()
            else:
                part = partial_path(Path(self._output))
                before = f"; {self._output} is as it was" if self._path.exists() else ""
                _tell(error, f"the predictions so far are in {part}, the same command goes on from there{before}")
        finally:
            self._close()
            if self._lock is not None:
                self._lock.close()

    def _open(self) -> tuple[IO[bytes], IO[bytes]]:
        """Both files, cut to the portions that are whole."""
        if self._num_portions == 0:
            self._partial.write_bytes(b"")  # before a journal tells that it is of something else
            self._journal.write_bytes(json.dumps(self._origin).encode() + b"\n")
            self._partial.write_bytes(self._header)
        else:
            os.truncate(self._partial, self._size)
            os.truncate(self._journal, self._journal_size)
        self._files = self._partial.open("ab"), self._journal.open("ab")
        return self._files

    def _close(self) -> None:
        for file in self._files or ():
            with contextlib.suppress(OSError):  # of a full disk; what was lost is not in the journal
                file.close()
        self._files = None


def _tell(error: BaseException, what: str) -> None:
    """Add a line for the person who reads about the error."""
    if isinstance(error, KeyboardInterrupt):
        error.args = (what,)
    else:
        error.add_note(what)


def _parsed(raw: bytes) -> dict[str, Any] | None:
    """A line of the journal; None for one that was torn."""
    try:
        line = json.loads(raw) if raw.endswith(b"\n") else None
    except ValueError:
        return None
    return line if isinstance(line, dict) else None
