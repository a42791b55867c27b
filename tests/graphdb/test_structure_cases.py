"""Structure files that people really have, after public bug reports: each becomes the right crystal."""

from pathlib import Path

import numpy as np
import pytest

from graphdb.crystal import Crystal
from graphdb.errors import Reason
from graphdb.parse import parse_crystal
from tests.graphdb.looks import formula, shortest_distance

CASES = Path(__file__).parent / "cases"
SPINEL, DIAMOND = "Al16 Mg8 O32", "Si8"

#: file, formula of the cell, shortest distance in Å, kinds of notes
FILES: list[tuple[str, str, float, set[Reason]]] = [
    ("01-shelx-hkl/sucrose_without_hkl.cif", "C24 H44 O22", 0.818, set()),
    ("10-unlooped-symop/fail.cif", "Ga2 Pb2", 3.121, set()),
    ("12-poscar-variants/comment_after_species.vasp", "Cl1 Na1", 4.0, set()),
    ("12-poscar-variants/mctc60.vasp", "S1", 3.0, set()),
    ("12-poscar-variants/negative_scale.vasp", "Cl1 Na1", 4.0, set()),
    ("12-poscar-variants/slash_hash.vasp", "Cl1 Na1", 4.0, set()),
    ("12-poscar-variants/three_scales.vasp", "Cl1 Na1", 4.0, set()),
    ("12-poscar-variants/wrapped_species.vasp", "Cl1 Na2", 2.0, set()),
    ("13-dot-coordinates/dot.cif", "Cl1 Na1", 4.330, {Reason.SITE_WITHOUT_PLACE}),
    ("13-dot-coordinates/question.cif", "Cl1 Na1", 4.330, {Reason.SITE_WITHOUT_PLACE}),
    ("13-dot-coordinates/dummy_flag.cif", "Cl1 Na1", 4.330, set()),
    ("14-spacegroup-without-operations/spinel_hall.cif", SPINEL, 1.923, set()),
    ("14-spacegroup-without-operations/spinel_hm_and_number.cif", SPINEL, 1.923, set()),
    ("14-spacegroup-without-operations/spinel_hm_only.cif", SPINEL, 1.923, set()),
    ("14-spacegroup-without-operations/diamond_origin1.cif", DIAMOND, 2.351, set()),
    ("14-spacegroup-without-operations/diamond_origin2.cif", DIAMOND, 2.351, set()),
    ("14-spacegroup-without-operations/diamond_origin2_number.cif", DIAMOND, 2.351, set()),
    ("15-zero-occupancy/zero.cif", "Cl1 Na1", 3.464, set()),
    ("16-negative-scale-cartesian/pos.vasp", "Cl4 Na4", 2.845, set()),
    ("16-negative-scale-cartesian/neg.vasp", "Cl4 Na4", 2.845, set()),
    ("17-duplicate-sites/mil88.cif", "C66 Fe6 O62", 1.143, {Reason.SITES_MERGED}),
    ("18-missing-hydrogens/NH4Cl.cif", "Cl4 N4", 3.266, {Reason.FORMULA_DIFFERS, Reason.SITE_WITHOUT_PLACE}),
    ("20-mp13-lattice/mp-13.cif", "Fe2", 2.478, set()),
]


def read(path: Path) -> Crystal:
    return parse_crystal(path.read_bytes(), "cif" if path.suffix == ".cif" else "poscar")


@pytest.mark.parametrize(("name", "atoms", "distance", "notes"), FILES, ids=[case[0] for case in FILES])
def test_each_file_becomes_the_right_crystal(name: str, atoms: str, distance: float, notes: set[Reason]) -> None:
    crystal = read(CASES / name)
    assert formula(crystal) == atoms
    assert abs(shortest_distance(crystal) - distance) < 1e-3
    assert {note.reason for note in crystal.notes} == notes


def test_every_structure_file_among_the_cases_is_in_the_table() -> None:
    files = {
        str(path.relative_to(CASES))
        for folder in {name.split("/")[0] for name, *_ in FILES}
        for path in (CASES / folder).iterdir()
    }
    assert files == {name for name, *_ in FILES}


def test_an_embedded_list_of_reflections_changes_nothing() -> None:
    content = (CASES / "01-shelx-hkl" / "sucrose_without_hkl.cif").read_bytes()
    lines = b"".join(b"%4d%4d%4d%8.2f%8.2f%4d\n" % (i % 20, i % 30, i % 9, i / 7, 1.5, 1) for i in range(120_000))
    whole = parse_crystal(content + b"_shelx_hkl_file\n;\n" + lines + b"data_of_none\n;\n", "cif")
    alone = parse_crystal(content, "cif")
    assert np.array_equal(whole.frac_coords, alone.frac_coords)
    assert np.array_equal(whole.atomic_numbers, alone.atomic_numbers)


def test_lengths_of_the_cell_are_kept_to_the_last_digit() -> None:
    lengths = np.linalg.norm(read(CASES / "20-mp13-lattice" / "mp-13.cif").lattice, axis=1)
    assert np.allclose(lengths, (2.47781303, 2.47780913, 4.05429521), atol=1e-10, rtol=0)


def test_a_negative_scale_is_the_volume_of_the_cell() -> None:
    positive, negative = (read(CASES / "16-negative-scale-cartesian" / name) for name in ("pos.vasp", "neg.vasp"))
    assert np.allclose(positive.frac_coords, negative.frac_coords, atol=1e-9)
    assert abs(abs(np.linalg.det(negative.lattice)) - 184.2) < 1e-9
