"""Every kind of source gives the same crystals, and each broken one says what is wrong."""

import bz2
import csv
import gzip
import io
import json
import lzma
import re
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure
from pymatgen.io.cif import CifWriter
from pymatgen.io.vasp.inputs import Poscar

from graphdb.convert import to_crystal
from graphdb.crystal import Crystal
from graphdb.errors import Reason, SkippedCrystal, SourceError, Unusable
from graphdb.filenames import file_id, name_format
from graphdb.matching import CrystalIds
from graphdb.parse import decode, parse_crystal
from graphdb.rawcrystal import Entry, RawCrystal
from graphdb.sources import Source, open_source
from graphdb.targets import TargetTable
from graphdb.usable import iter_usable

NACL = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
IRON = Structure.from_spacegroup("Im-3m", Lattice.cubic(2.87), ["Fe"], [[0, 0, 0]])
CRYSTALS = {"salt": NACL, "iron": IRON}


TABLE = "material_id,structure\n" + "".join(f"{i},_cell_length_a {i}\n" for i in range(9999))


def text(structure: Structure, kind: str) -> str:
    if kind == "cif":
        return str(CifWriter(structure))
    return Poscar(structure).get_str() if kind == "poscar" else json.dumps(structure.as_dict())


def add_member(archive: tarfile.TarFile, name: str, content: bytes = b"", **fields: Any) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    for field, value in fields.items():
        setattr(member, field, value)
    archive.addfile(member, io.BytesIO(content))


