"""Sources with many structures in one file: CSV with a column of structures, and pymatgen JSON."""

import json
from collections.abc import Iterator, Mapping
from itertools import chain, islice
from pathlib import Path, PurePath
from typing import Any

from graphdb.errors import Reason, SkippedCrystal, SourceError
from graphdb.filenames import file_id, uncompressed_name
from graphdb.files import READ_ERRORS, decompressed
from graphdb.foreign import what_cells_are, what_json_is, what_text_is
from graphdb.names import ID_COLUMN, STRUCTURE_FIELDS, id_column, is_row_index
from graphdb.parse import Format, sniff
from graphdb.rawcrystal import Entry, raw_crystal
from graphdb.rows import table_form, table_rows
from graphdb.targetfile import TargetFile, check_header
from graphdb.targets import TargetTable, read_number

_PROBED_ROWS = 50
_ID_FIELDS = (ID_COLUMN, "id", "_id", "task_id", "jid", "entry_id")


class CsvSource:
    """A CSV (or .csv.gz) in which one column holds structures: CIF, POSCAR or pymatgen JSON, told by their content.

    The id column is told by its name, else it is the first one whose texts differ; where there is none, rows are
    counted. The numeric columns are targets. A first row with a structure in it is no header.
    """

    def __init__(self, path: Path) -> None:
        """Open nothing yet."""
        self.targets = TargetTable()
        self.target_files: list[TargetFile] = []
        self.path = path
        self._stem = PurePath(uncompressed_name(path.name)).stem
        self._size = max(1, path.stat().st_size)
        self._position = 0

    def progress(self) -> float:
        """The share of the file's bytes that were read."""
        return min(1.0, self._position / self._size)

    def may_repeat(self, material_id: str) -> bool:
        """A table has one row per crystal."""
        return False

    def entries(self) -> Iterator[Entry]:
        """One entry per row."""
        name = self.path.name
        with self.path.open("rb") as raw:
            form = table_form(raw, name)
            rows = table_rows(raw, form, name)
            line, header = next(rows, (0, []))
            if not header:
                raise SourceError(f"{name} must begin with a header, but it is empty")
            probed = list(islice(rows, _PROBED_ROWS))
            has_header = all(sniff(cell) is None for cell in header)
            if has_header:
                check_header(header, name)
            else:
                probed.insert(0, (line, header))
                header = [""] * len(header)
            cells = [cells for _, cells in probed]
            column = self._structure_column(header, cells)
            others = {i: [row[i].strip() for row in cells if i < len(row)] for i in range(len(header)) if i != column}
            if not others:
                raise SourceError(f"{self.path} must have an id column beside the structures, got only {header}")
            id_index = self._id_column(header, others)
            names = {i: header[i] for i in others if i != id_index and header[i]}
            for i in [i for i in names if is_row_index(names[i], others[i])]:
                self.targets.drop(names.pop(i), "it counts the rows")
            if not has_header:
                unnamed = [i for i in others if i != id_index and not _counts_rows(i, "", others[i])]
                names = {i: f"target_{n}" if len(unnamed) > 1 else "target" for n, i in enumerate(unnamed, 1)}
                told = f", its columns as {', '.join(names.values())}" if names else ""
                self.targets.remarks.append(f"read without header{told}")
            for number, (line, row) in enumerate(chain(probed, rows)):
                self._position = raw.tell()
                given = f"{self._stem}-{number}" if id_index is None else row[id_index] if id_index < len(row) else ""
                yield from self._entry(given, len(header), row, column, names, f"{name}, line {line}")

    def _id_column(self, header: list[str], others: Mapping[int, list[str]]) -> int | None:
        """The column of ids: by its name, else the first of texts that differ, or of whole numbers; None to count rows.

        Args:
            header: names of all columns; all empty if the table has none.
            others: the first cells of the columns without structures, by position.
        """
        named = id_column(header, list(others))
        if named is not None:
            return named
        usual = [i for i in others if not _counts_rows(i, header[i], others[i])] or list(others)
        first = usual[0]
        found = next((i for i in usual if _are_names(others[i])), None)
        if found is None and all(cell.isdecimal() for cell in others[first]):
            found = first if len(set(others[first])) == len(others[first]) else None
        if found is None:
            self.targets.remarks.append(
                f"read with ids that count its rows ({self._stem}-0, ...), since no column holds ids; "
                f"name the column that does {ID_COLUMN}"
            )
        elif found != min(others):
            column = repr(header[found]) if header[found] else str(found + 1)
            self.targets.remarks.append(f"read with the ids of column {column}")
        return found

    def _structure_column(self, header: list[str], rows: list[list[str]]) -> int:
        """The column in which most cells look like structures; the first of several."""
        hits = [sum(sniff(cells[i]) is not None for cells in rows if i < len(cells)) for i in range(len(header))]
        if max(hits, default=0) == 0:
            for i, name in enumerate(header):
                if found := what_cells_are(cells[i] for cells in rows if i < len(cells)):
                    raise SourceError(
                        f"{self.path} must have a column of structures, but its column {name!r} has {found}"
                    )
            raise SourceError(
                f"{self.path} must have a column with CIF, POSCAR or pymatgen JSON texts; none of its columns does: "
                f"{', '.join(header) or 'no columns'} (a table of targets only is for --targets of graphdb.build)"
            )
        return hits.index(max(hits))

    def _entry(
        self, material_id: str, width: int, cells: list[str], column: int, names: Mapping[int, str], where: str
    ) -> Iterator[Entry]:
        if len(cells) != width:
            message = f"the row must have {width} cells, got {len(cells)}"
            yield SkippedCrystal(material_id.strip()[:80], Reason.UNPARSABLE, message, where)
            return
        text = cells[column]
        entry = raw_crystal(material_id, sniff(text) or _claimed_format(text), text.encode("utf-8", "replace"), where)
        if not isinstance(entry, SkippedCrystal):
            row = {name: cells[i] for i, name in names.items()}
            self.targets.add(entry.material_id, row, where, content=hash(entry.content))
        yield entry


