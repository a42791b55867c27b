"""Sources with many structures in one file: CSV with a column of structures, and pymatgen JSON."""

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import Any, TextIO

from graphdb.errors import Reason, SkippedCrystal, SourceError
from graphdb.parse import Format, sniff
from graphdb.sources import Entry, raw_crystal
from graphdb.targets import ID_COLUMN, TargetTable, check_header, csv_rows, open_text

_PROBED_ROWS = 50
_ID_FIELDS = (ID_COLUMN, "id", "_id", "task_id", "jid")
_STRUCTURE_FIELDS = ("structure", "final_structure", "cif", "poscar")


class CsvSource:
    """A CSV (or .csv.gz) in which one column holds structures: CIF, POSCAR or pymatgen JSON, told by their content.

    The id column is ``material_id``, or the first other one. The numeric columns are targets.
    """

    def __init__(self, path: Path) -> None:
        """Open nothing yet."""
        self.targets = TargetTable(keep_text_notes=False)
        self.path = path
        self._size = max(1, path.stat().st_size)
        self._position = 0

    def progress(self) -> float:
        """The share of the file's bytes that were read."""
        return min(1.0, self._position / self._size)

    def entries(self) -> Iterator[Entry]:
        """One entry per row."""
        name = self.path.name
        with open_text(self.path) as stream:
            rows = csv_rows(stream, name)
            header = next(rows, (0, []))[1]
            check_header(header, name)
            probed = list(islice(rows, _PROBED_ROWS))
            column = self._structure_column(header, [cells for _, cells in probed])
            if ID_COLUMN in header:
                id_index = header.index(ID_COLUMN)
            else:
                id_index = next((i for i in range(len(header)) if i != column), column)
            if id_index == column:
                raise SourceError(f"{self.path} must have an id column beside the structures, got only {header}")
            for line, cells in chain(probed, rows):
                self._position = _compressed_position(stream)
                yield from self._entry(header, cells, id_index, column, f"{name}, line {line}")

    def _structure_column(self, header: list[str], rows: list[list[str]]) -> int:
        """The column in which most cells look like structures; the first of several."""
        hits = [sum(sniff(cells[i]) is not None for cells in rows if i < len(cells)) for i in range(len(header))]
        if max(hits, default=0) == 0:
            raise SourceError(
                f"{self.path} must have a column with CIF, POSCAR or pymatgen JSON texts; none of its columns does: "
                f"{', '.join(header) or 'no columns'} (for targets only, use --targets)"
            )
        return hits.index(max(hits))

    def _entry(self, header: list[str], cells: list[str], id_index: int, column: int, where: str) -> Iterator[Entry]:
        material_id = cells[id_index] if id_index < len(cells) else ""
        if len(cells) != len(header):
            message = f"the row must have {len(header)} cells, got {len(cells)}"
            yield SkippedCrystal(material_id.strip()[:80], Reason.UNPARSABLE, message, where)
            return
        text = cells[column]
        entry = raw_crystal(material_id, sniff(text) or _claimed_format(text), text.encode("utf-8", "replace"), where)
        if not isinstance(entry, SkippedCrystal):
            others = (i for i, name in enumerate(header) if name and i not in (id_index, column))
            self.targets.add(entry.material_id, {header[i]: cells[i] for i in others}, where)
        yield entry


class JsonSource:
    """A JSON file (or .json.gz) with one structure, a list of them, or an object of them by id."""

    def __init__(self, path: Path) -> None:
        """Open nothing yet."""
        self.targets = TargetTable(keep_text_notes=False)
        self.path = path
        self._progress = 0.0

    def progress(self) -> float:
        """The share of the structures that were handed out."""
        return self._progress

    def entries(self) -> Iterator[Entry]:
        """One entry per structure."""
        try:
            content = self.path.read_bytes()
            if content[:2] == b"\x1f\x8b":
                content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise SourceError(f"{self.path} cannot be read to its end: {error}; is the file complete?") from error
        stem = self.path.name.split(".json")[0]
        found = _json_structures(content, stem)
        if isinstance(found, str):
            raise SourceError(f"{self.path} must be pymatgen JSON (a structure, a list, or an object by id): {found}")
        for count, (material_id, structure, row) in enumerate(found):
            self._progress = count / len(found)
            yield from _json_entry(material_id, structure, row, f"{self.path.name}, entry {count}", self.targets)
        self._progress = 1.0


