"""Files of targets: read before the crystals are known, matched with them afterwards."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from graphdb.command import count
from graphdb.errors import Reason, SkippedCrystal, SourceError
from graphdb.matching import CrystalIds, shown, what_would_match
from graphdb.names import ID_COLUMN, clean_id, id_column, is_row_index
from graphdb.rows import Row, table_form, table_rows
from graphdb.targets import TargetTable, read_number
from graphdb.units import split_header

_PROBED_ROWS = 50
_MAX_ROW_NOTES = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Matching:
    """How the rows of a file of targets found their crystals.

    Attributes:
        name: of the file.
        num_rows: rows with an id.
        num_crystals: crystals that have a row.
        unmatched: ids of the rows that belong to no crystal of the source.
        remarks: what was read in another way than usual, as participles.
    """

    name: str
    num_rows: int
    num_crystals: int
    unmatched: tuple[str, ...]
    remarks: tuple[str, ...]

    @classmethod
    def of_source(cls, name: str, remarks: Sequence[str]) -> "Matching":
        """What is to be said of a source that brings its targets itself."""
        return cls(name=name, num_rows=0, num_crystals=0, unmatched=(), remarks=tuple(remarks))


class TargetFile:
    """A CSV (or .csv.gz) of targets, or CGCNN's ``id_prop.csv``, which has no header."""

    def __init__(self, raw: IO[bytes], name: str, *, names: Sequence[str] | None = None) -> None:
        """Read the file.

        Args:
            raw: its bytes, from the beginning.
            name: of the file, for messages.
            names: of its columns but the first one, where it has no header.

        Raises:
            SourceError: if it cannot be read, is no table, or two columns have the same name.
        """
        self.name = name
        self.names_used = False
        form = table_form(raw, name)
        self._remark = form.note()
        self._rows = list(table_rows(raw, form, name))
        self._given_names = names
        if not self._rows:
            raise SourceError(f"{name} must begin with a header, but it is empty")
        self._header = self._find_header()
        if self._header is not None:
            check_header(self._header, name)
        else:
            self._names()
        if self._width() < 2:
            raise SourceError(
                f"{name} must have an id column and at least one target column, got {self._rows[0][1]}"
                + (
                    "; separate its cells by commas"
                    if len(self._rows[0][1]) == 1 and len(self._rows[0][1][0].split()) > 1
                    else ""
                )
            )
        if self._header is not None and not any(self._header[1:]) and not self._header[0]:
            raise SourceError(f"{name} must name its target columns in its header, got {self._header}")

    @property
    def has_header(self) -> bool:
        """Whether the first row names the columns, as far as that can be told without the crystals."""
        return self._header is not None

    def match(self, crystals: CrystalIds, table: TargetTable) -> Matching:
        """Add the rows of the crystals that there are to a table.

        Raises:
            SourceError: if there is none, with what would match; or as `_names`.
        """
        header, rows = self._header, self._rows
        if header is not None and crystals.find(rows[0][1][0]) is not None:
            header = None  # the first row is that of a crystal
        elif header is not None:
            rows = rows[1:]
        remarks = [self._remark] if self._remark else []
        if header is None and self._counts_columns(crystals):
            header, rows = rows[0][1], rows[1:]
            remarks.append(f"read with its first row as header, its columns as {', '.join(header[1:])}")
        if header is None:
            header = ["", *self._names()]
            remarks.append(f"read without header, its columns as {', '.join(header[1:])}")
        place, remark = self._id_column(header, rows, crystals)
        remarks += [remark] if remark else []
        matching = self._add(header, rows, place, crystals, table)
        return Matching(
            name=self.name,
            num_rows=matching[0],
            num_crystals=matching[1],
            unmatched=tuple(matching[2]),
            remarks=(*remarks, *matching[3]),
        )

    def _find_header(self) -> list[str] | None:
        """The first row, if it names columns: no number in it, or the name of an id column or nothing at its place."""
        first = self._rows[0][1]
        others = [read_number(cell) for cell in first[1:]]
        if (
            id_column(first) is None
            and first[0]
            and others
            and (
                any(number is not None and number == number for number in others)
                or all(number is not None for number in others)
            )
        ):
            return None
        is_short = len(self._rows) > 1 and all(len(cells) == len(first) + 1 for _, cells in self._rows[1:])
        if is_short and id_column(first) is None and first[0] and any(cells[-1].strip() for _, cells in self._rows):
            return ["", *first]  # R names no column of ids
        return first

    def _counts_columns(self, crystals: CrystalIds) -> bool:
        """Whether the first row names columns by numbers (``compound,0`` of pandas, years): only it has no crystal."""
        (_, (first, *columns)), *rows = self._rows
        return (
            self._given_names is None
            and not any(character.isdigit() for character in first)
            and all(column.isdecimal() for column in columns)
            and len(set(columns)) == len(columns)
            and crystals.find(first) is None
            and bool(rows)
            and _num_found(rows, 0, crystals) == len(rows)
        )

    def _width(self) -> int:
        return len(self._header) if self._header is not None else max(len(cells) for _, cells in self._rows)

    def _names(self) -> list[str]:
        """Names of the target columns of a file without header.

        Raises:
            SourceError: if they are given, but not as many as there are columns.
        """
        number = max(len(cells) for _, cells in self._rows) - 1
        given = self._given_names
        if given is None:
            return ["target"] if number == 1 else [f"target_{i}" for i in range(1, number + 1)]
        if len(given) != number:
            raise SourceError(
                f"{self.name} has {count(number, 'target column')}, but --target-names gives "
                f"{count(len(given), 'name')}: {', '.join(given)}; give one name for each"
            )
        self.names_used = True
        return list(given)

    def _id_column(self, header: list[str], rows: list[Row], crystals: CrystalIds) -> tuple[int, str]:
        """The column that holds the ids of the crystals, and a remark if that is not the usual one."""
        named = id_column(header)
        usual = named if named is not None else 0
        counts = {usual: _num_found(rows, usual, crystals)}
        if named is None or counts[usual] == 0:
            texts = [i for i in range(len(header)) if _is_text(rows, i)]
            counts |= {i: _num_found(rows, i, crystals) for i in texts if i != usual}
        best = max(counts, key=lambda i: (counts[i], i == usual))
        if counts[best] == 0:
            raise self._nothing_matches(header, rows, usual, crystals)
        column = repr(header[best]) if header[best] else str(best + 1)
        return best, f"read with the ids of column {column}" if best != usual else ""

    def _nothing_matches(self, header: list[str], rows: list[Row], usual: int, crystals: CrystalIds) -> SourceError:
        ids = [cells[usual] for _, cells in rows if usual < len(cells) and cells[usual].strip()]
        if not ids:
            return SourceError(f"{self.name} must have rows with ids below its header, got none")
        counts = {i: _num_found(rows, i, crystals) for i in range(len(header)) if i != usual}
        best = max(counts, key=lambda i: counts[i])
        change, num_changed = what_would_match(ids, crystals)
        if counts[best] > num_changed:
            advice = (
                f"column {header[best]!r} would match {counts[best]:,} of {len(rows):,}: name it {ID_COLUMN}, if it "
                "holds the ids"
            )
        else:
            advice = f"{change} {num_changed:,} of {len(ids):,} would match; change them in the file"
            advice = advice if num_changed else "is it the file of another source?"
        column = f" (column {header[usual]!r})" if header[usual] else ""
        return SourceError(
            f"the ids of {self.name} must be those of crystals in SOURCE, but none of its {len(ids):,} is: it has "
            f"{shown(ids)}{column}; SOURCE has {crystals.examples()}; {advice}"
        )

    def _add(
        self, header: list[str], rows: list[Row], place: int, crystals: CrystalIds, table: TargetTable
    ) -> tuple[int, int, list[str], list[str]]:
        names = ["" if i == place else name for i, name in enumerate(header)]
        names, remarks = self._without_index(names, rows, place)
        unmatched: list[str] = []
        found: set[str] = set()
        num_rows = num_by_file = num_notes = 0
        nameless = ""
        for line, cells in rows:
            where = f"{self.name}, line {line}"
            text = cells[place] if place < len(cells) else ""
            material_id = crystals.find(text) if text.strip() else None
            if text.strip():
                num_rows += 1
                if material_id is None:
                    unmatched.append(clean_id(text))
                    continue
            cells = _without_empty_end(cells, len(names))
            if problem := _row_problem(text, cells, len(names)):
                num_notes += 1
                if num_notes <= _MAX_ROW_NOTES:
                    table.notes.append(SkippedCrystal(material_id or "", Reason.BAD_TARGET_ROW, problem, where))
                continue
            assert material_id is not None
            found.add(material_id)
            num_by_file += clean_id(text) != material_id
            nameless = nameless or _nameless(header, cells, place)
            table.add(material_id, {name: cell for name, cell in zip(names, cells, strict=True) if name}, where)
        if num_notes > _MAX_ROW_NOTES:
            message = (
                f"{num_notes - _MAX_ROW_NOTES:,} more rows of {self.name} without id or with another number of cells"
            )
            table.notes.append(SkippedCrystal("", Reason.BAD_TARGET_ROW, message, self.name))
        if nameless:
            table.drop(nameless, "no name in the header")
        if num_by_file:
            remarks.append("read with file names as ids")
        return num_rows, len(found), unmatched, remarks

    def _without_index(self, names: list[str], rows: list[Row], place: int) -> tuple[list[str], list[str]]:
        """The names without those of columns that only count the rows."""
        remarks = []
        for i, name in enumerate(names):
            if i != place and name and is_row_index(name, [cells[i] for _, cells in rows if i < len(cells)]):
                remarks.append(f"read without column {name!r}, which counts the rows")
                names = [*names[:i], "", *names[i + 1 :]]
        return names, remarks