def _counts_rows(place: int, name: str, cells: list[str]) -> bool:
    """Whether a column counts the rows: pandas' index, which may have no name."""
    return bool(name or place == 0) and is_row_index(name, cells)


def _are_names(cells: list[str]) -> bool:
    """Whether the cells of a column may be ids: texts, of which most differ."""
    num_texts = sum(read_number(cell) is None and "\n" not in cell for cell in cells)
    return num_texts > len(cells) / 2 and len(set(cells)) > len(cells) / 2


class JsonSource:
    """A JSON file (or .json.gz) with one structure, a list of them, or an object of them by id."""

    def __init__(self, path: Path) -> None:
        """Open nothing yet."""
        self.targets = TargetTable()
        self.target_files: list[TargetFile] = []
        self.path = path
        self._progress = 0.0

    def progress(self) -> float:
        """The share of the structures that were handed out."""
        return self._progress

    def may_repeat(self, material_id: str) -> bool:
        """A list has one entry per crystal."""
        return False

    def entries(self) -> Iterator[Entry]:
        """One entry per structure."""
        try:
            with self.path.open("rb") as raw:
                content = decompressed(raw).read()
        except READ_ERRORS as error:
            raise SourceError(f"{self.path} cannot be read to its end: {error}; is the file complete?") from error
        found = _json_structures(content, file_id(self.path.name))
        if isinstance(found, str):
            raise SourceError(
                f"{self.path} must be pymatgen JSON (a structure, a list, or an object by id): {found}"
                f"{'; is the file complete?' if found.startswith('not JSON') else ''}"
            )
        for count, (material_id, structure, row) in enumerate(found):
            self._progress = count / len(found)
            yield from _json_entry(material_id, structure, row, f"{self.path.name}, entry {count}", self.targets)
        self._progress = 1.0


def json_entries(content: bytes, stem: str, where: str, targets: TargetTable) -> Iterator[Entry]:
    """The entries of a JSON file within a folder or an archive."""
    found = _json_structures(content, stem)
    if isinstance(found, str):
        is_json = found.startswith("it ")
        reason = Reason.NOT_A_STRUCTURE if is_json else Reason.EMPTY_FILE if not content.strip() else Reason.UNPARSABLE
        yield SkippedCrystal(stem, reason, found, where)
        return
    for count, (material_id, structure, row) in enumerate(found):
        place = where if len(found) == 1 else f"{where}, entry {count}"
        yield from _json_entry(material_id, structure, row, place, targets)


def _json_entry(
    material_id: str, structure: object, row: Mapping[str, Any], where: str, targets: TargetTable
) -> Iterator[Entry]:
    if isinstance(structure, str):
        entry = raw_crystal(material_id, sniff(structure) or "cif", structure.encode("utf-8", "replace"), where)
    elif isinstance(structure, dict):
        text = json.dumps(structure, sort_keys=True)  # one digest for one structure, however it was written
        entry = raw_crystal(material_id, "json", text.encode(), where)
    else:
        entry = SkippedCrystal(material_id[:80], Reason.NOT_A_STRUCTURE, f"got {type(structure).__name__}", where)
    if row and not isinstance(entry, SkippedCrystal):
        targets.add(entry.material_id, row, where, content=hash(entry.content))
    yield entry


