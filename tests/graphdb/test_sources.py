"""Every kind of source gives the same crystals, and each broken one says what is wrong."""

import bz2
import csv
import gzip
import io
import json
import lzma
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from graphdb.crystal import Crystal
from graphdb.errors import Reason, SkippedCrystal, SourceError
from graphdb.rawcrystal import RawCrystal
from graphdb.sources import open_source
from tests.graphdb.sourcefiles import (
    CRYSTALS,
    IRON,
    NACL,
    add_member,
    entries,
    read_usable,
    sources,
    targets_of,
    text,
    volume,
    write_tar,
)

NOTHING_IN = ("", ".csv", ".json", ".tar.gz", ".lmdb", ".zip")
"""Ends of names of files that are empty."""
TABLE = "material_id,structure\n" + "".join(f"{i},_cell_length_a {i}\n" for i in range(9999))


def test_every_kind_of_source_gives_the_same_crystals(tmp_path: Path) -> None:
    num_sources = 0
    for source in sources(tmp_path):
        num_sources += 1
        found = dict(read_usable(source))
        assert sorted(found) == ["iron", "salt"], source
        for name, crystal in found.items():
            assert isinstance(crystal, Crystal), (source, crystal)
            assert sorted(crystal.atomic_numbers.tolist()) == sorted(CRYSTALS[name].atomic_numbers), source
            assert abs(CRYSTALS[name].volume - volume(crystal)) < 1e-3, source
    assert num_sources == 14


def test_progress_reaches_one(tmp_path: Path) -> None:
    for path in sources(tmp_path):
        source = open_source(path)
        seen = [source.progress() for _ in source.entries()]
        assert seen == sorted(seen), path
        assert 0.0 <= seen[0] <= source.progress() <= 1.0, path


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


@pytest.mark.parametrize("content", [b"\x1f\x8b", b"junk" * 400, gzip.compress(b"not a tar" * 100, mtime=0)])
def test_an_archive_that_is_none_is_an_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "what.tar.gz"
    path.write_bytes(content)
    with pytest.raises(SourceError, match="must be a complete tar archive, but after 0 members"):
        entries(path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("numbers.csv", "material_id,gap\na,1\nb,2\n", "must have a column with CIF, POSCAR or pymatgen JSON"),
        *((f"empty{suffix}", "", "must hold crystals, but it is empty") for suffix in NOTHING_IN),
        ("blank.csv", " \n", "must begin with a header"),
        ("header.csv", "material_id,cif\n", "must have a column with CIF"),
        ("twice.csv", "material_id,gap,gap,cif\na,1,2,x\n", r"distinct names, got \['gap'\]"),
        ("lonely.csv", 'cif\n"' + text(IRON, "cif").replace('"', '""') + '"\n', "must have an id column"),
        ("cut.csv.gz", gzip.compress(TABLE.encode(), mtime=0)[:-30], "cannot be read to its end"),
        ("what.json", "{", "not JSON"),
        ("other.json", '{"a": 1}', "holds no structure"),
        ("cut.json.gz", gzip.compress(b"[]", mtime=0)[:-9], "cannot be read to its end"),
        ("what.doc", "text", "rename the file"),
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


def test_a_pipe_is_said_to_be_one(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.cif")
    with pytest.raises(SourceError, match="but it is a pipe or a device; save what comes from it"):
        entries(tmp_path / "a.cif")


@pytest.mark.parametrize("suffix", NOTHING_IN)
def test_an_empty_file_of_a_folder_is_said_to_be_empty(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"f{suffix}").write_text("")
    ((_, skip),) = read_usable(tmp_path)
    assert isinstance(skip, SkippedCrystal)
    assert skip.message in ("it is empty", "the file has no content")


@pytest.mark.parametrize(
    ("name", "material_id"), [("POSCAR", "mp-1"), ("CONTCAR.gz", "mp-1"), ("POSCAR.vasp", "mp-1"), ("POSCAR_x", "x")]
)
def test_a_bare_poscar_given_by_itself_is_named_by_its_folder_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, material_id: str
) -> None:
    (tmp_path / "mp-1" / "deep").mkdir(parents=True)
    (tmp_path / "mp-1" / name).write_text(text(IRON, "poscar"))
    monkeypatch.chdir(tmp_path)
    for path in (tmp_path / "mp-1" / name, Path("mp-1") / name):
        assert [found for found, _ in read_usable(path)] == [material_id]
    monkeypatch.chdir(tmp_path / "mp-1" / "deep")
    assert [found for found, _ in read_usable(Path("..") / name)] != [".."]


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
        assert {key for key, found in read_usable(tmp_path / f"{name}.{suffix}") if isinstance(found, Crystal)} == {
            "salt",
            "iron",
        }
    for source in (tmp_path / "folder", tmp_path / f"folder/salt.cif.{suffix}"):
        (found,) = read_usable(source)
        assert found[0] == "salt"
        assert isinstance(found[1], Crystal)
    damaged = tmp_path / f"folder/salt.cif.{suffix}"
    damaged.write_bytes(damaged.read_bytes()[:-9])
    (found,) = read_usable(tmp_path / "folder")
    assert isinstance(found[1], SkippedCrystal)
    assert "stream is damaged" in found[1].message


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_a_compressed_file_may_be_named_as_if_it_were_not(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    content = compress(text(IRON, "cif").encode())
    (tmp_path / "a.cif").write_bytes(content)
    (tmp_path / "b.cif").write_bytes(content[:-9])
    found = dict(read_usable(tmp_path))
    assert isinstance(found["a"], Crystal)
    assert isinstance(found["b"], SkippedCrystal)
    assert "stream is damaged" in found["b"].message
