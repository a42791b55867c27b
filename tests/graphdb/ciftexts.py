"""CIFs for tests: what they say, what they become, and why they are refused."""

from dataclasses import dataclass

import pytest

from graphdb.errors import Reason, Unusable
from graphdb.parse import parse_crystal
from tests.graphdb.looks import formula, shortest_distance

ROCK_SALT = "Cl4 Na4"


OPERATIONS_OF_F = ["x,y,z", "x,y+1/2,z+1/2", "x+1/2,y,z+1/2", "x+1/2,y+1/2,z"]


NA, CL = "Na1 Na 0 0 0", "Cl1 Cl 0.5 0.5 0.5"


def cif(
    *sites: str,
    cell: tuple[str, ...] = ("5.64", "5.64", "5.64", "90", "90", "90"),
    columns: str = "label type_symbol fract_x fract_y fract_z",
    symmetry: str = "",
    operations: list[str] | None = None,
    extra: str = "",
) -> str:
    names = ["length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma"]
    lines = ["data_x", *(f"_cell_{name} {value}" for name, value in zip(names, cell, strict=True) if value), symmetry]
    if operations:
        lines += ["loop_", "_symmetry_equiv_pos_as_xyz", *(f"'{operation}'" for operation in operations)]
    lines += [extra, "loop_", *(f"_atom_site_{name}" for name in columns.split()), *(sites or (NA, CL))]
    return "\n".join(lines) + "\n"


def hm(name: str) -> str:
    return f"_symmetry_space_group_name_H-M '{name}'"


def rock_salt(symmetry: str = hm("F m -3 m"), **changes: object) -> str:
    return cif(NA, CL, symmetry=symmetry, **changes)  # type: ignore[arg-type]


def occupied(*sites: str, **changes: object) -> str:
    columns = "label type_symbol fract_x fract_y fract_z occupancy"
    return cif(*sites, columns=columns, **changes)  # type: ignore[arg-type]


def labelled(*labels: str, extra: str = "") -> str:
    places = ("0 0 0", "0.5 0.5 0.5", "0.5 0 0", "0 0.5 0")
    sites = [f"{label} {place}" for label, place in zip(labels, places, strict=False)]
    return cif(*sites, columns="label fract_x fract_y fract_z", extra=extra)


@dataclass(frozen=True)
class Good:
    """A text and the crystal that it is."""

    name: str
    text: str | bytes
    atoms: str = "Cl1 Na1"
    distance: float = 4.884
    notes: tuple[Reason, ...] = ()


@dataclass(frozen=True)
class Bad:
    """A text and why it is refused."""

    name: str
    text: str
    reason: Reason
    message: str = ""


Z = "_cell_formula_units_Z"


NOTED, DIFFERS, MERGED = Reason.SITE_WITHOUT_PLACE, Reason.FORMULA_DIFFERS, Reason.SITES_MERGED


BASE = cif()


def check_good(case: Good) -> None:
    """That the text becomes its crystal."""
    crystal = parse_crystal(case.text if isinstance(case.text, bytes) else case.text.encode(), "cif")
    assert formula(crystal) == case.atoms
    assert abs(shortest_distance(crystal) - case.distance) < 2e-3
    assert {note.reason for note in crystal.notes} == set(case.notes)


def check_bad(case: Bad) -> None:
    """That the text is refused for its reason."""
    with pytest.raises(Unusable) as refused:
        parse_crystal(case.text.encode(), "cif")
    assert refused.value.reason == case.reason, refused.value.message
    assert case.message in refused.value.message
    assert "\n" not in refused.value.message
