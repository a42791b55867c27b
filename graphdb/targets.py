"""Targets: numbers for properties of crystals, by id, from CSV columns or from fields beside a structure."""

import csv
import gzip
import io
import math
import sys
import unicodedata
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from graphdb.errors import Reason, SkippedCrystal, SourceError
from graphdb.units import split_header

#: What stands for "unknown" in a cell, in lower case.
UNKNOWN = frozenset({"", "nan", "na", "n/a", "null", "none"})
ID_COLUMN = "material_id"
_MAX_NOTES_PER_COLUMN = 1000


class TargetTable:
    """Columns of numbers by material id, with notes on what could not be used."""

    def __init__(self, *, keep_text_notes: bool = True) -> None:
        """Begin without columns.

        Args:
            keep_text_notes: note each column that holds text instead of numbers; else such columns just are no targets.
        """
        self.units: dict[str, str] = {}
        self._values: dict[str, dict[str, float]] = {}
        self._bad: dict[str, list[SkippedCrystal]] = {}
        self._num_bad: dict[str, int] = {}
        self._keep_text_notes = keep_text_notes
        self.notes: list[SkippedCrystal] = []
        self.ids: dict[str, str] = {}  # id -> where its row stands

    def add(self, material_id: str, row: Mapping[str, object], where: str) -> None:
        """Take in what is known of one crystal.

        Args:
            material_id: of the crystal.
            row: header of the column to its cell: text, a number or None.
            where: file and line.
        """
        material_id = clean_id(material_id)
        if material_id in self.ids:
            self._check_same(material_id, row, where)
            return
        self.ids[material_id] = where
        for header, cell in row.items():
            name, unit = split_header(header)
            values = self._values.setdefault(name, {})
            self.units.setdefault(name, unit)
            number = read_number(cell)
            if number is None:
                self._num_bad[name] = self._num_bad.get(name, 0) + 1
                notes = self._bad.setdefault(name, [])
                if len(notes) < _MAX_NOTES_PER_COLUMN:
                    text = " ".join(str(cell).split())[:60]
                    message = f"{name} must be a finite number, got {text!r}; taken as unknown"
                    notes.append(SkippedCrystal(material_id, Reason.BAD_TARGET, message, where))
            elif not math.isnan(number):
                values[material_id] = number

    def columns(self) -> dict[str, dict[str, float]]:
        """The known values by column and id; columns of text are left out."""
        return {name: values for name, values in self._values.items() if not self._is_text(name)}

    def problems(self) -> list[SkippedCrystal]:
        """Notes on cells, rows and columns that could not be used."""
        found = list(self.notes)
        for name, bad in self._bad.items():
            if not self._is_text(name):
                found.extend(bad)
                if self._num_bad[name] > len(bad):
                    message = f"{name}: {self._num_bad[name] - len(bad):,} more cells that are no finite numbers"
                    found.append(SkippedCrystal("", Reason.BAD_TARGET, message))
            elif self._keep_text_notes:
                message = f"column {name!r} holds text, not numbers (first: {bad[0].message}); left out"
                found.append(SkippedCrystal("", Reason.TEXT_COLUMN, message, bad[0].where))
        return found

    def _is_text(self, name: str) -> bool:
        return self._num_bad.get(name, 0) > len(self._values[name])

    def _check_same(self, material_id: str, row: Mapping[str, object], where: str) -> None:
        for header, cell in row.items():
            name, _ = split_header(header)
            number = read_number(cell)
            before = self._values.get(name, {}).get(material_id)
            if number is not None and not math.isnan(number) and number != before:
                first = "unknown" if before is None else f"{before:g}"
                message = f"{name} is {first} in {self.ids[material_id]} and {number:g} here; the first row counts"
                self.notes.append(SkippedCrystal(material_id, Reason.DUPLICATE_TARGET, message, where))
                return


def read_number(cell: object) -> float | None:
    """A cell as a number: nan for unknown, None if it is neither a finite number nor unknown."""
    if cell is None:
        return math.nan
    if isinstance(cell, bool) or not isinstance(cell, str | int | float):
        return None
    if isinstance(cell, str):
        if cell.strip().lower() in UNKNOWN:
            return math.nan
        if "_" in cell:  # float() takes 1_000
            return None
    try:
        number = float(cell)
    except (ValueError, OverflowError):
        return None
    return None if math.isinf(number) else number


def clean_id(material_id: str) -> str:
    """An id without blanks around it, in composed Unicode (file names come decomposed from some systems)."""
    return unicodedata.normalize("NFC", material_id.strip())


