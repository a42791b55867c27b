"""Targets: numbers for properties of crystals, by id, from columns of a table or from fields beside a structure."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from graphdb.errors import Reason, SkippedCrystal
from graphdb.names import clean_id
from graphdb.units import split_header

#: What stands for "unknown" in a cell, in lower case.
UNKNOWN = frozenset({"", "nan", "na", "n/a", "null", "none", "<na>", "-nan"})
_TRUTH = frozenset({"true", "false", "yes", "no"})
_MAX_NOTES_PER_COLUMN = 1000


class TargetTable:
    """Columns of numbers by material id, with notes on what could not be used."""

    def __init__(self) -> None:
        """Begin without columns."""
        self.units: dict[str, str] = {}
        self.notes: list[SkippedCrystal] = []
        self.ids: dict[str, str] = {}  # id -> where its row stands
        self._values: dict[str, dict[str, float]] = {}
        self._bad: dict[str, list[SkippedCrystal]] = {}
        self._num_bad: dict[str, int] = {}
        self._num_truths: dict[str, int] = {}
        self._example: dict[str, object] = {}
        self._dropped: dict[str, str] = {}

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
                self._add_bad(material_id, name, cell, where)
            elif not math.isnan(number):
                values[material_id] = number

    def drop(self, name: str, why: str) -> None:
        """Say of a column that is not among the rows why it is left out."""
        self._dropped.setdefault(name, why)

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


def align(values: Mapping[str, float], material_ids: Sequence[str]) -> NDArray[np.float64]:
    """(N,) the values in the order of the ids, nan where unknown."""
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
