"""Mistakes with ``crystune build`` and ``crystune info``."""

import json
import shutil
import tarfile
from pathlib import Path

import pytest

from tests.mistakes.stage import Mistake, check, cut, flip_byte, ids, write


def _truncated_archive() -> None:
    with tarfile.open("cifs.tar.gz", "w:gz") as archive:
        archive.add("cifs")
    cut("cifs.tar.gz", 0.7)


def _unfinished_build() -> None:
    shutil.copy("cifs.lmdb", "half.lmdb.partial")


def _bad_cif() -> None:
    write("cifs/bad.cif", "data_x\n_cell_length_a what\n")


def _json_of(content: object) -> None:
    write("source.json", json.dumps(content))


SKIPPED = ("new.lmdb.skipped.csv", "new.lmdb.partial")

BUILD = [
    Mistake(what="build of nothing", typed="build", says="required: SOURCE, STORE", do="build --help"),
    Mistake(what="build without a store", typed="build cifs", says="required: STORE", do="build --help"),
    Mistake(
        what="build of a source that is not there",
        typed="build cif new.lmdb",
        says="cif must be a file or a",
        do="none",
    ),
    Mistake(what="build into a folder", typed="build cifs thesis", says="thesis is a folder", do="give a name in it"),
    Mistake(
        what="build into a folder that is not there",
        typed="build cifs stores/new.lmdb",
        says="stores",
        do="make it first",
    ),
    Mistake(
        what="build onto a file of the user",
        typed="build cifs notes.txt",
        says="notes.txt",
        do="another STORE",
    ),
    Mistake(
        what="build onto a crystal",
        typed="build cifs cifs/NbCoSn.cif",
        says="NbCoSn.cif",
        do="another STORE",
    ),
    Mistake(
        what="build of an empty folder",
        first=lambda: Path("empty").mkdir(),
        typed="build empty new.lmdb",
        says="SOURCE must hold at least one usable crystal, empty holds none",
        do="no file of crystals in it",
        may_make=SKIPPED,
    ),
    Mistake(
        what="build of a folder of other files",
        typed="build thesis new.lmdb",
        says="thesis holds none",
        do="new.lmdb.skipped.csv",
        may_make=SKIPPED,
    ),
    Mistake(
        what="build of a text file",
        typed="build notes.txt new.lmdb",
        says="notes.txt",
        do="must be a CIF or POSCAR file",
        may_make=SKIPPED,
    ),
    Mistake(
        what="build with no process",
        typed="build cifs new.lmdb --workers 0",
        says="--workers",
        do="1",
    ),
    Mistake(what="build with many", typed="build cifs new.lmdb --workers many", says="'many'", do="build --help"),
    Mistake(
        what="build with a negative cutoff",
        typed="build cifs new.lmdb --cutoff -1",
        says="cutoff",
        do="must be in 1 to 50 Å",
    ),
    Mistake(
        what="build with a cutoff in words",
        typed="build cifs new.lmdb --cutoff five",
        says="'five'",
        do="build --help",
    ),
    Mistake(
        what="build without neighbors",
        typed="build cifs new.lmdb --num-neighbors 0",
        says="num_neighbors",
        do="CGCNN uses 12",
    ),
    Mistake(
        what="build with a misspelt rule",
        typed="build cifs new.lmdb --neighbors shel",
        says="got 'shel'",
        do="did you mean 'shell'?",
    ),
    Mistake(
        what="build with a misspelt option",
        typed="build cifs new.lmdb --overwirte",
        says="no option --overwirte",
        do="did you mean '--overwrite'?",
    ),
    Mistake(
        what="build of two sources", typed="build cifs thesis new.lmdb", says="one argument too many", do="build --help"
    ),
    Mistake(
        what="build with targets that are not there",
        typed="build cifs new.lmdb --targets target.csv",
        says="target.csv",
        do="--targets must name a CSV file",
    ),
    Mistake(what="build with a folder as targets", typed="build cifs new.lmdb --targets cifs", says="cifs", do="CSV"),
    Mistake(
        what="build with targets of other crystals",
        first=lambda: write("other.csv", "material_id,band_gap\nmp-1,1\nmp-2,2\n"),
        typed="build cifs new.lmdb --targets other.csv",
        says="NbCoSn",
        do="mp-1",
        may_make=SKIPPED,
        notes=1,
    ),
    Mistake(
        what="build with an empty targets file",
        first=lambda: write("empty.csv", ""),
        typed="build cifs new.lmdb --targets empty.csv",
        says="empty.csv",
        do="header",
    ),
    Mistake(
        what="build with targets that have ids only",
        first=lambda: write("ids.csv", "material_id\nNbCoSn\n"),
        typed="build cifs new.lmdb --targets ids.csv",
        says="ids.csv",
        do="at least one target column",
    ),
    Mistake(
        what="build with two columns of one name",
        first=lambda: write("twice.csv", "material_id,a,a\nNbCoSn,1,2\n"),
        typed="build cifs new.lmdb --targets twice.csv",
        says="'a'",
        do="rename",
    ),
    Mistake(
        what="build with an Excel workbook",
        first=lambda: write("targets.xlsx", b"PK\x03\x04[Content_Types].xml xl/workbook.xml"),
        typed="build cifs new.lmdb --targets targets.xlsx",
        says="Excel",
        do="CSV",
    ),
    Mistake(
        what="build with an image as targets",
        first=lambda: write("targets.csv", b"\x89PNG\r\n\x1a\n" + bytes(range(256))),
        typed="build cifs new.lmdb --targets targets.csv",
        says="targets.csv",
        do="CSV",
    ),
    Mistake(
        what="strict build with a bad crystal",
        first=_bad_cif,
        typed="build cifs new.lmdb --strict",
        says="1",
        do="new.lmdb.skipped.csv lists why",
        may_make=SKIPPED,
        notes=1,
    ),
    Mistake(
        what="build with another cutoff onto a store",
        typed="build cifs cifs.lmdb --cutoff 5",
        says="cutoff",
        do="--overwrite",
    ),
    Mistake(
        what="build onto the store of other crystals",
        typed="build cifs my.lmdb",
        says="64 crystals that SOURCE lacks",
        do="give another STORE",
        may_make=("my.lmdb.partial",),
        notes=1,
    ),
    Mistake(what="build of a store", typed="build my.lmdb new.lmdb", says="my.lmdb", do="store", may_make=SKIPPED),
    Mistake(
        what="build of a zip archive",
        first=lambda: write("cifs.zip", b"PK\x03\x04"),
        typed="build cifs.zip new.lmdb",
        says="zip",
        do="unpack",
    ),
    Mistake(
        what="build of half an archive",
        first=_truncated_archive,
        typed="build cifs.tar.gz new.lmdb",
        says="must be a complete tar archive",
        do="copy or download it again",
        may_make=SKIPPED,
        notes=2,
    ),
    Mistake(
        what="build of a table without crystals",
        typed="build targets.csv new.lmdb",
        says="targets.csv",
        do="--targets",
        may_make=SKIPPED,
    ),
    Mistake(
        what="build of broken JSON",
        first=lambda: write("source.json", '{"lattice": '),
        typed="build source.json new.lmdb",
        says="source.json",
        do="is the file complete?",
        may_make=SKIPPED,
    ),
    Mistake(
        what="build of JSON without crystals",
        first=lambda: _json_of({"answer": 42}),
        typed="build source.json new.lmdb",
        says="source.json",
        do="structure",
        may_make=SKIPPED,
    ),
    Mistake(
        what="build of a pickle",
        first=lambda: write("data.pkl", b"\x80\x04N."),
        typed="build data.pkl new.lmdb",
        says="data.pkl",
        do="CIF",
    ),
    Mistake(
        what="build with names for columns that are not there",
        first=lambda: write("cifs/id_prop.csv", "NbCoSn,1\nNbFeSb,2\nScNiSb,3\n"),
        typed="build cifs new.lmdb --target-names a,b",
        says="1 target column,",
        do="give one name for each",
        notes=1,
        may_make=SKIPPED,
    ),
    Mistake(
        what="build onto a damaged store",
        first=lambda: cut("cifs.lmdb", 0.2),
        typed="build cifs cifs.lmdb",
        says="cifs.lmdb",
        do="--overwrite",
        may_make=("cifs.lmdb.partial",),
    ),
]

