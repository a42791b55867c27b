"""Symmetry that may be read in several ways: what the rest of the file says decides, or it is refused."""

import numpy as np
import pytest

from graphdb.errors import Reason
from graphdb.parse import parse_crystal
from tests.graphdb.ciftexts import (
    MERGED,
    NA,
    OPERATIONS_OF_F,
    ROCK_SALT,
    Bad,
    Good,
    Z,
    check_bad,
    check_good,
    cif,
    hm,
    rock_salt,
)

RHOMBOHEDRAL = ("5.0", "5.0", "5.0", "60", "60", "60")
GOOD = [
    Good(
        "hexagonal axes, by the cell",
        cif("Bi1 Bi 0 0 0.23", cell=("4.54", "4.54", "11.8", "90", "90", "120"), symmetry=hm("R -3 m")),
        "Bi6",
        3.017,
    ),
    Good(
        "rhombohedral axes, by the cell",
        cif("Na1 Na 0 0 0", "Cl1 Cl 0.5 0.5 0.5", cell=RHOMBOHEDRAL, symmetry=hm("R -3 m")),
        "Cl1 Na1",
        3.536,
    ),
    Good(
        "ICSD's letter for the origin",
        cif("Si1 Si 0.125 0.125 0.125", cell=("5.43",) * 3 + ("90",) * 3, symmetry=hm("F d -3 m Z")),
        "Si8",
        2.351,
    ),
    Good(
        "the origin by the code of the tables",
        cif(
            "Si1 Si 0 0 0",
            cell=("5.43",) * 3 + ("90",) * 3,
            symmetry=hm("F d -3 m") + "\n_space_group_IT_coordinate_system_code 1",
        ),
        "Si8",
        2.351,
    ),
    Good(
        "the origin by formula and Z",
        cif(
            "Si1 Si 0.125 0.125 0.125",
            cell=("5.43",) * 3 + ("90",) * 3,
            symmetry=hm("F d -3 m"),
            extra="_chemical_formula_sum Si\n_cell_formula_units_Z 8",
        ),
        "Si8",
        2.351,
    ),
    Good(
        "one operation beside a group, all atoms listed",
        cif(
            *(f"Na{i} Na {p}" for i, p in enumerate(("0 0 0", "0 .5 .5", ".5 0 .5", ".5 .5 0"))),
            *(f"Cl{i} Cl {p}" for i, p in enumerate((".5 .5 .5", ".5 0 0", "0 .5 0", "0 0 .5"))),
            symmetry=hm("F m -3 m"),
            operations=["x,y,z"],
            extra="_chemical_formula_sum 'Na Cl'\n_cell_formula_units_Z 4",
        ),
        ROCK_SALT,
        2.82,
    ),
    Good(
        "one operation beside a group, one atom listed",
        rock_salt(operations=["x,y,z"], extra="_chemical_formula_sum 'Na Cl'\n_cell_formula_units_Z 4"),
        ROCK_SALT,
        2.82,
        (Reason.SYMMETRY_DIFFERS,),
    ),
    Good(
        "one operation beside a group, without Z the list counts",
        rock_salt(operations=["x,y,z"], extra="_chemical_formula_sum 'Na Cl'"),
        notes=(Reason.SYMMETRY_DIFFERS,),
    ),
    Good(
        "all atoms listed, and all operations",
        cif(
            *(f"C{i}{j} C {(i + 0.5) / 14:.5f} {(j + 0.5) / 14:.5f} 0.25" for i in range(14) for j in range(14)),
            cell=("28", "28", "4", "90", "90", "90"),
            symmetry=hm("P 4/m m m"),
        ),
        "C392",
        2.0,
        (MERGED,),
    ),
    Good(
        "fewer operations than the group has",
        rock_salt(operations=OPERATIONS_OF_F),
        ROCK_SALT,
        2.82,
        (Reason.SYMMETRY_DIFFERS,),
    ),
    *(
        Good(
            f"a list of a part of {name}, by formula and Z the group",
            cif(*sites, cell=cell, symmetry=hm(name), operations=part, extra=f"_chemical_formula_sum Na\n{Z} {number}"),
            f"Na{number}",
            distance,
            (Reason.SYMMETRY_DIFFERS,),
        )
        for name, cell, part, sites, number, distance in (
            ("F m -3 m", ("20",) * 3 + ("90",) * 3, ["x,y,z", "-x,-y,-z"], [NA], 4, 14.142),
            (
                "P 21/c",
                ("6", "7", "8", "90", "95", "90"),
                ["x,y,z", "-x,y+1/2,-z+1/2"],
                ["Na1 Na 0.1 0.1 0.1"],
                4,
                2.372,
            ),
            (
                "R -3 m",
                ("9", "9", "20", "90", "90", "120"),
                [
                    "x,y,z",
                    "-y,x-y,z",
                    "-x+y,-x,z",
                    "-x,-y,-z",
                    "y,-x+y,-z",
                    "x-y,x,-z",
                    "y,x,-z",
                    "x-y,-y,-z",
                    "-x,-x+y,-z",
                    "-y,-x,z",
                    "-x+y,y,z",
                    "x,x-y,z",
                ],
                [NA],
                3,
                8.452,
            ),
        )
    ),
    Good(
        "two numbers, but a list of operations",
        rock_salt("_space_group_IT_number 225\n_symmetry_Int_Tables_number 1", operations=OPERATIONS_OF_F),
        ROCK_SALT,
        2.82,
    ),
    Good(
        "a list of a part, as formula and Z have it",
        rock_salt(operations=OPERATIONS_OF_F, extra=f"_chemical_formula_sum 'Na Cl'\n{Z} 4"),
        ROCK_SALT,
        2.82,
        (Reason.SYMMETRY_DIFFERS,),
    ),
]
BAD = [
    Bad("one operation, not x, y, z", cif(operations=["-x,-y,-z"]), Reason.UNKNOWN_SYMMETRY, "not all"),
    Bad(
        "two numbers",
        cif(symmetry="_space_group_IT_number 225\n_symmetry_Int_Tables_number 1"),
        Reason.UNKNOWN_SYMMETRY,
        "contradictory: number 1, 225",
    ),
    Bad(
        "a name with the number of another",
        rock_salt(hm("F m -3 m (227)")),
        Reason.UNKNOWN_SYMMETRY,
        "not in the tables",
    ),
    Bad(
        "name and number disagree",
        rock_salt(hm("F m -3 m") + "\n_space_group_IT_number 227"),
        Reason.UNKNOWN_SYMMETRY,
        "contradictory",
    ),
    Bad(
        "name and Hall symbol disagree",
        rock_salt(hm("F m -3 m") + "\n_space_group_name_Hall 'P 1'"),
        Reason.UNKNOWN_SYMMETRY,
        "contradictory",
    ),
    Bad(
        "one of two origins",
        cif("Si1 Si 0.1 0.2 0.3", symmetry=hm("F d -3 m")),
        Reason.UNKNOWN_SYMMETRY,
        "F d -3 m:1, F d -3 m:2",
    ),
    Bad(
        "one of three glide planes",
        cif("Si1 Si 0.1 0.2 0.3", cell=("5", "6", "7", "90", "100", "90"), symmetry="_symmetry_Int_Tables_number 14"),
        Reason.UNKNOWN_SYMMETRY,
        "_space_group_name_H-M_alt",
    ),
    Bad(
        "operations that are no group",
        cif(operations=["x,y,z", "x+1/2,y,z", "x,y+1/2,z"]),
        Reason.UNKNOWN_SYMMETRY,
        "not all",
    ),
]