def write_tar(path: Path, names: dict[str, str]) -> Path:
    openers: dict[str, Callable[..., Any]] = {".tar": open, ".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
    with openers[path.suffix](path, "wb") as stream, tarfile.open(fileobj=stream, mode="w|") as archive:
        for name, content in names.items():
            add_member(archive, name, content.encode())
    return path


def write_csv(path: Path, rows: list[list[Any]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows(rows)
    return path


def sources(folder: Path) -> Iterator[Path]:
    """The two crystals as each kind of source."""
    for kind, suffix in (("cif", "cif"), ("poscar", "vasp"), ("json", "json")):
        place = folder / kind
        place.mkdir()
        for name, structure in CRYSTALS.items():
            (place / f"{name}.{suffix}").write_text(text(structure, kind))
        yield place
        rows = [[name, text(structure, kind), 1.5] for name, structure in CRYSTALS.items()]
        yield write_csv(folder / f"{kind}.csv", [["material_id", "crystal", "gap"], *rows])
    nested = folder / "vasp"
    for name, structure in CRYSTALS.items():
        (nested / name).mkdir(parents=True)
        (nested / name / "POSCAR").write_text(text(structure, "poscar"))
    yield nested
    files = {f"data/{name}.cif": text(structure, "cif") for name, structure in CRYSTALS.items()}
    for suffix in ("tar", "tar.gz", "tar.bz2", "tar.xz"):
        yield write_tar(folder / f"archive.{suffix}", files)
    listed = [{"material_id": name, "structure": structure.as_dict(), "gap": 2} for name, structure in CRYSTALS.items()]
    by_id = {name: structure.as_dict() for name, structure in CRYSTALS.items()}
    matbench = {
        "index": list(CRYSTALS),
        "columns": ["structure", "gap"],
        "data": [[structure.as_dict(), 2.0] for structure in CRYSTALS.values()],
    }
    for name, value in (("list", listed), ("by_id", by_id), ("matbench", matbench)):
        path = folder / f"{name}.json.gz"
        path.write_bytes(gzip.compress(json.dumps(value).encode()))
        yield path


def entries(path: Path) -> list[Entry]:
    return list(open_source(path).entries())


def skips(path: Path) -> list[SkippedCrystal]:
    return [entry for entry in entries(path) if isinstance(entry, SkippedCrystal)]


def test_every_kind_of_source_gives_the_same_crystals(tmp_path: Path) -> None:
    num_sources = 0
    for source in sources(tmp_path):
        num_sources += 1
        found = dict(iter_usable(source, to_crystal))
        assert sorted(found) == ["iron", "salt"], source
        for name, crystal in found.items():
            assert isinstance(crystal, Crystal), (source, crystal)
            assert sorted(crystal.atomic_numbers.tolist()) == sorted(CRYSTALS[name].atomic_numbers), source
            assert abs(CRYSTALS[name].volume - _volume(crystal)) < 1e-3, source
    assert num_sources == 14


def _volume(crystal: Crystal) -> float:
    return float(abs(np.linalg.det(crystal.lattice)))


def test_progress_reaches_one(tmp_path: Path) -> None:
    for path in sources(tmp_path):
        source = open_source(path)
        seen = [source.progress() for _ in source.entries()]
        assert seen == sorted(seen), path
        assert 0.0 <= seen[0] <= source.progress() <= 1.0, path


@pytest.mark.parametrize(
    ("name", "material_id", "format"),
    [
        ("mp-1.cif", "mp-1", "cif"),
        ("a/b/mp-1.CIF.gz", "mp-1", "cif"),
        ("v1.2.cif", "v1.2", "cif"),
        ("mp-1.vasp", "mp-1", "poscar"),
        ("mp-1/POSCAR", "mp-1", "poscar"),
        ("mp-1/CONTCAR.gz", "mp-1", "poscar"),
        ("POSCAR", "POSCAR", "poscar"),
        ("POSCAR.mp-1", "mp-1", "poscar"),
        ("POSCAR_mp-1", "mp-1", "poscar"),
        ("run/POSCAR.vasp", "run", "poscar"),
        ("mp-1.json", "mp-1", "json"),
        ("mp-1.cif.bz2", "mp-1", "cif"),
        ("mp-1.json.xz", "mp-1", "json"),
        ("POSCAR-JVASP-10.vasp", "JVASP-10", "poscar"),
        ("POSCAR-JVASP-10.vasp.gz", "JVASP-10", "poscar"),
        ("POSCAR.x.cif", "x", "cif"),
        ("POSCAR_v1.2", "v1.2", "poscar"),
        ("mp-1.xyz", "mp-1.xyz", None),
        ("POSCAR.zip", "zip", None),
    ],
)
def test_a_file_name_tells_id_and_format(name: str, material_id: str, format: str | None) -> None:
    assert (file_id(name), name_format(name)) == (material_id, format)


def test_members_of_an_archive_are_read_but_nothing_is_unpacked(tmp_path: Path) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    with tarfile.open(folder / "evil.tar.gz", "w:gz") as archive:
        add_member(archive, "../../outside.cif", text(IRON, "cif").encode())
        add_member(archive, "/etc/absolute.cif", text(IRON, "cif").encode())
        add_member(archive, "link.cif", type=tarfile.SYMTYPE, linkname="/etc/passwd")
        add_member(archive, "hard.cif", type=tarfile.LNKTYPE, linkname="../../outside.cif")
        add_member(archive, "device.cif", type=tarfile.CHRTYPE)
        add_member(archive, "folder.cif", type=tarfile.DIRTYPE)
        add_member(archive, "inner.tar.gz", b"\x1f\x8b")
        add_member(archive, ".DS_Store", b"Mac")
        add_member(archive, "__MACOSX/._iron.cif", b"Mac")
    found = entries(folder / "evil.tar.gz")
    good = [entry.material_id for entry in found if isinstance(entry, RawCrystal)]
    bad = {entry.where: entry.reason for entry in found if isinstance(entry, SkippedCrystal)}
    assert good == ["outside", "absolute"]
    assert bad == dict.fromkeys(["link.cif", "hard.cif", "device.cif", "inner.tar.gz"], Reason.NOT_A_STRUCTURE)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["evil.tar.gz", "here"]


@pytest.mark.parametrize("suffix", ["tar.gz", "tar.bz2", "tar.xz"])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.95, 0.999])
def test_an_archive_that_was_cut_is_an_error(tmp_path: Path, suffix: str, share: float) -> None:
    files = {f"{i}.cif": text(IRON, "cif") + f"# {i**9}" for i in range(200)}
    path = write_tar(tmp_path / f"whole.{suffix}", files)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(SourceError, match="must be a complete tar archive"):
        entries(path)


@pytest.mark.parametrize("content", [b"", b"\x1f\x8b", b"junk" * 400, gzip.compress(b"not a tar" * 100, mtime=0)])
def test_an_archive_that_is_none_is_an_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "what.tar.gz"
    path.write_bytes(content)
    with pytest.raises(SourceError, match="must be a complete tar archive, but after 0 members"):
        entries(path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("numbers.csv", "material_id,gap\na,1\nb,2\n", "must have a column with CIF, POSCAR or pymatgen JSON"),
        ("empty.csv", "", "must begin with a header"),
        ("header.csv", "material_id,cif\n", "must have a column with CIF"),
        ("twice.csv", "material_id,gap,gap,cif\na,1,2,x\n", r"distinct names, got \['gap'\]"),
        ("lonely.csv", 'cif\n"' + text(IRON, "cif").replace('"', '""') + '"\n', "must have an id column"),
        ("cut.csv.gz", gzip.compress(TABLE.encode(), mtime=0)[:-30], "cannot be read to its end"),
        ("what.json", "{", "not JSON"),
        ("other.json", '{"a": 1}', "holds no structure"),
        ("cut.json.gz", gzip.compress(b"[]", mtime=0)[:-9], "cannot be read to its end"),
        ("what.doc", "", "rename the file"),
        ("nowhere/", None, "must be a file or a folder, but there is none"),
    ],
)
def test_a_source_that_cannot_be_used_is_an_error(
    tmp_path: Path, name: str, content: str | bytes | None, message: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(SourceError, match=message):
        entries(path)


def test_the_structure_column_is_found_by_content_among_others(tmp_path: Path) -> None:
    rows = [[f"x{i}", "data_ is here", "{}", text(IRON, "cif"), i] for i in range(3)]
    source = open_source(write_csv(tmp_path / "t.csv", [["id", "cif", "json", "misleading name", "n"], *rows]))
    assert [entry.material_id for entry in source.entries()] == ["x0", "x1", "x2"]
    assert source.targets.columns() == {"n": {"x0": 0.0, "x1": 1.0, "x2": 2.0}}


def test_each_bad_row_of_a_table_is_skipped_with_its_reason(tmp_path: Path) -> None:
    rows: list[list[Any]] = [
        ["material_id", "cif", "gap"],
        ["good", text(IRON, "cif"), 1],
        ["", text(IRON, "cif"), 1],
        ["x" * 501, text(IRON, "cif"), 1],
        ["bell\a", text(IRON, "cif"), 1],
        ["with space / and slash", text(IRON, "cif"), 1],
        ["short row", text(IRON, "cif")],
        ["empty cell", "", 1],
    ]
    found = dict(iter_usable(write_csv(tmp_path / "t.csv", rows), to_crystal))
    reasons = {name[:10]: found[name].reason for name in found if isinstance(found[name], SkippedCrystal)}  # type: ignore[union-attr]
    assert [name for name in found if isinstance(found[name], Crystal)] == ["good", "with space / and slash"]
    assert reasons == {
        "": Reason.BAD_ID,
        "x" * 10: Reason.BAD_ID,
        "bell": Reason.BAD_ID,
        "short row": Reason.UNPARSABLE,
        "empty cell": Reason.EMPTY_FILE,
    }


def test_ids_in_decomposed_unicode_are_the_composed_ones(tmp_path: Path) -> None:
    rows = [["material_id", "cif"], ["Cafe\u0301", text(IRON, "cif")]]
    assert [name for name, _ in iter_usable(write_csv(tmp_path / "t.csv", rows), to_crystal)] == ["Caf\u00e9"]


def test_a_json_list_without_ids_counts_them(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps([IRON.as_dict(), {"material_id": "salt", "structure": NACL.as_dict()}, 7, None]))
    found = dict(iter_usable(path, to_crystal))
    assert list(found) == ["mine-0", "salt", "mine-2", "mine-3"]
    assert [entry.reason for entry in skips(path)] == [Reason.NOT_A_STRUCTURE] * 2


def targets_of(source: Source) -> tuple[list[str], dict[str, dict[str, float]]]:
    """The ids of a source's crystals, and the targets of the files of targets in it."""
    ids = [entry.material_id for entry in source.entries()]
    table = TargetTable()
    for file in source.target_files:
        file.match(CrystalIds(ids), table)
    return ids, table.columns()


def test_cgcnn_layout_brings_its_targets(tmp_path: Path) -> None:
    for name in CRYSTALS:
        (tmp_path / f"{name}.cif").write_text(text(CRYSTALS[name], "cif"))
    (tmp_path / "atom_init.json").write_text('{"1": [0]}')
    (tmp_path / "id_prop.csv").write_text("salt,5.0,1\niron,0,2\n")
    ids, columns = targets_of(open_source(tmp_path, target_names=["gap", "rank [1]"]))
    assert ids == ["iron", "salt"]
    assert columns == {"gap": {"salt": 5.0, "iron": 0.0}, "rank": {"salt": 1.0, "iron": 2.0}}
    archive = write_tar(tmp_path / "a.tar", {"d/iron.cif": text(IRON, "cif"), "d/id_prop.csv": "iron,7\n"})
    assert targets_of(open_source(archive)) == (["iron"], {"target": {"iron": 7.0}})


def test_an_id_prop_in_a_subfolder_counts(tmp_path: Path) -> None:
    for name, structure in CRYSTALS.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.cif").write_text(text(structure, "cif"))
        (tmp_path / name / "id_prop.csv").write_text(f"{name}.cif,5.0\n")
    assert targets_of(open_source(tmp_path))[1] == {"target": {"iron": 5.0, "salt": 5.0}}


@pytest.mark.parametrize("suffix", ["gz", "bz2", "xz"])
def test_single_files_and_tables_may_be_compressed(tmp_path: Path, suffix: str) -> None:
    compressors: dict[str, Callable[[bytes], bytes]] = {
        "gz": gzip.compress,
        "bz2": bz2.compress,
        "xz": lzma.compress,
    }
    compress = compressors[suffix]
    rows = io.StringIO()
    csv.writer(rows).writerows([["id", "cif"], *([name, text(item, "cif")] for name, item in CRYSTALS.items())])
    listed = json.dumps({name: item.as_dict() for name, item in CRYSTALS.items()})
    (tmp_path / "folder").mkdir()
    contents = {"table.csv": rows.getvalue(), "list.json": listed, "folder/salt.cif": text(NACL, "cif")}
    for name, content in contents.items():
        (tmp_path / f"{name}.{suffix}").write_bytes(compress(content.encode()))
    for name in ("table.csv", "list.json"):
        assert {
            key for key, found in iter_usable(tmp_path / f"{name}.{suffix}", to_crystal) if isinstance(found, Crystal)
        } == {
            "salt",
            "iron",
        }
    for source in (tmp_path / "folder", tmp_path / f"folder/salt.cif.{suffix}"):
        (found,) = iter_usable(source, to_crystal)
        assert found[0] == "salt"
        assert isinstance(found[1], Crystal)
    damaged = tmp_path / f"folder/salt.cif.{suffix}"
    damaged.write_bytes(damaged.read_bytes()[:-9])
    (found,) = iter_usable(tmp_path / "folder", to_crystal)
    assert isinstance(found[1], SkippedCrystal)
    assert "stream is damaged" in found[1].message


FOREIGN: dict[str, tuple[str, bytes, str]] = {
    "xyz": ("a.xyz", b"1\n\nFe 0 0 0\n", "an XYZ file: .*ase convert a.xyz a.cif"),
    "extxyz": ("a.extxyz", b"", "an extended XYZ file"),
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


@pytest.mark.parametrize(
    "value",
    [
        [{"id": "a", "final_structure": IRON.as_dict(), "structure_initial": NACL.as_dict()}],
        {"id": "a", "final_structure": IRON.as_dict()},
        {"a": {"final_structure": IRON.as_dict()}},
        {"columns": ["id", "final_structure"], "index": ["a"], "data": [["a", IRON.as_dict()]]},
    ],
)
def test_structures_have_several_names_in_json(tmp_path: Path, value: object) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(value))
    ((name, crystal),) = iter_usable(path, to_crystal)
    assert name == "a"
    assert isinstance(crystal, Crystal)
    assert set(crystal.atomic_numbers.tolist()) == {26}


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-16", "cp1252"])
def test_the_encoding_of_a_structure_is_told_by_its_content(encoding: str) -> None:
    content = "# a dash \u2013 here\n" + text(IRON, "cif")
    assert decode(content.encode(encoding)).removeprefix("\ufeff") == content
    assert len(parse_crystal(content.encode(encoding), "cif").atomic_numbers) == 2


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_a_compressed_file_may_be_named_as_if_it_were_not(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    content = compress(text(IRON, "cif").encode())
    (tmp_path / "a.cif").write_bytes(content)
    (tmp_path / "b.cif").write_bytes(content[:-9])
    found = dict(iter_usable(tmp_path, to_crystal))
    assert isinstance(found["a"], Crystal)
    assert isinstance(found["b"], SkippedCrystal)
    assert "stream is damaged" in found["b"].message


LATTICE = {"a": 3, "b": 3, "c": 4, "alpha": 90, "beta": 90, "gamma": 120}
SITE = {"species": [{"element": "Fe", "occu": 1}], "abc": [0, 0, 0]}
SHARED = [{"element": "Fe2+", "occu": 0.5}, {"element": "Fe3+", "occu": 0.5}]


def test_a_structure_in_json_may_have_lengths_and_angles_and_charges() -> None:
    crystal = parse_crystal(json.dumps({"lattice": LATTICE, "sites": [{**SITE, "species": SHARED}]}).encode(), "json")
    assert crystal.atomic_numbers.tolist() == [26]
    assert abs(_volume(crystal) - 36 * 0.75**0.5) < 1e-9


@pytest.mark.parametrize(
    ("change", "reason", "message"),
    [
        ({"lattice": {**LATTICE, "beta": None}}, Reason.NO_LATTICE, "or a, b, c, alpha, beta, gamma; no beta"),
        ({"lattice": None}, Reason.NO_LATTICE, "a molecule?"),
        ({"sites": [{"abc": [0, 0, 0]}]}, Reason.UNKNOWN_ELEMENT, "site 0 must have a list 'species'"),
        ({"sites": [{"label": "Fe7", "abc": [0, 0, 0]}]}, Reason.UNKNOWN_ELEMENT, "site Fe7 must have"),
        ({"sites": ["Fe"]}, Reason.UNPARSABLE, "site 0 must be an object, got str"),
        ({"sites": [{**SITE, "species": [{"occu": 1}]}]}, Reason.UNKNOWN_ELEMENT, "must each have an 'element'"),
        ({"sites": [{"species": SITE["species"]}]}, Reason.BAD_COORDINATES, "must have 'abc' or 'xyz'"),
        ({"sites": [{**SITE, "species": SHARED[:1]}]}, Reason.DISORDERED, "shared or partly empty"),
        ({"sites": [{**SITE, "species": [SHARED[0], {"element": "Co", "occu": 0.5}]}]}, Reason.DISORDERED, "shared"),
    ],
)
def test_what_a_structure_in_json_lacks_is_named(change: dict[str, Any], reason: Reason, message: str) -> None:
    with pytest.raises(Unusable) as caught:
        parse_crystal(json.dumps({"lattice": LATTICE, "sites": [SITE]} | change).encode(), "json")
    assert caught.value.reason == reason
    assert message in caught.value.message


def test_json_lines_are_named(tmp_path: Path) -> None:
    path = tmp_path / "lines.json"
    path.write_text(text(IRON, "json") + "\n" + text(NACL, "json") + "\n")
    with pytest.raises(SourceError, match="it is JSON Lines"):
        entries(path)


@pytest.mark.parametrize(
    ("entry", "material_id"),
    [
        ({"entry_id": "mp-1-GGA", "data": {"material_id": "mp-1", "task_id": "mp-9"}}, "mp-1"),
        ({"entry_id": "mp-1-GGA", "data": {"task_id": "mp-9"}}, "mp-1-GGA"),
        ({"entry_id": "mp-1-GGA", "data": {}}, "mp-1-GGA"),
        ({"entry_id": None, "data": {"material_id": "mp-1"}}, "mp-1"),
        ({"entry_id": 7}, "7"),
        ({"id": "x", "properties": {"material_id": "mp-1"}}, "mp-1"),
        ({"task_id": "mp-9", "properties": {"id": "x"}}, "mp-9"),
        ({"material_id": "mp-1", "data": {"material_id": "mp-2"}}, "mp-1"),
        ({"data": {"oxide_type": "None"}}, "mine-0"),
    ],
)
def test_an_entry_keeps_its_id(tmp_path: Path, entry: dict[str, Any], material_id: str) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps([{**entry, "structure": IRON.as_dict()}]))
    assert [name for name, _ in iter_usable(path, to_crystal)] == [material_id]


def test_one_document_and_documents_by_their_count_keep_their_ids(tmp_path: Path) -> None:
    document = {"material_id": "mp-1", "structure": IRON.as_dict(), "gap": 2.0, "is_metal": True, "name": "iron"}
    path = tmp_path / "mine.json"
    for value in (document, {"0": document}, [document], {"data": [document], "meta": {"total": 1}}):
        path.write_text(json.dumps(value))
        source = open_source(path)
        assert [entry.material_id for entry in source.entries()] == ["mp-1"]
        assert source.targets.columns() == {"gap": {"mp-1": 2.0}}
        assert source.targets.left_out() == {
            "is_metal": "true/false, no numbers",
            "name": "text, no numbers, such as 'iron'",
        }


def test_a_table_says_which_columns_it_leaves_out(tmp_path: Path) -> None:
    rows = [[i, f"x{i}", text(IRON, "cif"), "train", "True", i] for i in range(3)]
    header = ["Unnamed: 0", "jid", "structure", "split", "is_metal", "n"]
    source = open_source(write_csv(tmp_path / "t.csv", [header, *rows]))
    assert [entry.material_id for entry in source.entries()] == ["x0", "x1", "x2"]
    assert source.targets.columns() == {"n": {"x0": 0.0, "x1": 1.0, "x2": 2.0}}
    assert list(source.targets.left_out()) == ["Unnamed: 0", "split", "is_metal"]


NACL_CIF, IRON_CIF = text(NACL, "cif"), text(IRON, "cif")


@pytest.mark.parametrize(
    ("rows", "ids", "columns", "remark"),
    [
        ([["cif", "gap"], [NACL_CIF, 0.5], [IRON_CIF, 0.5]], ["t-0", "t-1"], {"gap": [0.5, 0.5]}, "count its rows"),
        ([["cif", "gap"], [NACL_CIF, 0.5], [IRON_CIF, 1.5]], ["t-0", "t-1"], {"gap": [0.5, 1.5]}, "count its rows"),
        ([["cif", "n"], [NACL_CIF, 7], [IRON_CIF, 7]], ["t-0", "t-1"], {"n": [7, 7]}, "count its rows"),
        ([["number", "cif", "n"], [17, NACL_CIF, 7], [3, IRON_CIF, 7]], ["17", "3"], {"n": [7, 7]}, ""),
        ([["", "name", "cif", "n"], [0, "x", NACL_CIF, 7], [1, "y", IRON_CIF, 8]], ["x", "y"], {"n": [7, 8]}, "'name'"),
        ([["", "name", "cif", "n"], [4, "x", NACL_CIF, 7], [9, "y", IRON_CIF, 8]], ["x", "y"], {"n": [7, 8]}, "'name'"),
        ([["", "cif", "n"], [0, NACL_CIF, 7.5], [1, IRON_CIF, 8]], ["t-0", "t-1"], {"n": [7.5, 8]}, "count its rows"),
        ([["n", "name", "cif"], [1.5, "x", NACL_CIF], [2, "y", IRON_CIF]], ["x", "y"], {"n": [1.5, 2]}, "'name'"),
        ([["Unnamed: 0", "id", "cif"], [5, "x", NACL_CIF], [3, "y", IRON_CIF]], ["x", "y"], {}, ""),
        ([["", "cif"], [0, NACL_CIF], [1, IRON_CIF]], ["0", "1"], {}, ""),
        (
            [["x", NACL_CIF, 1], ["y", IRON_CIF, 2]],
            ["x", "y"],
            {"target": [1, 2]},
            "without header, its columns as target",
        ),
        ([["x", NACL_CIF], ["y", IRON_CIF]], ["x", "y"], {}, "without header"),
        ([[1, "x", NACL_CIF, 5], [2, "y", IRON_CIF, 6]], ["x", "y"], {"target": [5, 6]}, "ids of column 2"),
        ([[text(NACL, "poscar"), "x"], [text(IRON, "poscar"), "y"]], ["x", "y"], {}, "without header"),
        ([["# mine"], ["id", "cif", "n"], ["x", NACL_CIF, 1], ["y", IRON_CIF, 2]], ["x", "y"], {"n": [1, 2]}, ""),
        ([["id", "cif", "n"], ["x", NACL_CIF, 1], ["x", IRON_CIF, ""]], ["x", "x"], {"n": [1]}, ""),
    ],
)
def test_ids_of_a_table_are_no_targets_and_no_crystal_is_a_header(
    tmp_path: Path, rows: list[list[Any]], ids: list[str], columns: dict[str, list[float]], remark: str
) -> None:
    source = open_source(write_csv(tmp_path / "t.csv", rows))
    found = list(source.entries())
    assert [entry.material_id for entry in found] == ids
    assert all(isinstance(entry, RawCrystal) for entry in found)
    assert {name: list(values.values()) for name, values in source.targets.columns().items()} == columns
    assert remark in " ".join(source.targets.remarks)
    assert bool(remark) == bool(source.targets.remarks)


def test_the_index_of_a_pandas_table_in_json_is_no_target(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    structures = [IRON.as_dict(), NACL.as_dict()]
    for labels, ids in (([5, 9], ["t-0", "t-1"]), (["x", "y"], ["x", "y"])):
        rows = [{"index": label, "structure": item, "n": 3} for label, item in zip(labels, structures, strict=True)]
        path.write_text(json.dumps({"schema": {"primaryKey": ["index"]}, "data": rows}))
        source = open_source(path)
        assert [entry.material_id for entry in source.entries()] == ids
        assert list(source.targets.columns()) == ["n"]


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


def test_a_table_of_structures_may_be_utf_16_with_tabs(tmp_path: Path) -> None:
    rows = io.StringIO()
    csv.writer(rows, delimiter="\t").writerows([["id", "cif", "n"], ["a", text(IRON, "cif"), 3]])
    (tmp_path / "t.tsv").write_bytes(rows.getvalue().encode("utf-16"))
    source = open_source(tmp_path / "t.tsv")
    assert [entry.material_id for entry in source.entries()] == ["a"]
    assert source.targets.columns() == {"n": {"a": 3.0}}


def test_another_crystal_of_the_same_id_is_told_from_a_second_text_of_one(tmp_path: Path) -> None:
    files = {
        "x/relax/CONTCAR": text(NACL, "poscar"),
        "x/relax/POSCAR": text(IRON, "poscar"),
        "y/relax/CONTCAR": text(IRON, "poscar"),
        "y/relax/POSCAR": "",
        "z/relax/CONTCAR": text(NACL, "poscar"),
    }
    for name, content in files.items():
        (tmp_path / "f" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "f" / name).write_text(content)
    for source in (tmp_path / "f", write_tar(tmp_path / "f.tar", files)):
        notes = {item.where: item for _, item in iter_usable(source, to_crystal) if isinstance(item, SkippedCrystal)}
        assert {where: note.reason for where, note in notes.items()} == {
            "x/relax/POSCAR": Reason.DUPLICATE_ID,
            "y/relax/CONTCAR": Reason.ID_TAKEN,
            "y/relax/POSCAR": Reason.ID_TAKEN,
            "z/relax/CONTCAR": Reason.DUPLICATE_ID,
        }
        assert "rename the file or its folder" in notes["y/relax/CONTCAR"].message
    rows = [["id", "cif"], ["a", NACL_CIF], ["a", IRON_CIF], ["a", NACL_CIF]]
    table = write_csv(tmp_path / "t.csv", rows)
    reasons = [
        (item.reason, item.message) for _, item in iter_usable(table, to_crystal) if isinstance(item, SkippedCrystal)
    ]
    assert [reason for reason, _ in reasons] == [Reason.ID_TAKEN, Reason.DUPLICATE_ID]
    assert reasons[0][1].endswith("give each row an id of its own")


def test_the_first_usable_structure_of_an_id_counts_in_predictions(tmp_path: Path) -> None:
    for folder, contcar in (("a", ""), ("b", text(IRON, "poscar")), ("c", "")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "CONTCAR").write_text(contcar)
        (tmp_path / folder / "POSCAR").write_text(text(NACL, "poscar") if folder != "c" else "")
    found = list(iter_usable(tmp_path, to_crystal))
    crystals = {name: len(item.atomic_numbers) for name, item in found if isinstance(item, Crystal)}
    assert crystals == {"a": 8, "b": 2}
    notes = [(name, item.reason, item.where, item.message) for name, item in found if isinstance(item, SkippedCrystal)]
    assert notes == [
        ("b", Reason.DUPLICATE_ID, "b/POSCAR", "the id is that of b/CONTCAR too; that one counts"),
        ("a", Reason.DUPLICATE_ID, "a/CONTCAR", "the file has no content; a/POSCAR has the same id and counts"),
        ("c", Reason.EMPTY_FILE, "c/CONTCAR", "the file has no content"),
        ("c", Reason.DUPLICATE_ID, "c/POSCAR", notes[-1][3]),
    ]