INFO = [
    Mistake(what="info of nothing", typed="info", says="required: STORE", do="info --help"),
    Mistake(what="info of a store that is not there", typed="info no.lmdb", says="no.lmdb", do="crystune build SOURCE"),
    Mistake(what="info of a folder", typed="info cifs", says="cifs", do="store"),
    Mistake(
        what="info of another file", typed="info notes.txt", says="notes.txt", do="build SOURCE STORE makes a store"
    ),
    Mistake(
        what="info of an empty file",
        first=lambda: write("empty.lmdb", ""),
        typed="info empty.lmdb",
        says="empty.lmdb",
        do="crystune build SOURCE",
    ),
    Mistake(
        what="info of half a store",
        first=lambda: cut("my.lmdb"),
        typed="info my.lmdb",
        says="my.lmdb",
        do="copy it again",
    ),
    Mistake(
        what="info of a build that was interrupted",
        first=_unfinished_build,
        typed="info half.lmdb",
        says="half.lmdb",
        do="run",
    ),
    Mistake(what="info with a misspelt option", typed="info my.lmdb --verfy", says="--verfy", do="'--verify'"),
    Mistake(
        what="info of a store with a flipped byte",
        first=lambda: flip_byte("my.lmdb", 0.5),
        typed="info my.lmdb --verify",
        says="my.lmdb",
        do="copy it again",
    ),
]


@pytest.mark.parametrize("mistake", BUILD + INFO, ids=ids(BUILD + INFO))
def test_the_answer_is_one_line_and_nothing_is_lost(
    mistake: Mistake, stage: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check(mistake, stage, tmp_path, capsys)


def test_the_control_a_right_command_is_no_mistake(
    stage: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What `check` holds against an answer must be able to fail."""
    right = Mistake(what="right", typed="info my.lmdb", says="", do="")
    with pytest.raises(AssertionError, match="status 0"):
        check(right, stage, tmp_path, capsys)
    silent = Mistake(what="edited", typed="info no.lmdb", says="no.lmdb", do="never said")
    with pytest.raises(AssertionError, match="never said"):
        check(silent, stage, tmp_path / "second", capsys)
