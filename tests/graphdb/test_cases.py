"""Inputs that people really have: each gives its crystals and targets, or the sentence that says what it is."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from pymatgen.core.structure import Structure

from graphdb import build
from graphdb.crystal import Crystal
from graphdb.store import Store
from tests.graphdb.sourcefiles import read_usable

CASES = Path(__file__).parent / "cases"
SALT, SILICON = "mp-22862", "mp-149"


def nearest(crystal: Crystal) -> float:
    """The nearest distance between two atoms of a cell of a few atoms, Å."""
    cells = np.stack(np.meshgrid(*[range(-2, 3)] * 3), -1).reshape(-1, 3)
    places = (crystal.frac_coords[:, None] + cells).reshape(-1, 3) @ crystal.lattice
    first = crystal.frac_coords[0] @ crystal.lattice
    return float(np.sort(np.linalg.norm(places - first, axis=1))[1])


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("03-computed-structure-entries/entries.json", {SALT: 2.845, SILICON: 2.369}),
        ("06-mp-api/docs_list.json", {SALT: 2.845, SILICON: 2.369}),
        ("06-mp-api/nan.json", {"a": 2.845, "b": 2.369}),
        ("06-mp-api/rest_response.json", {SALT: 2.845, SILICON: 2.369}),
        ("06-mp-api/legacy_response.json", {SALT: 2.845, SILICON: 2.369}),
        ("09-empty-contcar", {"mp-1": None, "mp-2": None}),
        ("21-zip-and-bz2/folder", {"mp-13": None}),
        ("21-zip-and-bz2/folder/mp-13.cif.bz2", {"mp-13": None}),
    ],
)
def test_a_case_gives_its_crystals(source: str, expected: dict[str, float | None]) -> None:
    crystals = {name: found for name, found in read_usable(CASES / source) if isinstance(found, Crystal)}
    assert sorted(crystals) == sorted(expected)
    for name, distance in expected.items():
        assert len(crystals[name].atomic_numbers) == 2
        assert distance is None or nearest(crystals[name]) == pytest.approx(distance, abs=1e-3)


def test_iron_comes_from_the_compressed_file() -> None:
    ((_, crystal),) = read_usable(CASES / "21-zip-and-bz2/folder")
    assert isinstance(crystal, Crystal)
    assert crystal.atomic_numbers.tolist() == [26, 26]


@pytest.mark.parametrize("name", ["rest_response", "legacy_response", "docs_list"])
def test_an_answer_of_the_materials_project_brings_its_numbers(tmp_path: Path, name: str) -> None:
    assert build.main([str(CASES / f"06-mp-api/{name}.json"), str(tmp_path / "s")]) == 0
    with Store(tmp_path / "s") as store:
        assert dict(zip(store.material_ids, store.targets(["band_gap"])[:, 0].tolist(), strict=True)) == {
            SALT: 5.0,
            SILICON: 0.61,
        }


def test_targets_match_the_ids_of_entries(tmp_path: Path) -> None:
    folder = CASES / "03-computed-structure-entries"
    report = build.build_store(folder / "entries.json", tmp_path / "s", targets=[folder / "targets.csv"])
    assert report.properties["eah"].count == 2
    assert (report.matchings[0].num_crystals, report.matchings[0].unmatched) == (2, ())


def test_a_good_poscar_takes_the_place_of_an_empty_contcar(tmp_path: Path) -> None:
    report = build.build_store(CASES / "09-empty-contcar", tmp_path / "s")
    with Store(tmp_path / "s") as store:
        assert list(store.material_ids) == ["mp-1", "mp-2"]
    assert [(skip.where, str(skip.reason)) for skip in report.skipped] == [
        ("mp-1/CONTCAR", "empty file"),
        ("mp-2/POSCAR", "duplicate id"),
    ]


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("02-jarvis-json/jdft_3d.json", "it is JARVIS' JSON"),
        ("04-wbm-tables/records.json", "it is JSON whose structures stand in 'initial_structure'"),
        ("04-wbm-tables/cse_records.json", "it is JSON whose structures stand in 'computed_structure_entry'"),
        ("04-wbm-tables/wbm-initial-structures.json", "it is a pandas table by columns whose structures stand in"),
        ("05-optimade/structures.json", "it is an OPTIMADE response"),
        ("07-csv-python-dicts/df.csv", "its column 'structure' has Python dicts (with single quotes), not JSON"),
        ("08-ase/ase_db.json", "it is ASE's JSON database"),
        ("08-ase/nacl.extxyz", "it is an extended XYZ file: convert it to CIF, for example by 'ase convert"),
        ("21-zip-and-bz2/cifs.zip", "it is a zip archive: unpack it, and give the folder"),
    ],
)
def test_a_case_that_is_not_read_yet_is_refused_by_what_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], source: str, what: str
) -> None:
    assert build.main([str(CASES / source), str(tmp_path / "s")]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("error: ")
    assert len(shown.splitlines()) == 1
    assert what in shown
    assert list(tmp_path.iterdir()) == []


def test_the_advice_for_jarvis_gives_the_crystals(tmp_path: Path) -> None:
    for d in json.loads((CASES / "02-jarvis-json/jdft_3d.json").read_text()):
        a = d["atoms"]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            structure = Structure(
                a["lattice_mat"], a["elements"], a["coords"], coords_are_cartesian=a["cartesian"]
            )  # as the message of `foreign.what_json_is` says
            structure.to(str(tmp_path / f"{d['jid']}.vasp"), "poscar")
    crystals = dict(read_usable(tmp_path))
    assert sorted(crystals) == ["JVASP-1002", "JVASP-23862"]
    assert all(isinstance(crystal, Crystal) for crystal in crystals.values())
