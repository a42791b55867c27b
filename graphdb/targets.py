"""Targets: numbers for properties of crystals, by id, from columns of a table or from fields beside a structure."""

import math
import re
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from graphdb.errors import Reason, SkippedCrystal, SourceError
from graphdb.names import clean_id
from graphdb.shapes import Float
from graphdb.units import split_header

#: What stands for "unknown" in a cell, in lower case.
UNKNOWN = frozenset({"", "nan", "na", "n/a", "null", "none", "<na>", "-nan"})
_TRUTH = frozenset({"true", "false", "yes", "no"})
_MAX_NOTES_PER_COLUMN = 1000
#: The signs that word processors and journals print for a minus: hyphen, dashes, minus, full width.
_MINUS = re.compile(r"(?:^|(?<=[eEdD]))[‐‑‒–—−﹣－]")
#: A number as Fortran prints it, or with its standard uncertainty in the last digits, as in crystallography.
_OTHER_NUMBER = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:\(\d+\))?(?:[eEdD]([+-]?\d+))?")


class TargetTable:
    """Columns of numbers by material id, with notes on what could not be used."""

    def __init__(self) -> None:
        """Begin without columns."""
        self.units: dict[str, str] = {}
        self.notes: list[SkippedCrystal] = []
        self.ids: dict[str, str] = {}  # id -> where its row stands
        #: what was read in another way than usual, as participles
        self.remarks: list[str] = []
        self._values: dict[str, dict[str, float]] = {}
        self._later: dict[tuple[str, str], str] = {}  # column and id -> where a later row filled it in
        self._contents: dict[str, int] = {}
        self._bad: dict[str, list[SkippedCrystal]] = {}
        self._num_bad: dict[str, int] = {}
        self._num_truths: dict[str, int] = {}
        self._example: dict[str, object] = {}
        self._dropped: dict[str, str] = {}

    def add(self, material_id: str, row: Mapping[str, object], where: str, *, content: int = 0) -> None:
        """Take in what is known of one crystal; a later row of its id fills in what the rows before left unknown.

        Args:
            material_id: of the crystal.
            row: header of the column to its cell: text, a number or None.
            where: file and line.
            content: hash of the structure beside the row; a row of another structure fills nothing in.
        """
        material_id = clean_id(material_id)
        is_first = material_id not in self.ids
        if is_first:
            self.ids[material_id] = where
            if content:
                self._contents[material_id] = content
        may_fill = is_first or self._contents.get(material_id, 0) == content
        is_noted = False
        for header, cell in row.items():
            name, unit = split_header(header)
            values = self._values.setdefault(name, {})
            self.units.setdefault(name, unit)
            number = read_number(cell)
            before = values.get(material_id)
            if number is None:
                if before is None and may_fill:
                    self._add_bad(material_id, name, cell, where)
            elif math.isnan(number) or number == before:
                continue
            elif before is None and may_fill:
                values[material_id] = number
                if not is_first:
                    self._later[name, material_id] = where
            elif not is_noted:
                is_noted = True
                first = "unknown" if before is None else f"{before:g}"
                place = self.place(name, material_id)
                message = f"{name} is {first} in {place} and {number:g} here; the first row counts"
                self.notes.append(SkippedCrystal(material_id, Reason.DUPLICATE_TARGET, message, where))

    def place(self, name: str, material_id: str) -> str:
        """The row from which a crystal's value of a column comes."""
        return self._later.get((name, material_id), self.ids[material_id])

    def drop(self, name: str, why: str) -> None:
        """Say of a column that is not among the rows why it is left out."""
        self._dropped.setdefault(name, why)

    def names(self) -> list[str]:
        """The columns, whatever they hold."""
        return [*self._values, *self._dropped]

    def columns(self) -> dict[str, dict[str, float]]:
        """The known values by column and id, of the columns of numbers."""
        return {name: values for name, values in self._values.items() if not self._why_left_out(name)}

    def left_out(self) -> dict[str, str]:
        """The columns that are no targets, each with what it holds instead of numbers."""
        found = {name: self._why_left_out(name) for name in self._values}
        return self._dropped | {name: why for name, why in found.items() if why}

    def problems(self) -> list[SkippedCrystal]:
        """Notes on cells and rows that could not be used."""
        found = list(self.notes)
        for name, bad in self._bad.items():
            if self._why_left_out(name):
                continue
            found.extend(bad)
            if self._num_bad[name] > len(bad):
                message = f"{name}: {self._num_bad[name] - len(bad):,} more cells that are no finite numbers"
                found.append(SkippedCrystal("", Reason.BAD_TARGET, message))
        return found

    def _add_bad(self, material_id: str, name: str, cell: object, where: str) -> None:
        self._num_bad[name] = self._num_bad.get(name, 0) + 1
        self._num_truths[name] = self._num_truths.get(name, 0) + (str(cell).strip().lower() in _TRUTH)
        self._example.setdefault(name, cell)
        notes = self._bad.setdefault(name, [])
        if len(notes) < _MAX_NOTES_PER_COLUMN:
            message = f"{name} must be a finite number, got {_short(cell)}; taken as unknown"
            notes.append(SkippedCrystal(material_id, Reason.BAD_TARGET, message, where))

    def _why_left_out(self, name: str) -> str:
        """What a column holds that is no column of numbers; empty if it is one."""
        num_bad = self._num_bad.get(name, 0)
        if num_bad <= len(self._values[name]):
            return "" if self._values[name] else "no value in it"
        if self._num_truths[name] == num_bad and not self._values[name]:
            return "true/false, no numbers"
        example = self._example[name]
        if isinstance(example, dict | list):
            return "objects, no numbers"
        return f"text, no numbers, such as {_short(example)}{_hint(example)}"


