"""Files of other programs: they are named, with what to do."""

import json
import re
from pathlib import Path

import pytest

from graphdb.errors import Reason, SourceError
from tests.graphdb.sourcefiles import IRON, NACL, entries, skips, text, write_csv

FOREIGN: dict[str, tuple[str, bytes, str]] = {
    "xyz": ("a.xyz", b"1\n\nFe 0 0 0\n", "an XYZ file: .*ase convert a.xyz a.cif"),
    "extxyz": ("a.extxyz", b"1\n", "an extended XYZ file"),
    "pdb": ("a.pdb", b"CRYST1", "a PDB file"),
    "res": ("a.res", b"TITL", "a SHELX or AIRSS"),
    "xsf": ("a.xsf", b"CRYSTAL", "an XCrySDen file"),
    "cell": ("a.cell", b"%BLOCK", "a CASTEP .cell file"),
    "pickle": ("a.pkl", b"\x80\x04\x95", "a Python pickle, which may run any code"),
    "ase db": ("a.db", b"SQLite format 3\x00", "an SQLite database"),
    "hdf5": ("a.h5", b"\x89HDF\r\n", "an HDF5 file"),
    "parquet": ("a.parquet", b"PAR1", "a Parquet table"),
    "excel": ("a.xlsx", b"PK\x03\x04" + 26 * b"\x00" + b"[Content_Types].xml", "an Excel workbook: save it as CSV"),
    "numpy": ("a.npz", b"PK\x03\x04" + 26 * b"\x00" + b"arr_0.npy\x00", "NumPy arrays"),
    "zip": ("a.zip", b"PK\x03\x04" + 26 * b"\x00" + b"a.cif", "a zip archive: unpack it"),
    "7z": ("a.7z", b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    "zstd": ("a.cif.zst", b"\x28\xb5\x2f\xfd", "compressed by zstd"),
    "json lines": ("a.jsonl", b"{}\n{}\n", "JSON Lines: .*jq"),
    "vasprun": ("vasprun.xml", b"<?xml", "VASP's vasprun.xml: give its CONTCAR"),
    "outcar": ("OUTCAR", b" vasp.6", "VASP's outcar"),
    "lmdb": ("old.store", 16 * b"\x00" + b"\xde\xc0\xef\xbe", "an LMDB file, such as a store"),
    "no lmdb": ("a.lmdb", b"text", "named as an LMDB file, but none: copy or download it again"),
    "html": ("a.cif", b"<!DOCTYPE html>", "a web page"),
    "lfs": ("a.cif", b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
    "zip as cif": ("a.cif", b"PK\x03\x04" + 26 * b"\x00" + b"a.cif", "a zip archive"),
    "poscar as text": ("a.txt", text(IRON, "poscar").encode(), "looks like a POSCAR: .*ends in .vasp"),
    "cif as text": ("a.txt", text(IRON, "cif").encode(), "looks like a CIF: .*ends in .cif"),
    "cif with two suffixes": ("a.cif.txt", text(IRON, "cif").encode(), "looks like a CIF: .*ends in .cif"),
    "json as text": ("a.txt", text(IRON, "json").encode(), "looks like pymatgen JSON: .*ends in .json"),
}


@pytest.mark.parametrize("kind", list(FOREIGN))
def test_a_file_of_another_kind_is_refused_by_its_name(tmp_path: Path, kind: str) -> None:
    name, content, message = FOREIGN[kind]
    (tmp_path / name).write_bytes(content)
    (skip,) = skips(tmp_path)
    assert skip.reason == (Reason.UNPARSABLE if name == "a.cif" else Reason.NOT_A_STRUCTURE)
    assert re.match(f"it (is )?{message}", skip.message), skip.message
    with pytest.raises(SourceError, match=f"it (is )?{message}"):
        entries(tmp_path / name)


def test_a_folder_that_is_an_lmdb_is_named(tmp_path: Path) -> None:
    (tmp_path / "data.mdb").write_bytes(b"")
    with pytest.raises(SourceError, match="it is an LMDB file, such as a store"):
        entries(tmp_path)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": {"atoms": {"lattice_mat": []}}}, "JARVIS' JSON"),
        ([{"jid": "x", "atoms": {"lattice_mat": []}}], "JARVIS' JSON"),
        ({"data": {"id": "x", "attributes": {"lattice_vectors": []}}}, "an OPTIMADE response"),
        ([{"id": "x", "attributes": {"lattice_vectors": []}}], "an OPTIMADE response"),
        ({"1": {"cell": []}, "ids": [1], "nextid": 2}, "ASE's JSON database"),
        ({"id": {"0": "a"}, "structure": {"0": IRON.as_dict()}}, "a pandas table by columns .* 'structure'"),
        ([{"id": "a", "relaxed_structure": IRON.as_dict()}], "JSON whose structures stand in 'relaxed_structure'"),
        ([{"id": "a", "structure_initial": IRON.as_dict()}], "JSON whose structures stand in 'structure_initial'"),
        (
            {"columns": ["id", "initial_structure"], "index": [0], "data": [["a", IRON.as_dict()]]},
            "a pandas table .* 'initial_structure'",
        ),
        ([{"@class": "ComputedEntry", "entry_id": "a"}], "a list of pymatgen's entries without structures"),
    ],
)
def test_json_of_another_program_is_named_with_what_to_do(tmp_path: Path, value: object, message: str) -> None:
    path = tmp_path / "other.json"
    path.write_text(json.dumps(value))
    with pytest.raises(SourceError, match=f"it is {message}.*: (write|save) "):
        entries(path)
    (skip,) = skips(tmp_path)
    assert (skip.reason, bool(re.match(f"it is {message}", skip.message))) == (Reason.NOT_A_STRUCTURE, True)


def test_json_lines_are_named(tmp_path: Path) -> None:
    path = tmp_path / "lines.json"
    path.write_text(text(IRON, "json") + "\n" + text(NACL, "json") + "\n")
    with pytest.raises(SourceError, match="it is JSON Lines"):
        entries(path)


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (str(IRON.as_dict()), "Python dicts .with single quotes., not JSON: write json.dumps"),
        (str(IRON), "printed structures of pymatgen, which are rounded"),
        ("Atoms(symbols='Fe', pbc=True)", "printed structures of ASE"),
    ],
)
def test_a_table_of_printed_objects_says_so(tmp_path: Path, cell: str, message: str) -> None:
    with pytest.raises(SourceError, match=f"its column 'structure' has {message}"):
        entries(write_csv(tmp_path / "t.csv", [["id", "structure"], ["a", cell]]))