def json_entries(content: bytes, stem: str, where: str, targets: TargetTable) -> Iterator[Entry]:
    """The entries of a JSON file within a folder or an archive."""
    found = _json_structures(content, stem)
    if isinstance(found, str):
        is_json = found.startswith("it holds")
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
        targets.add(entry.material_id, row, where)
    yield entry


def _json_structures(content: bytes, stem: str) -> list[tuple[str, object, dict[str, Any]]] | str:
    """Id, structure and numbers beside it for each structure in a JSON text; or what is wrong with the text."""
    try:
        value = json.loads(content.decode("utf-8-sig"))
    except RecursionError:
        return "not JSON: nested too deeply"
    except ValueError as error:
        return f"not JSON: {error}"
    if _is_structure(value):
        return [(stem, value, {})]
    if isinstance(value, dict) and isinstance(value.get("data"), list) and "columns" in value:
        return _json_split_table(value, stem)
    if isinstance(value, list) and value:
        return [_json_row(item, f"{stem}-{i}") for i, item in enumerate(value)]
    if isinstance(value, dict) and any(_looks_like_entry(item) for item in value.values()):
        return [(str(key), *_json_row(item, "")[1:]) for key, item in value.items()]
    return "it holds no structure"


def _json_row(item: object, fallback_id: str) -> tuple[str, object, dict[str, Any]]:
    """An entry of a list: a structure, or an object with a structure, perhaps an id, perhaps numbers."""
    if not isinstance(item, dict):
        return fallback_id, item, {}
    properties = item.get("properties") if isinstance(item.get("properties"), dict) else {}
    material_id = next(
        (str(d[name]) for d in (item, properties or {}) for name in _ID_FIELDS if d.get(name)), fallback_id
    )
    if _is_structure(item):
        return material_id, item, {}
    field = next((name for name in _STRUCTURE_FIELDS if name in item), None)
    numbers = {
        key: value for key, value in item.items() if isinstance(value, int | float) and not isinstance(value, bool)
    }
    return material_id, item[field] if field else item, {k: v for k, v in numbers.items() if k not in _ID_FIELDS}


def _json_split_table(value: dict[str, Any], stem: str) -> list[tuple[str, object, dict[str, Any]]] | str:
    """The table of pandas' ``to_json(orient="split")``, which matbench uses."""
    columns, rows = value["columns"], value["data"]
    index = value.get("index", list(range(len(rows))))
    if not rows or "structure" not in columns or len(index) != len(rows) or any(len(r) != len(columns) for r in rows):
        return "it holds a table without a complete column 'structure'"
    ids = [str(label) if isinstance(label, str) else f"{stem}-{label}" for label in index]
    return [_json_row(dict(zip(columns, row, strict=True)), id) for id, row in zip(ids, rows, strict=True)]


def _is_structure(value: object) -> bool:
    return isinstance(value, dict) and ("sites" in value or "lattice" in value) and "structure" not in value


def _looks_like_entry(value: object) -> bool:
    if isinstance(value, str):
        return sniff(value) is not None
    return _is_structure(value) or (isinstance(value, dict) and any(name in value for name in _STRUCTURE_FIELDS))


def _claimed_format(text: str) -> Format:
    """The format to complain about when a text looks like none."""
    return "json" if text.lstrip()[:1] in ("{", "[") else "cif"


def _compressed_position(stream: TextIO) -> int:
    """How many bytes of the file itself a text stream has used."""
    binary: Any = stream.buffer
    return int(binary.fileobj.tell() if hasattr(binary, "fileobj") else binary.tell())
