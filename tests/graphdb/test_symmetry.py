"""Every setting of every space group, named in four ways without a list of operations: right, or refused."""

from collections import Counter
from functools import cache
from typing import Any

import gemmi
import numpy as np
import pytest
from numpy.typing import NDArray

from graphdb.errors import Reason, Unusable
from graphdb.groupsymbols import by_symbol
from graphdb.parse import parse_crystal

SETTINGS = list(gemmi.spacegroup_table())
#: a general position (Na), and one that is special in many groups (Cl); none comes near another one.
GENERAL, SPECIAL = (0.137, 0.241, 0.389), (0.0, 0.0, 0.0)


def cell(setting: Any) -> tuple[float, ...]:
    """A cell of the shape that the setting asks for, and of no higher symmetry."""
    system = setting.crystal_system_str()
    if system == "monoclinic":
        unique = "abc".index(setting.monoclinic_unique_axis())
        return (11.0, 12.5, 14.0, *(97.0 if axis == unique else 90.0 for axis in range(3)))
    if system == "trigonal" and setting.ext == "R":
        return (12.0, 12.0, 12.0, 75.0, 75.0, 75.0)
    return {
        "triclinic": (11.0, 12.5, 14.0, 81.0, 97.0, 104.0),
        "orthorhombic": (11.0, 12.5, 14.0, 90.0, 90.0, 90.0),
        "tetragonal": (12.0, 12.0, 14.0, 90.0, 90.0, 90.0),
        "trigonal": (12.0, 12.0, 14.0, 90.0, 90.0, 120.0),
        "hexagonal": (12.0, 12.0, 14.0, 90.0, 90.0, 120.0),
        "cubic": (13.0, 13.0, 13.0, 90.0, 90.0, 90.0),
    }[system]


def cif(setting: Any, names: str, formula: str = "") -> bytes:
    items = ["length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma"]
    lines = [f"_cell_{item} {value}" for item, value in zip(items, cell(setting), strict=True)]
    columns = "\n".join(f"_atom_site_{name}" for name in ("label", "type_symbol", "fract_x", "fract_y", "fract_z"))
    sites = "\n".join(f"{s}1 {s} {x} {y} {z}" for s, (x, y, z) in (("Na", GENERAL), ("Cl", SPECIAL)))
    return "\n".join(["data_x", *lines, names, formula, "loop_", columns, sites]).encode()


@cache
def expected(name: str) -> dict[int, NDArray[np.float64]]:
    """The orbits by element, from gemmi's operations applied one by one."""
    setting = gemmi.SpaceGroup(name)
    orbits = {}
    for number, site in ((11, GENERAL), (17, SPECIAL)):
        images = {tuple(round(x % 1.0, 6) % 1.0 for x in op.apply_to_xyz(list(site))) for op in setting.operations()}
        orbits[number] = np.array(sorted(images))
    return orbits


def is_right(content: bytes, setting: Any) -> bool | None:
    """Whether the atoms are those of the setting; None if the file is refused."""
    try:
        crystal = parse_crystal(content, "cif")
    except Unusable as error:
        assert error.reason in (Reason.UNKNOWN_SYMMETRY, Reason.INVALID_CELL), error.message
        return None
    for number, orbit in expected(setting.xhm()).items():
        found = crystal.frac_coords[crystal.atomic_numbers == number]
        if len(found) != len(orbit):
            return False
        away = found[:, None] - orbit[None]
        if (np.abs(away - np.rint(away)).max(axis=2).min(axis=0) > 1e-4).any():
            return False
    return True


WAYS = {
    "name with extension": lambda s: f"_symmetry_space_group_name_H-M '{s.xhm()}'",
    "Hall symbol": lambda s: f"_symmetry_space_group_name_Hall '{s.hall}'",
    "name and number": lambda s: f"_space_group_name_H-M_alt '{s.hm}'\n_space_group_IT_number {s.number}",
    "full name and number": lambda s: (
        f"_symmetry_space_group_name_H-M '{s.xhm()}'\n_symmetry_Int_Tables_number {s.number}"
    ),
    "number": lambda s: f"_symmetry_Int_Tables_number {s.number}",
}
#: Of the 564, how many are right rather than refused. What is ambiguous by its name must be refused.
NUM_RIGHT = {
    "name with extension": 564,
    "Hall symbol": 564,
    "full name and number": 564,
    "name and number": 498,
    "number": 153,
}


@pytest.mark.parametrize("way", WAYS)
def test_each_of_the_564_settings_is_right_or_refused(way: str) -> None:
    outcome = Counter(is_right(cif(setting, WAYS[way](setting)), setting) for setting in SETTINGS)
    assert outcome[False] == 0
    assert (outcome[True], sum(outcome.values())) == (NUM_RIGHT[way], 564)


#: Schoenflies' names of the classes, by Hermann and Mauguin's.
CLASSES = (
    {"1": "C1", "-1": "Ci", "2": "C2", "m": "Cs", "2/m": "C2h", "222": "D2", "mm2": "C2v", "mmm": "D2h", "4": "C4"}
    | {"-4": "S4", "4/m": "C4h", "422": "D4", "4mm": "C4v", "-42m": "D2d", "4/mmm": "D4h", "3": "C3", "-3": "C3i"}
    | {"32": "D3", "3m": "C3v", "-3m": "D3d", "6": "C6", "-6": "C3h", "6/m": "C6h", "622": "D6", "6mm": "C6v"}
    | {"-62m": "D3h", "6/mmm": "D6h", "23": "T", "m-3": "Th", "432": "O", "-43m": "Td", "m-3m": "Oh"}
)


def test_each_schoenflies_symbol_is_its_group() -> None:
    seen: Counter[str] = Counter()
    for number in range(1, 231):
        point_group = gemmi.find_spacegroup_by_number(number).point_group_hm()
        seen[point_group] += 1
        symbol = f"{CLASSES[point_group]}^{seen[point_group]}"
        assert {setting.number for setting in by_symbol(symbol)} == {number}, symbol
    assert by_symbol("Oh^11") == by_symbol("D2h^0") == by_symbol("C9^1") == []


def test_words_and_blanks_do_not_change_a_symbol() -> None:
    for setting in SETTINGS:
        wanted = by_symbol(setting.hm)
        assert setting.xhm() in [s.xhm() for s in wanted]
        for written in (f"{setting.hm} ({setting.number})", f"{setting.hm}, No. {setting.number}", setting.hm.upper()):
            assert by_symbol(written) == wanted, written
        if setting.ext in ("1", "2"):
            for written in (f"{setting.hm} (origin choice {setting.ext})", f"{setting.hm} {'SZ'[setting.ext == '2']}"):
                assert setting.xhm() in [s.xhm() for s in by_symbol(written)], written
