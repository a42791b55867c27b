"""CIFs as a whole: cells, formulas, several blocks; the right crystal, or the right reason."""

import numpy as np
import pytest

from graphdb.cif import cell_vectors
from graphdb.errors import Reason
from graphdb.parse import parse_crystal
from tests.graphdb.ciftexts import (
    BASE,
    CL,
    DIFFERS,
    NA,
    ROCK_SALT,
    Bad,
    Good,
    check_bad,
    check_good,
    cif,
    hm,
    occupied,
    rock_salt,
)

GOOD = [
    # cells
    Good(
        "half a cubic cell",
        rock_salt("_symmetry_cell_setting cubic\n" + hm("F m -3 m"), cell=("5.64", "", "", "", "", "")),
        ROCK_SALT,
        2.82,
    ),
    Good(
        "no angles, but a number",
        rock_salt("_space_group_IT_number 225", cell=("5.64", "5.64", "5.64", "", "", "")),
        ROCK_SALT,
        2.82,
    ),
    # formula
    Good("formula and Z", cif(extra="_chemical_formula_sum 'Cl Na'\n_cell_formula_units_Z 1")),
    Good(
        "formula of the cell, Z of the unit",
        rock_salt(extra="_chemical_formula_sum 'Na4 Cl4'\n_cell_formula_units_Z 4"),
        ROCK_SALT,
        2.82,
    ),
    Good("formula without Z", rock_salt(extra="_chemical_formula_sum 'Na Cl'"), ROCK_SALT, 2.82),
    Good("formula with deuterium", cif("D1 D 0 0 0", CL, extra="_chemical_formula_sum 'D Cl'"), "Cl1 H1"),
    Good("formula with a charge", cif(extra="_chemical_formula_sum 'Na Cl 1-'")),
    Good("formula with hydrogens", cif(extra="_chemical_formula_sum 'Na Cl H4'"), notes=(DIFFERS,)),
    Good("another Z", cif(extra="_chemical_formula_sum 'Na Cl'\n_cell_formula_units_Z 4"), notes=(DIFFERS,)),
    *(
        Good(f"a Z of {z}", cif(extra=f"_chemical_formula_sum 'Na Cl'\n_cell_formula_units_Z {z}"))
        for z in ("inf", "nan", "1e999", "-4", "?")
    ),
    Good("a count that no formula has", cif(extra=f"_chemical_formula_sum 'Na Cl{'9' * 400}'")),
    *(
        Good(
            f"a multiplicity of {count}",
            cif(
                f"Na1 Na 0 0 0 {count}",
                "Cl1 Cl 0.5 0.5 0.5 ?",
                columns="label type_symbol fract_x fract_y fract_z symmetry_multiplicity",
                symmetry=hm("P m -3 m"),
            ),
        )
        for count in ("inf", "nan", "1e30", "-1", "many")
    ),
    Good(
        "attached hydrogens without end",
        cif("Na1 Na 0 0 0 inf", f"{CL} nan", columns="label type_symbol fract_x fract_y fract_z attached_hydrogens"),
    ),
    Good("no plain formula", cif(extra="_chemical_formula_sum '(C2 H4)n, x(H2 O)'")),
    # several blocks
    Good(
        "one crystal in two settings",
        rock_salt() + cif(cell=("3.98808", "3.98808", "3.98808", "60", "60", "60")).replace("data_x", "data_primitive"),
        ROCK_SALT,
        2.82,
    ),
    Good("a block of placeholders", BASE + cif("? ? ? ? ?", symmetry=hm("")).replace("data_x", "data_published")),
]
BAD = [
    Bad(
        "a different crystal",
        BASE + cif(NA, "K1 K 0.5 0.5 0.5").replace("data_x", "data_y"),
        Reason.SEVERAL_STRUCTURES,
        "data_y",
    ),
    Bad(
        "a different density",
        BASE + cif(cell=("6", "6", "6", "90", "90", "90")).replace("data_x", "data_y"),
        Reason.SEVERAL_STRUCTURES,
    ),
    Bad("other distances", BASE + cif(NA, "Cl1 Cl 0.4 0.5 0.5").replace("data_x", "data_y"), Reason.SEVERAL_STRUCTURES),
    Bad(
        "a disordered second block",
        BASE + occupied("Na1 Na 0 0 0 0.5").replace("data_x", "data_y"),
        Reason.SEVERAL_STRUCTURES,
    ),
    Bad(
        "a monoclinic cell without its angle",
        cif(cell=("5", "6", "7", "90", "", "90"), symmetry=hm("P 21/c")),
        Reason.NO_LATTICE,
        "_cell_angle_beta",
    ),
    Bad("half a cell", cif(cell=("5", "5", "", "90", "90", "90")), Reason.NO_LATTICE, "_cell_length_c"),
    Bad("angles that cannot be", cif(cell=("5", "5", "5", "60", "60", "130")), Reason.INVALID_CELL, "volume"),
    Bad(
        "a cell of another shape", rock_salt(cell=("5.64", "5.64", "7", "90", "90", "90")), Reason.INVALID_CELL, "shape"
    ),
    Bad(
        "operations of another shape",
        cif(cell=("5", "5", "7", "90", "90", "90"), operations=["x,y,z", "-y,x-y,z", "-x+y,-x,z"]),
        Reason.INVALID_CELL,
        "shape",
    ),
    Bad("modulated", cif(extra="_cell_modulation_dimension 1"), Reason.UNPARSABLE, "modulated"),
    Bad(
        "thousands of positions",
        cif(
            *(f"C{i} C {i / 3000} 0.1 0.23" for i in range(3000)),
            cell=("900",) * 3 + ("90",) * 3,
            symmetry=hm("F m -3 m"),
        ),
        Reason.TOO_LARGE,
        "5,000 atoms",
    ),
]


