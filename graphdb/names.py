"""Names of crystals and of columns that hold them."""

import re
import unicodedata
from collections.abc import Sequence

ID_COLUMN = "material_id"
#: Names under which an object may hold its structure.
STRUCTURE_FIELDS = ("structure", "final_structure", "cif", "poscar")
_ID_COLUMNS = frozenset(
    [
        "id",
        "_id",
        "mpid",
        "mp_id",
        "mp-id",
        "jid",
        "materialid",
        "materials_id",
        "entry_id",
        "task_id",
        "cif_id",
        "crystal_id",
        "structure_id",
        "icsd_id",
        "cod_id",
        "oqmd_id",
        "qmof_id",
        "omdb_id",
        "identifier",
        "uid",
        "filename",
        "file_name",
        "file",
        "cif_file",
        "cifname",
        "cif_name",
        "path",
    ]
)
_INDEX_NAME = re.compile(r"(?:|index|level_0|unnamed: \d+)", re.IGNORECASE)


def clean_id(material_id: str) -> str:
    """An id without blanks around it, in composed Unicode (file names come decomposed from some systems)."""
    return unicodedata.normalize("NFC", material_id.strip())


def id_column(header: list[str], among: list[int] | None = None) -> int | None:
    """The column whose name says that it holds ids: ``material_id``, else the first one such as ``jid`` or ``file``.

    Args:
        header: names of all columns.
        among: positions to choose from; None for all.
    """
    keys = {i: header[i].lower().lstrip("#").strip() for i in (range(len(header)) if among is None else among)}
    for i, key in keys.items():
        if key in (ID_COLUMN, "material id"):
            return i
    return next((i for i, key in keys.items() if key.replace(" ", "_") in _ID_COLUMNS), None)


def is_row_index(name: str, cells: Sequence[str]) -> bool:
    """Whether a column is what pandas puts before a table: named like ``Unnamed: 0`` or ``index``, and whole numbers.

    Of a table from which rows were taken the numbers have gaps; of one that was shuffled, too, they only differ.
    """
    if not _INDEX_NAME.fullmatch(name) or not all(cell.strip().isdecimal() for cell in cells):
        return False
    numbers = [int(cell) for cell in cells]
    return len(set(numbers)) == len(numbers) and (name[:1] in "uU" or numbers == sorted(numbers))