def read_targets(path: Path, table: TargetTable) -> None:
    """Add the targets of a CSV (or .csv.gz) with a header.

    The id column is ``material_id``, or the first one. Every other column is a target.

    Raises:
        SourceError: if the file as a whole cannot be read, or two columns have the same name.
    """
    with open_text(path) as stream:
        rows = csv_rows(stream, path.name)
        header = next(rows, (0, []))[1]
        id_index = check_header(header, path.name)
        names = [name if i != id_index else "" for i, name in enumerate(header)]
        if not any(names):
            hint = "; are its cells separated by commas?" if len(header) == 1 and ";" in header[0] else ""
            raise SourceError(f"{path} must have an id column and at least one target column, got {header}{hint}")
        add_rows(rows, names, id_index, table, path.name)


def add_rows(
    rows: Iterator[tuple[int, list[str]]], names: Sequence[str], id_index: int, table: TargetTable, where: str
) -> None:
    """Add rows of cells; columns with an empty name are left out, and told of if they hold anything."""
    unnamed_told = False
    for line, cells in rows:
        place = f"{where}, line {line}"
        material_id = cells[id_index] if id_index < len(cells) else ""
        if not material_id.strip():
            table.notes.append(SkippedCrystal("", Reason.BAD_TARGET_ROW, "the row has no id", place))
            continue
        if len(cells) != len(names):
            message = f"the row must have {len(names)} cells, got {len(cells)}"
            table.notes.append(SkippedCrystal(clean_id(material_id), Reason.BAD_TARGET_ROW, message, place))
            continue
        extra = [i for i, name in enumerate(names) if not name and i not in (0, id_index) and cells[i].strip()]
        if extra and not unnamed_told:
            unnamed_told = True
            message = f"column {extra[0] + 1} has no name in the header; left out"
            table.notes.append(SkippedCrystal("", Reason.TEXT_COLUMN, message, place))
        table.add(material_id, {name: cell for name, cell in zip(names, cells, strict=True) if name}, place)


def read_id_prop(text: str, table: TargetTable, names: Sequence[str] | None) -> None:
    """Add the targets of CGCNN's ``id_prop.csv``: no header, the id first, then one column (MT-CGCNN: more).

    Args:
        text: of the file.
        table: to add to.
        names: of the columns; else ``target``, or ``target_1``, ``target_2``, ... A header, if there is one, is taken.

    Raises:
        SourceError: if the number of names is not the number of columns.
    """
    rows = csv_rows(io.StringIO(text.removeprefix("\ufeff")), "id_prop.csv")
    listed = list(rows)
    if not listed:
        return
    width = max(len(cells) for _, cells in listed)
    first = listed[0][1]
    if len(first) > 1 and all(read_number(cell) is None for cell in first[1:]):
        names = names or [cell.strip() for cell in first[1:]]
        width = len(first)
        listed = listed[1:]
    if names is None:
        names = ["target"] if width == 2 else [f"target_{i}" for i in range(1, width)]
    if len(names) != width - 1:
        raise SourceError(f"id_prop.csv has {width - 1} target columns, got {len(names)} names: {', '.join(names)}")
    add_rows(iter(listed), ["", *names], 0, table, "id_prop.csv")


def check_header(header: Sequence[str], where: str) -> int:
    """Position of the id column.

    Raises:
        SourceError: if there is no header, or a name appears twice.
    """
    if not header:
        raise SourceError(f"{where} must begin with a header, but it is empty")
    named = [split_header(name)[0] for name in header if name]
    twice = {name for name in named if named.count(name) > 1}
    if twice:
        raise SourceError(
            f"columns must have distinct names, got {sorted(twice)} more than once ({where}); rename them"
        )
    return list(header).index(ID_COLUMN) if ID_COLUMN in header else 0


def csv_rows(stream: TextIO, where: str) -> Iterator[tuple[int, list[str]]]:
    """Rows of a CSV with their line numbers; blank lines are left out, the cells of the first row are stripped.

    Raises:
        SourceError: if it cannot be read to its end.
    """
    limit = csv.field_size_limit(sys.maxsize)  # a structure in a cell is longer than the usual limit
    try:
        reader = csv.reader(stream)
        is_first = True
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield reader.line_num, [cell.strip() for cell in cells] if is_first else cells
                is_first = False
    except (csv.Error, EOFError, OSError, zlib.error) as error:
        raise SourceError(f"{where} cannot be read to its end: {error}; is the file complete?") from error
    finally:
        csv.field_size_limit(limit)


@contextmanager
def open_text(path: Path) -> Iterator[TextIO]:
    """A text file, or a gzipped one (told by its first bytes).

    Raises:
        SourceError: if there is no such file, or it cannot be opened.
    """
    try:
        with path.open("rb") as raw:
            zipped = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            binary = gzip.open(raw) if zipped else raw
            with io.TextIOWrapper(binary, encoding="utf-8-sig", errors="replace", newline="") as stream:
                yield stream
    except OSError as error:
        raise SourceError(f"cannot read {path}: {error.strerror or error}") from error


def align(values: Mapping[str, float], material_ids: Sequence[str]) -> NDArray[np.float64]:
    """(N,) the values in the order of the ids, nan where unknown."""
    return np.array([values.get(material_id, np.nan) for material_id in material_ids], dtype=np.float64)
