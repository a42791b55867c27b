"""What a file is that is not read here, told by its first bytes or its name, and what to do with it instead."""

import re
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Any

from graphdb.filenames import uncompressed_name
from graphdb.names import STRUCTURE_FIELDS

#: As much of a file as is needed to tell what it is.
HEAD_BYTES = 8192
_SAVE_AS_CSV = "save it as CSV (UTF-8)"
_AS_CIFS = "write each structure into a CIF, all into one folder"
_BY_ASE = "convert it to CIF, for example by 'ase convert {name} {stem}.cif'"
_AS_CIF = "convert it to CIF, for example with VESTA"

LMDB_FILE = (
    "an LMDB file, such as a store that was built already",
    "stores are built from CIFs, POSCARs and tables; to predict from a store, give the store itself to model.predict",
)
"""In words, and what to do."""
_NO_LMDB_FILE = "named as an LMDB file, but none", "copy or download it again"
#: First bytes, what they tell, what to do.
_MAGIC: tuple[tuple[bytes, str, str], ...] = (
    (b"PK\x03\x04", "a zip archive", "unpack it, and give the folder"),
    (b"PK\x05\x06", "an empty zip archive", "copy or download it again"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook (.xls)", _SAVE_AS_CSV),
    (b"PAR1", "a Parquet table", "write it as CSV, with each structure as a CIF text in a column"),
    (b"\x89HDF", "an HDF5 file", _AS_CIFS),
    (b"CDF\x01", "a NetCDF file", _AS_CIFS),
    (b"SQLite format 3\x00", "an SQLite database (ASE's .db?)", _AS_CIFS),
    (b"\x80\x02", "a Python pickle, which may run any code when it is opened", _AS_CIFS),
    (b"\x80\x03", "a Python pickle, which may run any code when it is opened", _AS_CIFS),
    (b"\x80\x04", "a Python pickle, which may run any code when it is opened", _AS_CIFS),
    (b"\x80\x05", "a Python pickle, which may run any code when it is opened", _AS_CIFS),
    (b"\x93NUMPY", "a NumPy array", "write it as CSV"),
    (b"- of Ulm", "an ASE trajectory", _BY_ASE),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", "unpack it, and give the folder"),
    (b"Rar!", "a RAR archive", "unpack it, and give the folder"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd", "unpack it"),
    (b"%PDF", "a PDF document", "give the structures themselves"),
    (b"\x89PNG", "an image", "give the structures themselves"),
    (b"\xff\xd8\xff", "an image", "give the structures themselves"),
    (b"version https://git-lfs", "a pointer of Git LFS instead of the file itself", "fetch the file by 'git lfs pull'"),
)
#: By suffix: what the name tells, what to do.
_SUFFIXES: dict[str, tuple[str, str]] = {
    ".xyz": ("an XYZ file", _BY_ASE),
    ".extxyz": ("an extended XYZ file", _BY_ASE),
    ".pdb": ("a PDB file", _BY_ASE),
    ".ent": ("a PDB file", _BY_ASE),
    ".mmcif": ("an mmCIF file of a macromolecule", "give crystals with a small cell, as CIF"),
    ".res": ("a SHELX or AIRSS .res file", _BY_ASE),
    ".ins": ("a SHELX .ins file", "give the CIF of the refinement"),
    ".xsf": ("an XCrySDen file", _BY_ASE),
    ".cell": ("a CASTEP .cell file", _BY_ASE),
    ".cssr": ("a CSSR file", _AS_CIF),
    ".gen": ("a DFTB+ .gen file", _BY_ASE),
    ".traj": ("an ASE trajectory", _BY_ASE),
    ".cube": ("a Gaussian cube file", _BY_ASE),
    ".mol": ("a molecule without a cell", "give crystals"),
    ".mol2": ("a molecule without a cell", "give crystals"),
    ".sdf": ("molecules without a cell", "give crystals"),
    ".xlsx": ("an Excel workbook", _SAVE_AS_CSV),
    ".xls": ("an Excel workbook", _SAVE_AS_CSV),
    ".ods": ("a spreadsheet", _SAVE_AS_CSV),
    ".pkl": ("a Python pickle, which may run any code when it is opened", _AS_CIFS),
    ".pickle": ("a Python pickle, which may run any code when it is opened", _AS_CIFS),
    ".db": ("a database (ASE's .db?)", _AS_CIFS),
    ".h5": ("an HDF5 file", _AS_CIFS),
    ".hdf5": ("an HDF5 file", _AS_CIFS),
    ".parquet": ("a Parquet table", "write it as CSV, with each structure as a CIF text in a column"),
    ".npz": ("NumPy arrays", _AS_CIFS),
    ".npy": ("a NumPy array", _AS_CIFS),
    ".pt": ("a file of PyTorch", "give crystals"),
    ".pth": ("a file of PyTorch", "give crystals"),
    ".lmdb": _NO_LMDB_FILE,
    ".mdb": _NO_LMDB_FILE,
    ".zip": ("a zip archive", "unpack it, and give the folder"),
    ".rar": ("a RAR archive", "unpack it, and give the folder"),
    ".7z": ("a 7-Zip archive", "unpack it, and give the folder"),
    ".zst": ("compressed by zstd", "unpack it"),
    ".jsonl": ("JSON Lines", "make it one list, for example by 'jq -s . {name} > {stem}.json'"),
    ".ndjson": ("JSON Lines", "make it one list, for example by 'jq -s . {name} > {stem}.json'"),
    ".yaml": ("YAML", "give the structures as CIF, POSCAR or pymatgen JSON"),
    ".yml": ("YAML", "give the structures as CIF, POSCAR or pymatgen JSON"),
    ".tar": ("an archive within the source", "unpack it, or give it by itself"),
    ".tgz": ("an archive within the source", "unpack it, or give it by itself"),
    ".csv": ("a table", "give a table of structures by itself, and one of targets to graphdb.build by --targets"),
    ".tsv": ("a table", "give a table of structures by itself, and one of targets to graphdb.build by --targets"),
}


def what_is(name: str, head: bytes) -> str:
    """A foreign file in words, with what to do, such as ``a zip archive: unpack it, and give the folder``.

    Args:
        name: of the file, for what the bytes do not tell.
        head: its first bytes, decompressed.

    Returns:
        An empty string if nothing is known about it.
    """
    found = _by_bytes(head) or _by_name(name) or _by_text(head)
    if found is None:
        return ""
    base = uncompressed_name(PurePosixPath(name).name)
    what, remedy = found
    return f"{what}: {remedy.format(name=PurePosixPath(name).name, stem=PurePosixPath(base).stem)}"


def _by_bytes(head: bytes) -> tuple[str, str] | None:
    if head[16:20] == b"\xde\xc0\xef\xbe":
        return LMDB_FILE
    if head.startswith(b"PK\x03\x04"):
        if b"[Content_Types].xml" in head or b"xl/" in head or b"_rels/.rels" in head:
            return "an Excel workbook", _SAVE_AS_CSV
        if b"opendocument.spreadsheet" in head:
            return "a spreadsheet", _SAVE_AS_CSV
        if head[30:].split(b"\x00")[0].rstrip()[:60].find(b".npy") > 0:
            return "NumPy arrays (.npz)", _AS_CIFS
    for magic, what, remedy in _MAGIC:
        if head.startswith(magic):
            return what, remedy
    return None


def _by_name(name: str) -> tuple[str, str] | None:
    base = PurePosixPath(uncompressed_name(PurePosixPath(name).name).lower())
    if base.name.startswith(("outcar", "xdatcar")) or base.name == "vasprun.xml":
        return f"VASP's {base.name}", "give its CONTCAR or POSCAR"
    return _SUFFIXES.get(base.suffix)


def _by_text(head: bytes) -> tuple[str, str] | None:
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:200].lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return "a web page", "was it saved instead of the file itself? download it again"
    if start.startswith((b"<?xml", b"<modeling")):
        return "XML", "give the structures as CIF, POSCAR or pymatgen JSON"
    lines = head.split(b"\n", 2)
    if len(lines) > 2 and lines[0].strip().isdigit() and b"lattice=" in lines[1].lower():
        return "extended XYZ", _BY_ASE
    return None


def is_binary(head: bytes) -> bool:
    """Whether bytes are no text of one byte a character: zeros, or many control characters."""
    return 0 in head or sum(byte < 9 or 13 < byte < 26 or 27 < byte < 32 for byte in head) > 8


_JARVIS = (
    "JARVIS' JSON (objects with 'atoms'), which is not read yet: write each as POSCAR with pymatgen, "
    "Structure(a['lattice_mat'], a['elements'], a['coords'], coords_are_cartesian=a['cartesian'])"
    ".to(d['jid'] + '.vasp', 'poscar')"
)
_OPTIMADE = (
    "an OPTIMADE response, which is not read yet: write each structure as CIF with optimade-python-tools, "
    "Structure(d).convert('cif')"
)
_ASE_DB = (
    "ASE's JSON database, which is not read yet: write each row as CIF, "
    "row.toatoms().write(f'{row.id}.cif') for the rows of ase.db.connect(file).select()"
)
_PANDAS = (
    "a pandas table {orient}whose structures stand in {column!r}, which is not read yet: "
    "write a list of objects with 'material_id' and 'structure'"
)
_OBJECTS = (
    "JSON whose structures stand in {column!r}, which is not read yet: "
    "write a list of objects with 'material_id' and 'structure'"
)
_JSON_LINES = "JSON Lines (one object per line), which is not read yet: make it one list, for example by 'jq -s .'"


def what_json_is(value: object) -> str:
    """A JSON value of another program in words, with what to do; empty if nothing is known about it."""
    if isinstance(value, dict) and (told := _what_object_is(value)) is not None:
        return told
    for item in _objects(value):
        if "lattice_mat" in item or "lattice_mat" in _sub(item, "atoms"):
            return _JARVIS
        if "lattice_vectors" in _sub(item, "attributes"):
            return _OPTIMADE
        column = next((name for name in item if "structure" in name and isinstance(item[name], dict)), None)
        if column and not any(name in item for name in STRUCTURE_FIELDS):
            return _OBJECTS.format(column=column)
        if item.get("@class") == "ComputedEntry":
            return "a list of pymatgen's entries without structures: save ComputedStructureEntry objects instead"
    return ""


def _what_object_is(value: dict[str, Any]) -> str | None:
    """What a JSON object is as a whole; empty if it is one that is read, None if that cannot be told from its keys."""
    data = value.get("data")
    if any("lattice_vectors" in _sub(item, "attributes") for item in _objects(data if data is not None else value)):
        return _OPTIMADE
    if {"ids", "nextid"} <= value.keys():
        return _ASE_DB
    columns = [name for name in value if "structure" in name and _is_column(value[name])]
    if columns and all(isinstance(column, dict) for column in value.values()):
        return _PANDAS.format(orient="by columns ", column=columns[0])
    if isinstance(value.get("columns"), list) and isinstance(data, list):
        columns = [name for name in value["columns"] if "structure" in str(name) or name == "atoms"]
        is_read = not columns or any(name in value["columns"] for name in STRUCTURE_FIELDS)
        return "" if is_read else _PANDAS.format(orient="", column=columns[0])
    return None


def what_text_is(text: str) -> str:
    """A text that should be JSON and is not, in words; empty if nothing is known about it."""
    if re.match(r"\s*\{.*\}[ \t]*\n\s*\{", text):
        return _JSON_LINES
    return what_is("", text[:HEAD_BYTES].encode("utf-8", "replace"))


def what_cells_are(cells: Iterable[str]) -> str:
    """What stands in a column that should hold structures; empty if nothing is known about it."""
    for cell in cells:
        start = cell.lstrip()[:400]
        if start.startswith("{'") and ("lattice" in cell or "sites" in cell):
            return (
                "Python dicts (with single quotes), not JSON: write json.dumps(structure.as_dict()), "
                "or structure.to(fmt='cif'), into the column"
            )
        if start.startswith("Full Formula ("):
            return "printed structures of pymatgen, which are rounded: write structure.to(fmt='cif') into the column"
        if start.startswith(("Atoms(", "MSONAtoms(")):
            return "printed structures of ASE, which are incomplete: write CIF texts into the column"
        if start.startswith(("{'", '{"')) and "lattice_mat" in cell:
            return "structures of JARVIS: write CIF texts into the column"
    return ""


def _objects(value: object) -> list[dict[str, Any]]:
    """The first objects in a list or in the values of an object."""
    items = value if isinstance(value, list) else list(value.values()) if isinstance(value, dict) else []
    found = [value] if isinstance(value, dict) else []
    return [*found, *(item for item in items[:20] if isinstance(item, dict))]


def _is_column(value: object) -> bool:
    """Whether a value may be a column of a table, from labels to cells, and is no structure itself."""
    return isinstance(value, dict) and "lattice" not in value and "sites" not in value


def _sub(item: dict[str, Any], name: str) -> dict[str, Any]:
    inner = item.get(name)
    return inner if isinstance(inner, dict) else {}
