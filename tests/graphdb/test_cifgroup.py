"""The symmetry of CIFs: names of groups, lists of operations, hints."""

from pathlib import Path

import numpy as np
import pytest

from graphdb.errors import Reason
from graphdb.parse import parse_crystal
from graphdb.symmetry import GroupNames, settings
from tests.graphdb.ciftexts import (
    BASE,
    CL,
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
from tests.graphdb.looks import formula, shortest_distance

RHOMBOHEDRAL = ("5.0", "5.0", "5.0", "60", "60", "60")
#: The group of rock salt under the names that programs give it, and under what they call the items.
NAMES_OF_225 = [
    "_symmetry_space_group_name_H-M 'F 4/m -3 2/m'",
    "_symmetry_space_group_name_H-M 'F 4/m -3 2/m'\n_symmetry_Int_Tables_number 225",
    "_space_group_name_H-M_alt 'F m -3 m'\n_space_group_name_H-M_full 'F 4/m -3 2/m'",
    "_symmetry_space_group_name_H-M 'F4/m-32/m'",
    "_symmetry_space_group_name_H-M 'F m -3 m S'",
    "_symmetry_space_group_name_H-M 'Fm-3m (225)'",
    "_symmetry_space_group_name_H-M 'F m -3 m, No. 225'",
    "_space_group_name_H-M_alt 'F m -3 m'\n_space_group_name_H-M_full 'as in the paper'",
    "_symmetry_space_group_name_HM 'F m -3 m'",
    "_symmetry_space_group_name_H-M_original 'F m -3 m'",
    "_space_group_name 'F m -3 m'",
    "_symmetry_space_group 225",
    "_symmetry_group_IT_number 225",
    "_symmetry_space_group_number 225",
    "_space_group_name_Schoenflies Oh^5",
    "_space_group_name_Schoenflies 'O_h^5'",
    "_space_group.name_Schoenflies 'Oh^5'\n_space_group.name_Hall ?",
    "_symmetry_space_group_name_Schoenflies Oh.5\n_space_group_patterson_name_H-M 'F m -3 m'",
    "_space_group_symop_operation_xyz ?\n_symmetry_Int_Tables_number 225",
]
#: Items of lists of operations, beside another one that says nothing.
LISTS = [
    "_symmetry_equiv_position_as_xyz",
    "_space_group_symop_xyz",
    "_symmetry_equiv_pos_xyz",
]
#: Items that say something of the symmetry, but do not tell the group.
HINTS = [
    "_space_group_bravais_type cF",
    "_space_group_centring_type F",
    "_space_group_point_group_H-M m-3m",
    "_space_group_laue_class m-3m",
    "_space_group_patterson_name_H-M 'F m -3 m'",
    "_symmetry_equiv_pos_number 192",
    "_space_group_num_symops 192",
    "_symmetry_generators '-x,y,z'",
    "_space_group_of_my_own 'F m -3 m'",
]
#: Names, and what short name and setting they stand for.
SAME_NAMES = [
    ("R -3 2/c :H", "R -3 c:H"),
    ("R -3 c {hexagonal axes}", "R -3 c:H"),
    ("P 63/m 2/m 2/c", "P 63/m m c"),
    ("P 21/n 21/m 21/a", "P n m a"),
    ("Pnma (62)", "P n m a"),
    ("P 2(1)/n 2(1)/m 2(1)/a", "P n m a"),
    ("I 4/m 2/m 2/m", "I 4/m m m"),
    ("P 42/m 21/n 2/m", "P 42/m n m"),
    ("P -3 1 2/m", "P -3 1 m"),
    ("P -3 2/m 1", "P -3 m 1"),
    ("P 21/a -3", "P a -3"),
    ("P 21/m 21/m 2/n (origin choice 2)", "P m m n:2"),
    ("F 41/d -3 2/m :2", "F d -3 m:2"),
    ("F d -3 m {origin @ centre}", "F d -3 m:2"),
    ("Fd3mS", "F d -3 m:1"),
    ("Fd3mZ", "F d -3 m:2"),
    ("P 1 21/n 1", "P 1 21/n 1"),
    ("P 4(2)", "P 42"),
]
GOOD = [
    # symmetry
    Good(
        "operations in capitals and with spaces",
        rock_salt("", operations=[" X , Y , Z ", "X,Y+1/2,Z+0.5", "1/2+X,Y,1/2+Z", "X+.5,+Y+.5,Z"]),
        ROCK_SALT,
        2.82,
    ),
    Good("one operation outside of a loop", BASE.replace("loop_", "_symmetry_equiv_pos_as_xyz x,y,z\nloop_")),
    Good("newer names", rock_salt("_space_group_name_H-M_alt 'F m -3 m'"), ROCK_SALT, 2.82),
    Good("a symbol without blanks", rock_salt(hm("FM-3M")), ROCK_SALT, 2.82),
    Good("a symbol with underscores", rock_salt(hm("F_m_-3_m")), ROCK_SALT, 2.82),
    Good("an old symbol", rock_salt(hm("F m 3 m")), ROCK_SALT, 2.82),
    Good("a number and an unknown name", rock_salt("_symmetry_Int_Tables_number 225\n" + hm("?")), ROCK_SALT, 2.82),
    Good("Hall symbol", rock_salt("_space_group_name_Hall '-F 4 2 3'"), ROCK_SALT, 2.82),
    Good("names with dots", rock_salt("_space_group.name_H-M_alt 'F m -3 m'"), ROCK_SALT, 2.82),
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
        "a special position with few digits",
        cif("C1 C 0.333 0.667 0.25", cell=("2.46", "2.46", "6.7", "90", "90", "120"), symmetry=hm("P 63/m m c")),
        "C2",
        2.460,
    ),
    Good(
        "translations with few digits",
        cif(
            "Bi1 Bi 0 0 0.23",
            cell=("4.54", "4.54", "11.8", "90", "90", "120"),
            operations=[
                f"{sign}x,{sign}y,{sign}z{shift}".replace("x,", f"x{a},", 1).replace("y,", f"y{b},", 1)
                for sign in ("", "-")
                for a, b, shift in (("", "", ""), ("+0.667", "+0.333", "+0.333"), ("+0.333", "+0.667", "+0.667"))
            ],
        ),
        "Bi6",
        3.017,
    ),
    Good(
        "magnetic operations",
        cif(NA, CL).replace(
            "loop_",
            "loop_\n_space_group_symop_magn_operation.id\n_space_group_symop_magn_operation.xyz\n"
            "1 x,y,z,+1\n2 -x,-y,-z,-1\nloop_\n_space_group_symop_magn_centering.id\n"
            "_space_group_symop_magn_centering.xyz\n1 x,y,z,+1\n2 x+1/2,y+1/2,z,-1\n"
            "3 x+1/2,y,z+1/2,-1\n4 x,y+1/2,z+1/2,+1\nloop_",
        ),
        ROCK_SALT,
        2.82,
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
    *(Good(names, rock_salt(names), ROCK_SALT, 2.82) for names in NAMES_OF_225),
    *(
        Good(
            f"{item}, the longer of two lists",
            rock_salt(f"{other}\nloop_\n{item}\n" + "\n".join(f"'{operation}'" for operation in OPERATIONS_OF_F)),
            ROCK_SALT,
            2.82,
        )
        for item in LISTS
        for other in ("_space_group_symop_operation_xyz ?", "_symmetry_equiv_pos_as_xyz x,y,z")
    ),
    *(
        Good(f"{hint}, but x, y, z", cif(symmetry=hint, operations=["x,y,z"]), notes=(Reason.SYMMETRY_DIFFERS,))
        for hint in HINTS
    ),
    Good("nothing but what P 1 has", cif(symmetry="_space_group_bravais_type aP\n_space_group_laue_class -1")),
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
    *(Bad(hint, cif(symmetry=hint), Reason.UNKNOWN_SYMMETRY, "list its operations") for hint in HINTS),
    Bad("one operation, not x, y, z", cif(operations=["-x,-y,-z"]), Reason.UNKNOWN_SYMMETRY, "not all"),
    Bad(
        "a Schoenflies symbol that is none",
        cif(symmetry="_space_group_name_Schoenflies Oh^11"),
        Reason.UNKNOWN_SYMMETRY,
    ),
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
    Bad("an unknown group", cif(symmetry=hm("F q -3 m")), Reason.UNKNOWN_SYMMETRY, "not in the tables"),
    Bad("an unknown Hall symbol", cif(symmetry="_symmetry_space_group_name_Hall 'Q 2'"), Reason.UNKNOWN_SYMMETRY),
    Bad("a number beyond 230", cif(symmetry="_symmetry_Int_Tables_number 231"), Reason.UNKNOWN_SYMMETRY, "1 to 230"),
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
    Bad(
        "thousands of operations",
        cif(operations=[f"x,y,z+{i}/5000" for i in range(5000)]),
        Reason.UNKNOWN_SYMMETRY,
        "at most 1,000 symmetry operations, got 5,000",
    ),
    Bad(
        "thousands of operations with their centrings",
        cif().replace(
            "loop_",
            "loop_\n_space_group_symop_magn_operation.xyz\n"
            + "\n".join(f"x,y,z+{i}/100,+1" for i in range(100))
            + "\nloop_\n_space_group_symop_magn_centering.xyz\n"
            + "\n".join(f"x,y+{i}/100,z,+1" for i in range(100))
            + "\nloop_",
        ),
        Reason.UNKNOWN_SYMMETRY,
        "got 10,000",
    ),
    Bad("no operation", cif(operations=["x,y"]), Reason.UNKNOWN_SYMMETRY, "'x,y'"),
    Bad(
        "a magnetic group without operations",
        cif(extra="_space_group_magn.name_BNS 'F_Smmm'"),
        Reason.UNKNOWN_SYMMETRY,
        "magnetic",
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


@pytest.mark.parametrize(("name", "setting"), SAME_NAMES)
def test_names_of_a_setting_mean_the_same(name: str, setting: str) -> None:
    assert [found.name for found in settings(GroupNames(symbols=(name,)))] == [setting]


def test_operations_of_a_group_may_be_listed_in_any_order(repository: Path) -> None:
    text = (repository / "tests/graphdb/cases/18-missing-hydrogens/NH4Cl.cif").read_text()
    head, tail = text.split("_symmetry_equiv_pos_as_xyz\n")
    operations = tail.split("loop_")[0].splitlines()
    turned = head + "_symmetry_equiv_pos_as_xyz\n" + "\n".join(operations[::-1]) + "\nloop_" + tail.split("loop_", 1)[1]
    one, other = (parse_crystal(t.encode(), "cif") for t in (text, turned))
    assert formula(one) == formula(other)
    assert abs(shortest_distance(one) - shortest_distance(other)) < 1e-6