@pytest.mark.parametrize("case", GOOD, ids=lambda case: case.name)
def test_good_variants_become_the_right_crystal(case: Good) -> None:
    check_good(case)


@pytest.mark.parametrize("case", BAD, ids=lambda case: case.name)
def test_bad_variants_are_refused_for_the_right_reason(case: Bad) -> None:
    check_bad(case)


@pytest.mark.parametrize(
    ("group", "given", "whole"),
    [
        ("F m -3 m", ("20", "", "", "", "", ""), ("20", "20", "20", "90", "90", "90")),
        ("P 63/m m c", ("9", "", "11", "90", "90", ""), ("9", "9", "11", "90", "90", "120")),
        ("P 63/m 2/m 2/c", ("9", "", "11", "", "", ""), ("9", "9", "11", "90", "90", "120")),
        ("P 4/m m m", ("9", "", "11", "", "", ""), ("9", "9", "11", "90", "90", "90")),
        ("P n m a", ("9", "10", "11", "", "", ""), ("9", "10", "11", "90", "90", "90")),
        ("P 21/c", ("9", "10", "11", "", "95", ""), ("9", "10", "11", "90", "95", "90")),
        ("P 1 1 21/b", ("9", "10", "11", "", "", "95"), ("9", "10", "11", "90", "90", "95")),
        ("R -3 m:R", ("9", "", "", "70", "", ""), ("9", "9", "9", "70", "70", "70")),
        ("R -3 m:H", ("9", "", "30", "", "", ""), ("9", "9", "30", "90", "90", "120")),
    ],
)
def test_a_group_completes_its_cell(group: str, given: tuple[str, ...], whole: tuple[str, ...]) -> None:
    one, other = (
        parse_crystal(cif("Na1 Na 0.13 0.21 0.34", cell=cell, symmetry=hm(group)).encode(), "cif")
        for cell in (given, whole)
    )
    assert np.allclose(one.lattice, other.lattice)
    assert np.array_equal(one.frac_coords, other.frac_coords)


def test_cell_vectors_have_the_lengths_and_angles_given() -> None:
    a, b, c = cell_vectors(5.0, 6.0, 7.0, 80.0, 95.0, 110.0)
    assert np.allclose([np.linalg.norm(v) for v in (a, b, c)], (5, 6, 7))
    angles = [np.degrees(np.arccos(u @ v / np.linalg.norm(u) / np.linalg.norm(v))) for u, v in ((b, c), (a, c), (a, b))]
    assert np.allclose(angles, (80, 95, 110))