class MergedTargets:
    """The columns of several tables; where two know a value of one crystal, that of the later table counts."""

    def __init__(self, material_ids: Sequence[str]) -> None:
        """Begin without columns.

        Args:
            material_ids: of the crystals that count.
        """
        #: the known values by column and id
        self.columns: dict[str, dict[str, float]] = {}
        self.units: dict[str, str] = {}
        #: columns that are no targets, each with what it holds instead
        self.left_out: dict[str, str] = {}
        self.notes: list[SkippedCrystal] = []
        self._material_ids = frozenset(material_ids)
        self._origins: dict[str, list[tuple[str, TargetTable]]] = {}

    def add(self, table: TargetTable, name: str) -> list[str]:
        """Take in a table.

        Args:
            table: to be taken in.
            name: of its file, for messages.

        Returns:
            The columns of which a crystal has a value.

        Raises:
            SourceError: if a column of the same name has another unit.
        """
        self.left_out |= table.left_out()
        found = []
        for column, values in table.columns().items():
            known = {material_id: value for material_id, value in values.items() if material_id in self._material_ids}
            if not known:
                self.left_out[column] = "no value for a crystal that can be used"
                continue
            self._check_unit(column, table.units[column], name)
            self._tell_conflicts(column, known, table)
            self.columns.setdefault(column, {}).update(known)
            self._origins.setdefault(column, []).append((name, table))
            found.append(column)
        return found

    def _check_unit(self, column: str, unit: str, name: str) -> None:
        before = self.units.get(column, "")
        if before and unit and before != unit:
            first = next(file for file, table in self._origins[column] if table.units[column])
            raise SourceError(
                f"columns of one name must have one unit, but {column} is in {before} in {first} and in {unit} in "
                f"{name}; convert one of them, or rename it"
            )
        self.units[column] = before or unit

    def _tell_conflicts(self, column: str, known: Mapping[str, float], table: TargetTable) -> None:
        merged = self.columns.get(column, {})
        differing = [
            material_id for material_id in known if merged.get(material_id, known[material_id]) != known[material_id]
        ]
        for material_id in differing[:_MAX_NOTES_PER_COLUMN]:
            place = next(
                origin.place(column, material_id)
                for _, origin in reversed(self._origins[column])
                if material_id in origin.columns()[column]
            )
            message = (
                f"{column} is {merged[material_id]:g} in {place} and {known[material_id]:g} here; the later file counts"
            )
            where = table.place(column, material_id)
            self.notes.append(SkippedCrystal(material_id, Reason.DUPLICATE_TARGET, message, where))
        if more := len(differing[_MAX_NOTES_PER_COLUMN:]):
            message = f"{column}: {more:,} more values that differ from those of an earlier file; the later file counts"
            self.notes.append(SkippedCrystal("", Reason.DUPLICATE_TARGET, message))


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
        cell = _MINUS.sub("-", cell.strip())
        if ")" in cell or "d" in cell.lower():
            match = _OTHER_NUMBER.fullmatch(cell)
            cell = f"{match[1]}e{match[2] or 0}" if match else cell
    try:
        number = float(cell)
    except (ValueError, OverflowError):
        return None
    return None if math.isinf(number) else number


def align(values: Mapping[str, float], material_ids: Sequence[str]) -> Float[NDArray[np.float64], " crystals"]:
    """The values in the order of the ids, nan where unknown."""
    return np.array([values.get(material_id, np.nan) for material_id in material_ids], dtype=np.float64)


def _short(cell: object) -> str:
    text = " ".join(str(cell).split())
    return repr(text if len(text) <= 60 else text[:59] + "…")


def _hint(cell: object) -> str:
    """What to do about a number that is written in another way."""
    text = str(cell).strip()
    if read_number(text.replace(",", ".", 1)) is not None and "," in text:
        return " (write a decimal point)"
    return ""
