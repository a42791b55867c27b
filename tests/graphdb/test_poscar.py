"""POSCARs as programs and people write them: each becomes the right crystal, or is refused for the right reason."""

import numpy as np
import pytest

from graphdb.errors import Reason, Unusable
from graphdb.parse import parse_crystal
from tests.graphdb.looks import formula, shortest_distance

PLAIN = """rock salt
5.64
0.0 0.5 0.5
0.5 0.0 0.5
0.5 0.5 0.0
Na Cl
1 1
Direct
0 0 0
0.5 0.5 0.5
"""
VOLUME = 5.64**3 / 4

#: what is changed, and how; the crystal stays the same
SAME: dict[str, tuple[tuple[str, str], ...]] = {
    "as it is": (),
    "CRLF": (("\n", "\r\n"),),
    "no line end at the end": (("0.5 0.5 0.5\n", "0.5 0.5 0.5"),),
    "tabs and blanks": ((" ", " \t "), ("Direct", "  direct  ")),
    "D exponents": (("5.64", "5.64D0"), ("0.5 0.5 0.0", "5.0d-1 0.5D+00 0.0D0")),
    "three factors": (("5.64", "5.64 5.64 5.64"),),
    "the volume": (("5.64", f"-{VOLUME!r}"),),
    "a comment behind the factor": (("5.64", "5.64  ! lattice constant"),),
    "comments everywhere": (
        ("Na Cl", "Na Cl # elements"),
        ("1 1\n", "1 1 ! counts\n"),
        ("0 0 0\n", "0 0 0 Na1 ! here\n"),
    ),
    "potentials": (("Na Cl", "Na_pv Cl"),),
    "potentials and hashes": (("Na Cl", "Na_pv/0a1b2c3d Cl/99bb"),),
    "selective dynamics": (
        ("Direct", "Selective dynamics\nDirect"),
        ("0 0 0\n", "0 0 0 T T F\n"),
        ("0.5 0.5 0.5\n", "0.5 0.5 0.5 F F F\n"),
    ),
    "species and counts over two lines": (("Na Cl\n1 1", "Na\nCl\n1\n1"),),
    "velocities behind": (("0.5 0.5 0.5\n", "0.5 0.5 0.5\n\n0.1 0.2 0.3\n0.1 0.2 0.3\n"),),
    "predictor and corrector behind": (("0.5 0.5 0.5\n", "0.5 0.5 0.5\n\n  0.00000000E+00\n 1\n 2\n"),),
    "elements behind coordinates": (("0 0 0\n", "0 0 0 Na\n"), ("0.5 0.5 0.5\n", "0.5 0.5 0.5 Cl\n")),
    "velocities behind a mode": (("0.5 0.5 0.5\n", "0.5 0.5 0.5\nDirect\n0.1 0.2 0.3\n0.1 0.2 0.3\n"),),
    "velocities of the lattice behind": (
        ("0.5 0.5 0.5\n", "0.5 0.5 0.5\nLattice velocities and vectors\n 1\n" + "0 0 0\n" * 3 + "1 2 3\n" * 3),
    ),
    "everything behind": (
        (
            "0.5 0.5 0.5\n",
            "0.5 0.5 0.5\nLattice velocities and vectors\n 1\n"
            + "0 0 0\n" * 3
            + "1 2 3\n" * 3
            + "Direct\n0 0 0\n0 0 0\n\n1\n0.5E+00\n1 2 3 4\n"
            + "0.1 0.2 0.3\n" * 6,
        ),
    ),
    "words behind the counts": (("1 1\n", "1 1 atoms\n"),),
    "no word for the mode": (("Direct", ""),),
    "another word for the mode": (("Direct", "relative"),),
    "selective dynamics and no word for the mode": (("Direct", "Selective\n"),),
    "a charge of hydrogen": (("Na Cl", "Na Cl.5"),),
    "fractional": (("Direct", "fractional"),),
    "Cartesian": (("Direct", "Cartesian"), ("0.5 0.5 0.5\n", "0.5 0 0\n")),
    "Cartesian, k for K": (("Direct", "k"), ("0.5 0.5 0.5\n", "0.5 0 0\n")),
    "Cartesian, three factors": (("Direct", "Cartesian"), ("0.5 0.5 0.5\n", "0.5 0 0\n"), ("5.64", "5.64 5.64 5.64")),
    "Cartesian, the volume": (("Direct", "Cartesian"), ("0.5 0.5 0.5\n", "0.5 0 0\n"), ("5.64", f"-{VOLUME!r}")),
}
BAD: dict[str, tuple[tuple[tuple[str, str], ...], Reason, str]] = {
    "VASP 4": ((("Na Cl\n", ""),), Reason.UNKNOWN_ELEMENT, "name the elements"),
    "two factors": ((("5.64", "5.64 5.64"),), Reason.UNPARSABLE, "one or three"),
    "a word for a factor": ((("5.64", "large"),), Reason.UNPARSABLE, "'large'"),
    "a factor of zero": ((("5.64", "0.0"),), Reason.INVALID_CELL, "not 0"),
    "one of three negative": ((("5.64", "5.64 -5.64 5.64"),), Reason.INVALID_CELL, "positive"),
    "a factor that is no number": ((("5.64", "nan"),), Reason.INVALID_CELL, "finite"),
    "a flat cell": ((("0.5 0.5 0.0", "0.5 0.5 1.0"),), Reason.INVALID_CELL, "volume"),
    "a flat cell of some volume": ((("0.5 0.5 0.0", "0.5 0.5 1.0"), ("5.64", "-44")), Reason.INVALID_CELL, "volume"),
    "a vector of two numbers": ((("0.5 0.0 0.5", "0.5 0.0"),), Reason.UNPARSABLE, "line 4"),
    "fewer counts than species": ((("1 1", "2"),), Reason.UNPARSABLE, "2 species are named, but 1 count"),
    "more counts than species": ((("1 1", "1 1 1"),), Reason.UNPARSABLE, "2 species are named, but 3 counts"),
    "no atoms": ((("1 1", "0 0"),), Reason.NO_ATOMS, ""),
    "fewer lines than atoms": ((("1 1", "1 3"),), Reason.UNPARSABLE, "4 atoms"),
    "no mode": ((("Direct\n", ""),), Reason.UNPARSABLE, "Direct or Cartesian"),
    "a dummy": ((("Na Cl", "X Cl"),), Reason.UNKNOWN_ELEMENT, "'X'"),
    "a word for a coordinate": ((("0.5 0.5 0.5", "0.5 half 0.5"),), Reason.UNPARSABLE, "line 10"),
    "a coordinate of nan": ((("0.5 0.5 0.5", "0.5 nan 0.5"),), Reason.BAD_COORDINATES, "finite"),
    "a mode of numbers": ((("Direct", "0.1 0.1 0.1"),), Reason.UNPARSABLE, "Direct or Cartesian"),
    "counts with a point": ((("1 1", "1.0 1.0"),), Reason.UNPARSABLE, "whole numbers, got '1.0 1.0'"),
    "more lines than atoms": ((("0.5 0.5 0.5\n", "0.5 0.5 0.5\n0 0 0.5\n"),), Reason.UNPARSABLE, "line 11"),
    "more lines with words": (
        (("0.5 0.5 0.5\n", "0.5 0.5 0.5 T T T\n0 0 0.5 T T T Na\n"),),
        Reason.UNPARSABLE,
        "2 atoms are counted",
    ),
    "twice the same": ((("0.5 0.5 0.5\n", "0.5 0.5 0.5\n" + PLAIN),), Reason.SEVERAL_STRUCTURES, "line 11"),
    "another one behind a blank line": (
        (("0.5 0.5 0.5\n", "0.5 0.5 0.5\n\n" + PLAIN),),
        Reason.SEVERAL_STRUCTURES,
        "line 12",
    ),
    "another one, and of another kind": (
        (("0.5 0.5 0.5\n", "0.5 0.5 0.5\n" + PLAIN.replace("rock salt", "").replace("5.64\n", "1 1 1\n")),),
        Reason.SEVERAL_STRUCTURES,
        "line 11",
    ),
    "another one of VASP 4": (
        (("0.5 0.5 0.5\n", "0.5 0.5 0.5\n" + PLAIN.replace("Na Cl\n", "")),),
        Reason.SEVERAL_STRUCTURES,
        "line 11",
    ),
    "a trajectory": (
        (
            ("Direct", "Direct configuration=     1"),
            ("0.5 0.5 0.5\n", "0.5 0.5 0.5\nDirect configuration=     2\n0 0 0\n0.5 0.5 0.6\n"),
        ),
        Reason.SEVERAL_STRUCTURES,
        "line 11",
    ),
    "two elements in one": ((("Na Cl", "Fe0.5Co0.5 Cl"),), Reason.DISORDERED, "Fe0.5Co0.5"),
    "two elements with a sign": ((("Na Cl", "Fe-Co Cl"),), Reason.DISORDERED, "Fe-Co"),
    "millions": ((("1 1", "1 5000000"),), Reason.TOO_LARGE, "5,000,001"),
}


