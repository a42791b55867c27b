"""Notes on crystals that are stored: listed, counted apart, kept over interruptions, and errors for the strict."""

import csv
import shutil
from pathlib import Path

import pytest

from graphdb import build
from graphdb.build import build_store
from graphdb.errors import Reason
from graphdb.graphsettings import SoftNeighbors
from graphdb.ingest import build_one, text_digest
from graphdb.rawcrystal import RawCrystal
from graphdb.store import Store
from graphdb.writer import StoreWriter

CASES = Path(__file__).parent / "cases"
NOTED = {("NH4Cl", Reason.FORMULA_DIFFERS), ("NH4Cl", Reason.SITE_WITHOUT_PLACE), ("mil88", Reason.SITES_MERGED)}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    for name in ("18-missing-hydrogens/NH4Cl.cif", "17-duplicate-sites/mil88.cif", "20-mp13-lattice/mp-13.cif"):
        shutil.copy(CASES / name, folder)
    return folder


def listed(store: Path) -> set[tuple[str, str]]:
    with store.with_name(store.name + ".skipped.csv").open(newline="") as lines:
        return {(row["material_id"], row["reason"]) for row in csv.DictReader(lines)}


def test_noted_crystals_are_stored_and_listed_and_counted_apart(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build.main([str(source), str(tmp_path / "my.store")]) == 0
    screen = capsys.readouterr().out
    assert "3 crystals (3 built now)" in screen
    assert "3 notes on crystals that are in the store" in screen
    assert "1 formula differs, e.g. NH4Cl: the formula says Cl1 H4 N1 times Z = 4, the sites are Cl4 N4" in screen
    assert listed(tmp_path / "my.store") == NOTED
    with Store(tmp_path / "my.store") as store:
        assert store.material_ids == ("NH4Cl", "mil88", "mp-13")
        assert store.num_skipped == {}
        assert store.num_noted == {Reason.FORMULA_DIFFERS: 1, Reason.SITE_WITHOUT_PLACE: 1, Reason.SITES_MERGED: 1}


def test_strict_refuses_noted_crystals(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert build.main([str(source), str(tmp_path / "my.store"), "--strict"]) == 2
    assert "1 formula differs" in capsys.readouterr().err
    assert not (tmp_path / "my.store").exists()
    assert listed(tmp_path / "my.store") == NOTED


def test_notes_stay_when_a_finished_store_is_extended(source: Path, tmp_path: Path) -> None:
    build_store(source, tmp_path / "my.store")
    report = build_store(source, tmp_path / "my.store")
    assert report.num_built == 0
    assert {(note.material_id, note.reason) for note in report.notes} == NOTED
    assert listed(tmp_path / "my.store") == NOTED


def test_notes_stay_over_an_interruption(source: Path, tmp_path: Path) -> None:
    path, settings = source / "NH4Cl.cif", SoftNeighbors()
    raw = RawCrystal("NH4Cl", "cif", path.read_bytes(), path.name)
    built = build_one(raw, text_digest(raw), settings)
    assert isinstance(built.outcome, bytes)
    assert len(built.notes) == 2
    with StoreWriter(tmp_path / "my.store", settings) as writer:
        writer.add_graph(built.material_id, built.digest, built.outcome, built.notes)
    report = build_store(source, tmp_path / "my.store")
    assert report.num_built == 2
    assert {(note.material_id, note.reason) for note in report.notes} == NOTED


def test_notes_go_when_the_text_is_mended(source: Path, tmp_path: Path) -> None:
    build_store(source, tmp_path / "my.store")
    text = (source / "NH4Cl.cif").read_text()
    assert "'Cl H4 N'" in text
    mended = text.replace("'Cl H4 N'", "'Cl N'").replace("attached_hydrogens", "refinement_flags")
    (source / "NH4Cl.cif").write_text(mended)
    report = build_store(source, tmp_path / "my.store")
    assert report.num_built == 1
    assert [note.material_id for note in report.notes] == ["mil88"]