def _json_structures(content: bytes, stem: str) -> list[tuple[str, object, dict[str, Any]]] | str:
    """Id, structure and numbers beside it for each structure in a JSON text; or what is wrong with the text."""
    try:
        text = content.decode(json.detect_encoding(content), errors="strict").removeprefix("\ufeff")
        value = json.loads(text)
    except RecursionError:
        return "not JSON: nested too deeply"
    except ValueError as error:
        told = what_text_is(content.decode("utf-8", errors="replace"))
        return f"it is {told}" if told else f"not JSON: {error}"
    if foreign := what_json_is(value):
        return f"it is {foreign}"
    if _is_structure(value):
        return [(stem, value, {})]
    if isinstance(value, dict) and isinstance(value.get("data"), list) and "columns" in value:
        return _json_split_table(value, stem)
    if isinstance(value, dict):  # an answer of the Materials Project
        value = next((value[name] for name in ("data", "response") if _is_list_of_entries(value.get(name))), value)
    if isinstance(value, list) and value:
        labels = [item.get("index") if isinstance(item, dict) else None for item in value]
        are_ids = all(isinstance(label, str) for label in labels) and len(set(labels)) == len(labels)
        keys = (label if are_ids else f"{stem}-{i}" for i, label in enumerate(labels))
        return _without_row_index([_json_row(item, str(key)) for key, item in zip(keys, value, strict=True)])
    if isinstance(value, dict) and any(isinstance(value.get(name), dict) for name in STRUCTURE_FIELDS):
        return [_json_row(value, stem)]
    if isinstance(value, dict) and any(_looks_like_entry(item) for item in value.values()):
        counted = list(value) == [str(i) for i in range(len(value))]  # such keys are no ids, if there are others
        return [
            (row[0] if counted else str(key), *row[1:])
            for key, row in ((key, _json_row(item, str(key))) for key, item in value.items())
        ]
    return "it holds no structure"


def _without_row_index(rows: list[tuple[str, object, dict[str, Any]]]) -> list[tuple[str, object, dict[str, Any]]]:
    """The entries of a list without pandas' index, of which ``to_json(orient="table")`` makes a column."""
    for name in ("index", "level_0"):
        labels = [row[name] for _, _, row in rows if name in row]
        if labels and is_row_index(name, [str(label) for label in labels]):
            rows = [(key, item, {k: v for k, v in row.items() if k != name}) for key, item, row in rows]
    return rows


def _is_list_of_entries(value: object) -> bool:
    return isinstance(value, list) and any(_looks_like_entry(item) for item in value[:_PROBED_ROWS])


def _json_row(item: object, fallback_id: str) -> tuple[str, object, dict[str, Any]]:
    """An entry of a list: a structure, or an object with a structure, perhaps an id, perhaps numbers.

    The id of pymatgen's entries is ``material_id`` in their ``data``, else ``entry_id``.
    """
    if not isinstance(item, dict):
        return fallback_id, item, {}
    inner = {name: value for name in ("properties", "data") if isinstance(value := item.get(name), dict)}
    candidates = [item.get(ID_COLUMN), *(fields.get(ID_COLUMN) for fields in inner.values())]
    candidates += [fields.get(name) for fields in (item, inner.get("properties", {})) for name in _ID_FIELDS]
    material_id = next((str(candidate) for candidate in candidates if _is_id(candidate)), fallback_id)
    if _is_structure(item):
        return material_id, item, {}
    field = next((name for name in STRUCTURE_FIELDS if name in item), None)
    row = {name: value for name, value in item.items() if name not in (*_ID_FIELDS, field) and name[:1] != "@"}
    return material_id, item[field] if field else item, row if field else {}


def _is_id(value: object) -> bool:
    return (isinstance(value, str) and bool(value.strip())) or (isinstance(value, int) and not isinstance(value, bool))


def _json_split_table(value: dict[str, Any], stem: str) -> list[tuple[str, object, dict[str, Any]]] | str:
    """The table of pandas' ``to_json(orient="split")``, which matbench uses."""
    columns, rows = value["columns"], value["data"]
    index = value.get("index", list(range(len(rows))))
    named = any(name in columns for name in STRUCTURE_FIELDS)
    if not rows or not named or len(index) != len(rows) or any(len(r) != len(columns) for r in rows):
        return "it holds a table without a complete column 'structure'"
    ids = [str(label) if isinstance(label, str) else f"{stem}-{label}" for label in index]
    return [_json_row(dict(zip(columns, row, strict=True)), id) for id, row in zip(ids, rows, strict=True)]


def _is_structure(value: object) -> bool:
    return isinstance(value, dict) and ("sites" in value or "lattice" in value) and "structure" not in value


def _looks_like_entry(value: object) -> bool:
    if isinstance(value, str):
        return sniff(value) is not None
    return _is_structure(value) or (isinstance(value, dict) and any(name in value for name in STRUCTURE_FIELDS))


def _claimed_format(text: str) -> Format:
    """The format to complain about when a text looks like none."""
    return "json" if text.lstrip()[:1] in ("{", "[") else "cif"