def changed(pairs: tuple[tuple[str, str], ...]) -> bytes:
    text = PLAIN
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    return text.encode()


@pytest.mark.parametrize("name", SAME)
def test_variants_are_the_same_crystal(name: str) -> None:
    crystal = parse_crystal(changed(SAME[name]), "poscar")
    assert formula(crystal) == "Cl1 Na1"
    assert abs(shortest_distance(crystal) - 2.82) < 1e-6
    assert abs(abs(np.linalg.det(crystal.lattice)) - VOLUME) < 1e-9


def test_three_factors_are_those_of_x_y_and_z() -> None:
    crystal = parse_crystal(changed((("5.64", "4 5 6"),)), "poscar")
    assert np.allclose(crystal.lattice, np.array([[0, 2.5, 3], [2, 0, 3], [2, 2.5, 0]]))


@pytest.mark.parametrize(
    ("species", "counts", "atoms"),
    [
        ("Na Cl Na", "1 1 1", "Cl1 Na2"),
        ("B N", "2 1", "B2 N1"),
        ("S F S", "1 1 1", "F1 S2"),
        ("C D", "1 2", "C1 H2"),
    ],
)
def test_species_may_have_one_letter_and_be_named_twice(species: str, counts: str, atoms: str) -> None:
    places = "0 0 0\n0.5 0.5 0.5\n0.25 0.25 0.25\n"
    text = PLAIN.replace("Na Cl\n1 1", f"{species}\n{counts}").replace("0 0 0\n0.5 0.5 0.5\n", places)
    assert formula(parse_crystal(text.encode(), "poscar")) == atoms


@pytest.mark.parametrize("name", BAD)
def test_bad_variants_are_refused_for_the_right_reason(name: str) -> None:
    pairs, reason, message = BAD[name]
    with pytest.raises(Unusable) as refused:
        parse_crystal(changed(pairs), "poscar")
    assert refused.value.reason == reason, refused.value.message
    assert message in refused.value.message
