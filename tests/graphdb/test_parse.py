"""Texts: their encoding, and pymatgen's JSON."""

import json
import tarfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pymatgen.io.cif import CifParser

from graphdb.crystal import Crystal
from graphdb.errors import Reason, Unusable
from graphdb.parse import decode, parse_crystal
from graphdb.sample.recompute import read_rows
from tests.graphdb.sourcefiles import IRON, text, volume


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-16", "cp1252"])
def test_the_encoding_of_a_structure_is_told_by_its_content(encoding: str) -> None:
    content = "# a dash \u2013 here\n" + text(IRON, "cif")
    assert decode(content.encode(encoding)).removeprefix("\ufeff") == content
    assert len(parse_crystal(content.encode(encoding), "cif").atomic_numbers) == 2


LATTICE = {"a": 3, "b": 3, "c": 4, "alpha": 90, "beta": 90, "gamma": 120}


SITE = {"species": [{"element": "Fe", "occu": 1}], "abc": [0, 0, 0]}


SHARED = [{"element": "Fe2+", "occu": 0.5}, {"element": "Fe3+", "occu": 0.5}]


def test_a_structure_in_json_may_have_lengths_and_angles_and_charges() -> None:
    crystal = parse_crystal(json.dumps({"lattice": LATTICE, "sites": [{**SITE, "species": SHARED}]}).encode(), "json")
    assert crystal.atomic_numbers.tolist() == [26]
    assert abs(volume(crystal) - 36 * 0.75**0.5) < 1e-9


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