@pytest.mark.parametrize("case", GOOD, ids=lambda case: case.name)
def test_good_variants_become_the_right_crystal(case: Good) -> None:
    check_good(case)


@pytest.mark.parametrize("case", BAD, ids=lambda case: case.name)
def test_bad_variants_are_refused_for_the_right_reason(case: Bad) -> None:
    check_bad(case)


@pytest.mark.parametrize(
    ("name", "angles", "setting"),
    [
        ("P 21/n", ("90", "90", "90"), "P 1 21/n 1"),
        ("P 21/c", ("90", "90.00", "90"), "P 1 21/c 1"),
        ("P 21/c", ("90", "90.03", "90"), "P 1 21/c 1"),
        ("C 2/m", ("90", "90.2", "90"), "C 1 2/m 1"),
        ("P 21/n", ("90", "90", "90.2"), "P 1 1 21/n"),
        ("C 2/m", ("89.9", "90", "90"), "C 2/m 1 1"),
        ("P 21/n", ("90.01", "92", "90"), "P 1 21/n 1"),
        ("P 21", ("90", "90", "90"), "P 1 21 1"),
    ],
)
def test_a_monoclinic_cell_tells_its_axis(name: str, angles: tuple[str, ...], setting: str) -> None:
    short, full = (
        parse_crystal(cif("Na1 Na 0.13 0.21 0.34", cell=("6", "7", "8", *angles), symmetry=hm(n)).encode(), "cif")
        for n in (name, setting)
    )
    assert np.array_equal(short.frac_coords, full.frac_coords)
