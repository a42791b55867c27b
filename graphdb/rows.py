"""Rows of cells from the text of a table: its encoding and what separates its cells are told by its content."""

import codecs
import csv
import io
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import IO

from graphdb.errors import SourceError
from graphdb.files import READ_ERRORS, decompressed, utf_16_without_mark
from graphdb.foreign import HEAD_BYTES, is_binary, what_is
from graphdb.names import id_column
from graphdb.targets import read_number

_PROBED_BYTES = 2**16
_SEPARATORS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars"}
_ENCODINGS = {"utf-16": "UTF-16", "utf-16-le": "UTF-16", "utf-16-be": "UTF-16", "cp1252": "Windows-1252"}

_MAX_COMMENTS = 50
#: What Excel writes and reads in the first line to say what separates the cells.
_EXCELS_SEPARATOR = re.compile(r'"?sep=(.)"?')

Row = tuple[int, list[str]]


@dataclass(frozen=True, slots=True)
class TableForm:
    """How a table is written.

    Attributes:
        encoding: of the text, as Python names it.
        separator: between the cells of a row.
    """

    encoding: str
    separator: str

    def note(self) -> str:
        """What is unusual about it, as a participle; empty if nothing is."""
        parts = []
        if self.encoding in _ENCODINGS:
            parts.append(f"as {_ENCODINGS[self.encoding]}")
        if self.separator != ",":
            parts.append(f"with {_SEPARATORS[self.separator]} between its cells")
        return f"read {' '.join(parts)}" if parts else ""


def table_form(raw: IO[bytes], name: str) -> TableForm:
    """How a table is written; the stream is read to its end, so that a part of it cannot pass for the whole.

    Raises:
        SourceError: if it is no text, or cut off.
    """
    try:
        stream = decompressed(raw)
        head = stream.read(_PROBED_BYTES)
        encoding = _encoding(head, stream, name)
    except READ_ERRORS as error:
        raise SourceError(f"{name} cannot be read to its end: {error}; is the file complete?") from error
    raw.seek(0)
    text = head.decode(encoding, errors="ignore")
    return TableForm(encoding, _separator(text.removeprefix("\ufeff"), is_whole=len(head) < _PROBED_BYTES))


def table_rows(raw: IO[bytes], form: TableForm, name: str) -> Iterator[Row]:
    """Rows with their line numbers; blank lines are left out, the cells of the first row are stripped.

    Left out is also what stands before the header: comments (``# ...``) and Excel's ``sep=;``.

    Raises:
        SourceError: if it cannot be read to its end.
    """
    limit = csv.field_size_limit(sys.maxsize)  # a structure in a cell is longer than the usual limit
    try:
        text = io.TextIOWrapper(decompressed(raw), encoding=form.encoding, errors="replace", newline="")
        reader = csv.reader(text, delimiter=form.separator)
        filled = ((reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells))
        rows = _without_preamble(filled, form.separator)
        for line, cells in islice(rows, 1):
            yield line, [cell if "\n" in cell.strip() else cell.strip() for cell in cells]  # structures stay whole
        yield from rows
        text.detach()
    except (csv.Error, *READ_ERRORS) as error:
        raise SourceError(f"{name} cannot be read to its end: {error}; is the file complete?") from error
    finally:
        csv.field_size_limit(limit)


def _without_preamble(rows: Iterator[Row], separator: str) -> Iterator[Row]:
    """The rows from the header on, which may itself begin with ``#``."""
    comments: list[Row] = []
    for number, (line, cells) in enumerate(rows):
        if number == 0 and _EXCELS_SEPARATOR.fullmatch(separator.join(cells).strip(" \r\n")):
            continue
        if cells[0].lstrip().startswith("#") and len(comments) < _MAX_COMMENTS:
            comments.append((line, cells))
            continue
        if len(comments) == _MAX_COMMENTS:  # ids that begin so
            yield from comments
        elif comments and _is_header_of(comments[-1][1], cells):
            yield comments[-1]
        yield line, cells
        yield from rows
        return
    yield from comments


def _is_header_of(comment: list[str], row: list[str]) -> bool:
    """Whether a line that begins with ``#`` names the columns of the row below it, which else is the header."""
    if len(comment) != len(row) or len(row) < 2:
        return False
    has_values = any(cell.strip() and (read_number(cell) is not None or "\n" in cell.strip()) for cell in row[1:])
    return id_column(comment) is not None or has_values


def _encoding(head: bytes, rest: IO[bytes], name: str) -> str:
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    if encoding := utf_16_without_mark(head):
        return encoding
    if is_binary(head[:HEAD_BYTES]) or what_is("", head[:HEAD_BYTES]):
        what = what_is("", head[:HEAD_BYTES]) or "binary, not text: save it as CSV (UTF-8)"
        raise SourceError(f"{name} must be a CSV, but it is {what}")
    decoder = codecs.getincrementaldecoder("utf-8")()
    chunk = head
    try:
        while chunk:
            decoder.decode(chunk)
            chunk = rest.read(2**20)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        while rest.read(2**20):
            pass
        return "cp1252"
    return "utf-8-sig"


def _separator(text: str, *, is_whole: bool) -> str:
    """What separates the cells: a comma wherever that gives columns, else what gives each row as many cells."""
    lines = text.lstrip().splitlines(keepends=True)
    if lines and (told := _EXCELS_SEPARATOR.fullmatch(lines[0].strip(" \r\n"))) and told[1] in _SEPARATORS:
        return told[1]
    num_comments = next((i for i, line in enumerate(lines) if not line.startswith("#")), 0)
    text = "".join(lines[num_comments:])
    counts = {}
    for separator in _SEPARATORS:
        try:
            rows = [cells for cells in csv.reader(io.StringIO(text, newline=""), delimiter=separator) if cells]
        except csv.Error:
            continue
        widths = [len(cells) for cells in (rows if is_whole else rows[:-1] or rows)]
        counts[separator] = (widths[0] if widths else 0, len(set(widths)) == 1)
    if counts.get(",", (2, True))[0] > 1 and counts.get(",", (2, True))[1]:
        return ","
    for separator, (width, is_even) in counts.items():
        if separator != "," and width > 1 and is_even:
            return separator
    return ","