def open_target_file(path: Path, *, names: Sequence[str] | None = None) -> TargetFile:
    """A file of targets by its path.

    Raises:
        SourceError: if there is none, or `TargetFile` refuses it.
    """
    try:
        with path.open("rb") as raw:
            return TargetFile(raw, path.name, names=names)
    except OSError as error:
        reason = "there is none" if isinstance(error, FileNotFoundError) else (error.strerror or str(error)).lower()
        raise SourceError(f"--targets must name a CSV file, got {path}: {reason}") from error


def check_header(header: Sequence[str], where: str) -> None:
    """See that no name appears twice.

    Raises:
        SourceError: if one does.
    """
    named = [split_header(name)[0] for name in header if name]
    twice = sorted({name for name in named if named.count(name) > 1})
    if twice:
        raise SourceError(f"columns must have distinct names, got {twice} more than once ({where}); rename them")


def _without_empty_end(cells: list[str], width: int) -> list[str]:
    """A row without empty cells beyond the header."""
    return cells if any(map(str.strip, cells[width:])) else cells[:width]


def _row_problem(material_id: str, cells: list[str], width: int) -> str:
    if not material_id.strip():
        return "the row has no id"
    return "" if len(cells) == width else f"the row must have {width} cells, got {len(cells)}"


def _nameless(header: list[str], cells: list[str], place: int) -> str:
    """The first column with a value but without a name; empty if there is none."""
    columns = (i for i, cell in enumerate(cells) if not header[i] and i not in (0, place) and cell.strip())
    return next((f"column {i + 1}" for i in columns), "")


def _num_found(rows: list[Row], place: int, crystals: CrystalIds) -> int:
    """How many rows name a crystal in a column."""
    return sum(place < len(cells) and crystals.find(cells[place]) is not None for _, cells in rows)


def _is_text(rows: list[Row], place: int) -> bool:
    cells = [cells[place] for _, cells in rows[:_PROBED_ROWS] if place < len(cells)]
    return sum(read_number(cell) is None for cell in cells) > len(cells) / 2
