"""Parsing and building: plain CIFs agree with pymatgen, and a worker that dies costs one crystal."""

import os
import tarfile
import warnings
from pathlib import Path

import numpy as np
import pytest
from pymatgen.io.cif import CifParser

from graphdb import ingest
from graphdb.convert import to_crystal
from graphdb.crystal import ATOMIC_NUMBERS, Crystal
from graphdb.errors import REASON_TEXT, Reason, SkippedCrystal
from graphdb.graphsettings import GraphSettings, SoftNeighbors
from graphdb.ingest import Built, build_all, text_digest
from graphdb.neighbors import MAX_ATOMS
from graphdb.parse import parse_crystal
from graphdb.rawcrystal import RawCrystal
from graphdb.sample.recompute import PROTOTYPES, indirect_gap, main, read_rows
from graphdb.usable import iter_usable

POISON, HARMLESS = b"data_poison", b"data_harmless"


def sorted_sites(crystal: Crystal) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Atomic number and rounded fractional coordinates of each site, in a definite order."""
    fractions = np.round(crystal.frac_coords, 8) % 1.0
    rows = np.column_stack([crystal.atomic_numbers, fractions])
    return rows[np.lexsort(rows.T)]


def as_pymatgen_reads_it(content: bytes) -> Crystal:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parser = CifParser.from_str(content.decode(), check_cif=False)
        (structure,) = parser.parse_structures(primitive=False, on_error="ignore")
    return Crystal(np.array(structure.atomic_numbers, np.uint8), structure.lattice.matrix, structure.frac_coords)


def assert_both_readers_agree(name: str, content: bytes) -> None:
    ours, theirs = parse_crystal(content, "cif"), as_pymatgen_reads_it(content)
    assert np.allclose(ours.lattice, theirs.lattice, atol=1e-10, rtol=0), name
    assert np.allclose(sorted_sites(ours), sorted_sites(theirs), atol=1e-8, rtol=0), name
    assert ours.notes == (), name


def test_cifs_of_the_sample_are_read_as_pymatgen_reads_them() -> None:
    for name, row in list(read_rows().items())[::10]:
        assert_both_readers_agree(name, row["cif"].encode())


@pytest.mark.data
def test_cifs_of_the_materials_project_are_read_as_pymatgen_reads_them(shared_data: Path) -> None:
    with tarfile.open(shared_data / "mp29k" / "cifs.tar.gz") as archive:
        for number, member in enumerate(archive):
            if number % 300 == 7:
                stream = archive.extractfile(member)
                assert stream is not None
                assert_both_readers_agree(member.name, stream.read())


def test_the_order_of_pymatgen_is_kept_where_it_is_asked_for(repository: Path) -> None:
    content = (repository / "tests/graphdb/cases/01-shelx-hkl/sucrose_without_hkl.cif").read_bytes()
    theirs = as_pymatgen_reads_it(content)
    ordered, plain = (parse_crystal(content, "cif", keep_order=keep) for keep in (True, False))
    assert ordered.atomic_numbers.tolist() == theirs.atomic_numbers.tolist() != plain.atomic_numbers.tolist()
    assert ordered.lattice.tolist() == theirs.lattice.tolist()
    assert np.allclose(ordered.frac_coords, theirs.frac_coords % 1.0, atol=1e-15)


def test_where_pymatgen_errs_its_order_is_not_kept(repository: Path) -> None:
    content = (repository / "tests/graphdb/cases/14-spacegroup-without-operations/spinel_hm_only.cif").read_bytes()
    assert len(as_pymatgen_reads_it(content).atomic_numbers) == 3
    assert len(parse_crystal(content, "cif", keep_order=True).atomic_numbers) == 56


def test_thirds_written_with_four_digits_are_thirds() -> None:
    text = read_rows()["fcc-Al"]["cif"].replace("0.00000000  0.00000000  0.00000000", "0.3333  0.6667  0.33")
    assert parse_crystal(text.encode(), "cif").frac_coords.tolist() == [[1 / 3, 2 / 3, 0.33]]


def fake_build(chunk: list[tuple[RawCrystal, bytes]], settings: GraphSettings) -> list[Built]:
    """Stands in for a library that takes its whole process down."""
    if any(raw.content == POISON for raw, _ in chunk):
        os._exit(7)
    return [Built(raw.material_id, digest, b"graph") for raw, digest in chunk]


@pytest.mark.slow
def test_a_text_that_kills_its_worker_costs_only_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest, "_build_chunk", fake_build)
    monkeypatch.setattr(ingest, "_MIN_PARALLEL", 1)
    monkeypatch.setattr(ingest, "_CHUNK_CRYSTALS", 4)
    texts = [RawCrystal(str(i), "cif", POISON if i == 9 else HARMLESS, f"file {i}") for i in range(40)]
    built = list(build_all(((raw, text_digest(raw)) for raw in texts), SoftNeighbors(), num_workers=2))
    assert sorted(int(one.material_id) for one in built) == list(range(40))
    (skipped,) = [one.outcome for one in built if isinstance(one.outcome, SkippedCrystal)]
    assert (skipped.material_id, skipped.reason) == ("9", Reason.WORKER_CRASHED)


def test_sample_crystals_are_their_prototypes(sample_csv: Path) -> None:
    rows = read_rows()
    for name, crystal in iter_usable(sample_csv, to_crystal):
        assert isinstance(crystal, Crystal), name
        row = rows[name]
        prototype, elements = PROTOTYPES[row["prototype"]], row["elements"].split("-")
        expected = sorted(ATOMIC_NUMBERS[elements[i]] for i in prototype.species)
        assert sorted(crystal.atomic_numbers.tolist()) == expected, name
        volume = abs(np.linalg.det(np.array(prototype.cell))) * float(row["a"]) ** 3
        assert abs(abs(np.linalg.det(crystal.lattice)) / volume - 1) < 1e-5, name


@pytest.mark.parametrize(
    ("bands", "fermi", "electrons", "gap"),
    [
        ([[-1.0, 2.0], [-0.5, 1.5]], 0.0, 2, 2.0),
        ([[-1.0, 2.0], [-0.5, -0.1]], 0.0, 2, 0.0),  # a band crosses
        ([[-1.0, 2.0], [-0.5, 1.5]], 0.0, 3, 0.0),  # half a band filled
        ([[-1.0, 0.5], [0.6 - 1, 0.1]], 0.0, 2, 0.5),
    ],
)
def test_the_gap_is_between_the_highest_filled_and_lowest_empty_level(
    bands: list[list[float]], fermi: float, electrons: float, gap: float
) -> None:
    assert abs(indirect_gap(np.array(bands), fermi, electrons) - gap) < 1e-12


def test_recomputing_an_unknown_row_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["unobtainium"]) == 2
    assert "ids must be in the sample" in capsys.readouterr().err


def test_the_documentation_explains_every_reason_and_limit(repository: Path) -> None:
    text = (repository / "docs" / "data-format.md").read_text(encoding="utf-8")
    for reason, meaning in REASON_TEXT.items():
        assert f"| `{reason}` | {meaning} |" in text
    assert f"{MAX_ATOMS:,} atoms" in text
    for setting in SoftNeighbors().as_dict():
        assert f"| `{setting}` |" in text
