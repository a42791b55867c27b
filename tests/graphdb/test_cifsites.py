"""The sites of CIFs: elements, occupancies, places."""

import pytest

from graphdb.errors import Reason
from tests.graphdb.ciftexts import (
    BASE,
    CL,
    DIFFERS,
    MERGED,
    NA,
    NOTED,
    Bad,
    Good,
    check_bad,
    check_good,
    cif,
    hm,
    labelled,
    occupied,
)

#: Type symbols of sites that several elements share, or that are partly empty; and of one element.
SHARED = [
    *("Fe0.5Co0.5", "Mg0.9Fe0.1", "Fe-Co", "Fe:Co", "Fe|Co", "Fe;Co", "Fe_Co", "Fe Co", "Fe,Co", "Fe1Co1", "Fe+Co"),
    *(
        "0.648(4)Mn + 0.352(4)Fe",
        "Fe2+/Co2+",
        "Fe2+Co3+",
        "(Fe,Co)",
        "Fe.5Co.5",
        "fe:co",
        "Fe2+_Co2+",
        "Fe2+ Co2+",
        "Mn + Fe",
        "0.5Fe0.5Co",
    ),
]
PARTLY = ["Fe0.5", "0.5Fe", "Fe.5", "Fe(0.5)", "Fe0.5(2)"]
SPECIES = {
    "Fe3+": "Fe1",
    "Fe+3": "Fe1",
    "Fe2.5+": "Fe1",
    "Fe+2.5": "Fe1",
    "Fe0": "Fe1",
    "Fe0+": "Fe1",
    "FE": "Fe1",
    "Fe1": "Fe1",
    "Fe1.0": "Fe1",
    "Fe(III)": "Fe1",
    "Cu(I)": "Cu1",
    "O1W": "O1",
    "57Fe": "Fe1",
    "Fe_a": "Fe1",
    "Mn2+_up": "Mn1",
    "O2-(w)": "O1",
    "Fe+2 up": "Fe1",
    "O2-": "O1",
    "O-2": "O1",
    "Fe0.33-": "Fe1",
    "Fe,": "Fe1",
    "Fe*": "Fe1",
    "Fe'": "Fe1",
}
GOOD = [
    # elements
    Good("ions", cif("Na1 Na1+ 0 0 0", "Cl1 Cl- 0.5 0.5 0.5")),
    Good("charge before its sign or after", cif("Na1 Na+1 0 0 0", "Cl1 Cl1- 0.5 0.5 0.5")),
    Good("capitals", cif("NA1 NA 0 0 0", "CL1 CL 0.5 0.5 0.5")),
    Good("deuterium and tritium", cif("D1 D 0 0 0", "T1 T 0.5 0.5 0.5"), "H2"),
    Good("isotopes", cif("H1 2H 0 0 0", "C1 13C 0.5 0.5 0.5"), "C1 H1"),
    Good("water by its parts", cif("O1 Ow 0 0 0", "H1 Hw 0.5 0.5 0.5"), "H1 O1"),
    Good("a group", cif("O1 OH 0 0 0", CL), "Cl1 O1", notes=(NOTED,)),
    Good("labels only", labelled("Na1", "Cl1")),
    Good("labels with letters behind", labelled("Na1a", "Cl2_b")),
    Good("labels of one letter", labelled("O1W", "H1A"), "H1 O1"),
    Good(
        "labels in capitals, told by the formula", labelled("CA1", "O1", extra="_chemical_formula_sum 'Ca O'"), "Ca1 O1"
    ),
    Good("labels of carbon, told by the formula", labelled("CA1", "O1", extra="_chemical_formula_sum 'C O'"), "C1 O1"),
    Good("tungsten, as the formula has it", labelled("W1", "O1", extra="_chemical_formula_sum 'W O'"), "O1 W1"),
    Good("tungsten, without oxygen", labelled("W1", "C1"), "C1 W1"),
    Good("tritium, as the formula has it", labelled("T1", "O1", extra="_chemical_formula_sum 'T O'"), "H1 O1"),
    Good("labels with one more letter", labelled("Na1A", "Cl2_b", "O1W", "C1B"), "C1 Cl1 Na1 O1", 2.82),
    *(Good(f"{name} is {atoms}", cif(f"A1 '{name}' 0 0 0", CL), f"Cl1 {atoms}") for name, atoms in SPECIES.items()),
    Good("labels of water", labelled("Na1", "OW1"), "Na1 O1"),
    # occupancy
    Good("occupancy unknown", occupied("Na1 Na 0 0 0 ?", "Cl1 Cl 0.5 0.5 0.5 .")),
    Good(
        "one element, two charges",
        occupied("Fe1 Fe2+ 0 0 0 0.5", "Fe2 Fe3+ 0 0 0 0.5", "Cl1 Cl 0.5 0.5 0.5 1"),
        "Cl1 Fe1",
    ),
    Good("empty sites", occupied("Na1 Na 0 0 0 1", "Cl1 Cl 0.5 0.5 0.5 1", "H1 H 0.1 0.1 0.1 0.0")),
    Good(
        "one disorder group",
        cif(
            "Na1 Na 0 0 0 1", "Cl1 Cl 0.5 0.5 0.5 .", columns="label type_symbol fract_x fract_y fract_z disorder_group"
        ),
    ),
    Good(
        "attached hydrogens",
        cif(
            "Na1 Na 0 0 0 0",
            "O1 O 0.5 0.5 0.5 2",
            columns="label type_symbol fract_x fract_y fract_z attached_hydrogens",
        ),
        "Na1 O1",
        notes=(NOTED,),
    ),
    # places
    Good(
        "zero written as a dot",
        cif(
            "F1 F .5 . .",
            "K1 K .5 .5 .5",
            "Mn1 Mn . . .",
            cell=("4.18", "4.18", "4.18", "90", "90", "90"),
            symmetry=hm("P m -3 m"),
            extra="_chemical_formula_sum 'F3 K Mn'\n_cell_formula_units_Z 1",
        ),
        "F3 K1 Mn1",
        2.09,
        (NOTED,),
    ),
    Good("a column of dots", cif("Na1 Na 0 0 .", "Cl1 Cl 0.5 0.5 ."), distance=3.988),
    Good(
        "no place and no zero",
        cif(NA, CL, "H1 H ? ? ?", extra="_chemical_formula_sum 'H Na Cl'"),
        notes=(DIFFERS, NOTED),
    ),
    Good(
        "dummies",
        cif(
            "Na1 Na 0 0 0 d",
            "Cl1 Cl 0.5 0.5 0.5 calc",
            "X1 H 0.2 0.2 0.2 dum",
            columns="label type_symbol fract_x fract_y fract_z calc_flag",
        ),
    ),
    Good("twice there", cif(NA, CL, "Na2 Na 1.0 0 0"), notes=(MERGED,)),
]
BAD = [
    Bad("a coordinate missing", cif(NA, "Cl1 Cl ? 0.5 0.5"), Reason.BAD_COORDINATES, "Cl1 lacks some"),
    Bad("a word for a coordinate", cif(NA, "Cl1 Cl x 0.5 0.5"), Reason.UNPARSABLE, "'x'"),
    Bad("digits in groups", cif(NA, "Cl1 Cl 0_5 0.5 0.5"), Reason.UNPARSABLE, "0_5"),
    Bad("no site has a place", cif("Na1 Na ? ? ?"), Reason.NO_ATOMS, "place"),
    Bad("no coordinates at all", BASE.replace("fract_", "calc_"), Reason.NO_ATOMS, "lists no atoms"),
    Bad("two coordinates", BASE.replace("fract_z", "calc_z"), Reason.UNPARSABLE, "fract_z is missing"),
    Bad("Cartesian only", BASE.replace("fract_", "Cartn_"), Reason.UNPARSABLE, "Cartesian"),
    Bad("partly empty", occupied("Na1 Na 0 0 0 0.5", "Cl1 Cl 0.5 0.5 0.5 1"), Reason.DISORDERED, "partly empty"),
    *(
        Bad(f"an occupancy of {share}", occupied(f"{NA} {share}", f"{CL} 1"), Reason.UNPARSABLE, f"0 to 1, got ({got})")
        for share, got in (("inf", "inf"), ("nan", "nan"), ("1e999", "inf"), ("-0.5", "-0.5"))
    ),
    Bad("shared", occupied("Na1 Na 0 0 0 0.5", "K1 K 0 0 0 0.5"), Reason.DISORDERED, "shared"),
    Bad("shared, in one type symbol", cif("T1 '0.75Si + 0.25Al' 0 0 0", CL), Reason.DISORDERED, "0.75Si"),
    Bad("many partly empty sites", occupied(*(f"C{i} C {i / 9000} 0 0 0.5" for i in range(9000))), Reason.DISORDERED),
    Bad(
        "alternatives without occupancy",
        cif("Na1 Na 0 0 0 1", "Na2 Na 0.05 0 0 2", columns="label type_symbol fract_x fract_y fract_z disorder_group"),
        Reason.DISORDERED,
        "disorder groups 1, 2",
    ),
    *(
        Bad(f"shared, as {name}", cif(f"M1 '{name}' 0 0 0", CL), Reason.DISORDERED, "several elements")
        for name in SHARED
    ),
    *(
        Bad(f"shared, as {name} in a label", labelled(name, "Cl1"), Reason.DISORDERED, "several elements")
        for name in ("Fe/Co", "Fe1/Co1", "Fe-Co", "Fe,Co1", "FeCo1", "Al1Si1", "Fe0.5Co0.5", "Fe_Co")
    ),
    *(Bad(f"partly empty, as {name}", cif(f"M1 '{name}' 0 0 0", CL), Reason.DISORDERED, name) for name in PARTLY),
    Bad(
        "a site shared with a vacancy",
        occupied("Na1 Na 0 0 0 0.5", "Va1 Va 0 0 0 0.5", f"{CL} 1"),
        Reason.DISORDERED,
        "partly empty",
    ),
    Bad("tungsten or water", labelled("W1", "O1"), Reason.UNKNOWN_ELEMENT, "W or water"),
    Bad(
        "water beside a formula without tungsten",
        labelled("Na1", "W1", extra="_chemical_formula_sum 'Na O'"),
        Reason.UNKNOWN_ELEMENT,
        "'W1'",
    ),
    Bad("a tetrahedral site", labelled("T1", "O1"), Reason.UNKNOWN_ELEMENT, "'T1'"),
    Bad(
        "a tetrahedral site and a formula",
        labelled("T1", extra="_chemical_formula_sum Si"),
        Reason.UNKNOWN_ELEMENT,
        "T1",
    ),
    Bad("a label with two readings", labelled("CA1", "O1"), Reason.UNKNOWN_ELEMENT, "Ca or C"),
    Bad("a vacancy", labelled("Va1", "O1"), Reason.UNKNOWN_ELEMENT, "Va1"),
    Bad("no element named", cif("0 0 0", columns="fract_x fract_y fract_z"), Reason.UNKNOWN_ELEMENT, "type_symbol"),
    Bad("an element that is none", cif("J1 J 0 0 0"), Reason.UNKNOWN_ELEMENT, "'J'"),
]


@pytest.mark.parametrize("case", GOOD, ids=lambda case: case.name)
def test_good_variants_become_the_right_crystal(case: Good) -> None:
    check_good(case)


@pytest.mark.parametrize("case", BAD, ids=lambda case: case.name)
def test_bad_variants_are_refused_for_the_right_reason(case: Bad) -> None:
    check_bad(case)
