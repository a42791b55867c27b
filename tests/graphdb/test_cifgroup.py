"""The symmetry of CIFs: names of groups, lists of operations, hints."""

from pathlib import Path

import pytest

from graphdb.errors import Reason
from graphdb.parse import parse_crystal
from graphdb.symmetry import GroupNames, settings
from tests.graphdb.ciftexts import (
    BASE,
    CL,
    NA,
    OPERATIONS_OF_F,
    ROCK_SALT,
    Bad,
    Good,
    check_bad,
    check_good,
    cif,
    hm,
    rock_salt,
)
from tests.graphdb.looks import formula, shortest_distance

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
]
BAD = [
    *(Bad(hint, cif(symmetry=hint), Reason.UNKNOWN_SYMMETRY, "list its operations") for hint in HINTS),
    Bad(
        "a Schoenflies symbol that is none",
        cif(symmetry="_space_group_name_Schoenflies Oh^11"),
        Reason.UNKNOWN_SYMMETRY,
    ),
    Bad("an unknown group", cif(symmetry=hm("F q -3 m")), Reason.UNKNOWN_SYMMETRY, "not in the tables"),
    Bad("an unknown Hall symbol", cif(symmetry="_symmetry_space_group_name_Hall 'Q 2'"), Reason.UNKNOWN_SYMMETRY),
    Bad("a number beyond 230", cif(symmetry="_symmetry_Int_Tables_number 231"), Reason.UNKNOWN_SYMMETRY, "1 to 230"),
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
