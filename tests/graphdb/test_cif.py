"""CIFs as programs and people write them: each becomes the right crystal, or is refused for the right reason."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from graphdb.cif import cell_vectors
from graphdb.errors import Reason, Unusable
from graphdb.parse import parse_crystal
from graphdb.symmetry import GroupNames, settings
from tests.graphdb.looks import formula, shortest_distance

ROCK_SALT = "Cl4 Na4"
OPERATIONS_OF_F = ["x,y,z", "x,y+1/2,z+1/2", "x+1/2,y,z+1/2", "x+1/2,y+1/2,z"]
NA, CL = "Na1 Na 0 0 0", "Cl1 Cl 0.5 0.5 0.5"
RHOMBOHEDRAL = ("5.0", "5.0", "5.0", "60", "60", "60")


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
NOTED, DIFFERS, MERGED = Reason.SITE_WITHOUT_PLACE, Reason.FORMULA_DIFFERS, Reason.SITES_MERGED
BASE = cif()
GOOD = [
    # grammar
    Good("as it is", BASE),
    Good("CRLF", BASE.replace("\n", "\r\n")),
    Good("tags in capitals", BASE.replace("_cell_length", "_CELL_LENGTH").replace("_atom_site_f", "_Atom_Site_F")),
    Good("LOOP_ and DATA_", BASE.replace("loop_", "LOOP_").replace("data_", "DATA_")),
    Good("tags with dots, as mmCIF has them", BASE.replace("_cell_", "_cell.").replace("_atom_site_", "_atom_site.")),
    Good("a loop on one line", BASE.replace("loop_\n", "loop_ ").replace("\n_atom", " _atom")),
    Good("rows broken over lines", BASE.replace(" 0.5 0.5 0.5", "\n0.5\n0.5 0.5")),
    Good("values in quotes", BASE.replace("Na1 Na 0 0 0", "'Na1' \"Na\" '0' 0 \"0\"")),
    Good("values in text fields", BASE.replace("_cell_length_a 5.64", "_cell_length_a\n;5.64\n;")),
    Good("a quote within quotes", BASE.replace("data_x", "data_x\n_publ_author_name 'O'Neill, B.'")),
    Good("comments", BASE.replace("5.64\n", "5.64 # measured\n").replace("loop_", "loop_ # of atoms")),
    Good("not ASCII", BASE.replace("data_x", "data_Schrödinger\n_publ_note 'Ångström ≈ 10⁻¹⁰ m'")),
    Good("a minus sign of typographers", BASE.replace("0.5 0.5 0.5", "−0.5 −0.5 −0.5")),
    Good("blanks that do not break", BASE.replace("Na1 Na", "Na1\u00a0Na")),
    Good(
        "a text field with data_ and loop_",
        BASE.replace("data_x", "data_x\n_iucr_refine_details\n;\ndata_other\nloop_\n_atom_site_fract_x\n0.1\n;"),
    ),
    Good("a save frame", BASE + "save_frame\n_atom_site_fract_x 0.3\nsave_\n"),
    Good("a name twice that does not matter", BASE.replace("data_x", "data_x\n_publ_note a\n_publ_note b")),
    Good("an empty loop of something else", BASE.replace("loop_", "loop_\n_geom_bond_distance\nloop_")),
    Good("a block without atoms before", "data_global\n_journal_year 1999\n" + BASE),
    Good(
        "other columns between",
        cif(
            "0 . Na 0 0 a Na1",
            "0.5 ? Cl 0.5 0.5 b Cl1",
            columns="fract_x B_iso_or_equiv type_symbol fract_y fract_z Wyckoff_symbol label",
        ),
    ),
    Good(
        "too many values",
        BASE.replace("_cell_length_b 5.64", "_cell_length_b 5.64 Angstrom"),
        notes=(Reason.IRREGULAR_TEXT,),
    ),
    # numbers
    Good("uncertainties", BASE.replace("5.64", "5.640(2)").replace("90", "90.(0)").replace("0.5 ", "0.500(13) ")),
    Good("uncertainties behind a blank", BASE.replace("5.64", "'5.640 (2)'").replace("_alpha 90", "_alpha '90 (0) '")),
    Good("numbers without zero or with exponent", BASE.replace("0.5 0.5 0.5", ".5 5.E-1 +0.5")),
    Good("outside of the cell", BASE.replace("0.5 0.5 0.5", "-0.5 1.5 7.5")),
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
        "columns of atoms in two loops",
        cif(extra="loop_\n_atom_site_disorder_group\n1"),
        Reason.UNPARSABLE,
        "equally long",
    ),
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
    Bad("a coordinate missing", cif(NA, "Cl1 Cl ? 0.5 0.5"), Reason.BAD_COORDINATES, "Cl1 lacks some"),
    Bad("a word for a coordinate", cif(NA, "Cl1 Cl x 0.5 0.5"), Reason.UNPARSABLE, "'x'"),
    Bad("digits in groups", cif(NA, "Cl1 Cl 0_5 0.5 0.5"), Reason.UNPARSABLE, "0_5"),
    Bad("no site has a place", cif("Na1 Na ? ? ?"), Reason.NO_ATOMS, "place"),
    Bad("no coordinates at all", BASE.replace("fract_", "calc_"), Reason.NO_ATOMS, "lists no atoms"),
    Bad("two coordinates", BASE.replace("fract_z", "calc_z"), Reason.UNPARSABLE, "fract_z is missing"),
    Bad("Cartesian only", BASE.replace("fract_", "Cartn_"), Reason.UNPARSABLE, "Cartesian"),
    Bad("a row cut off", BASE.rstrip().removesuffix("0.5 0.5"), Reason.UNPARSABLE, "Wrong number of values"),
    Bad("an atom's column twice", BASE + "loop_\n_atom_site_fract_x\n0.1\n", Reason.UNPARSABLE, "twice"),
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
    Bad(
        "a monoclinic cell without its angle",
        cif(cell=("5", "6", "7", "90", "", "90"), symmetry=hm("P 21/c")),
        Reason.NO_LATTICE,
        "_cell_angle_beta",
    ),
    Bad("half a cell", cif(cell=("5", "5", "", "90", "90", "90")), Reason.NO_LATTICE, "_cell_length_c"),
    Bad("angles that cannot be", cif(cell=("5", "5", "5", "60", "60", "130")), Reason.INVALID_CELL, "volume"),
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
        "a cell of another shape", rock_salt(cell=("5.64", "5.64", "7", "90", "90", "90")), Reason.INVALID_CELL, "shape"
    ),
    Bad(
        "operations of another shape",
        cif(cell=("5", "5", "7", "90", "90", "90"), operations=["x,y,z", "-y,x-y,z", "-x+y,-x,z"]),
        Reason.INVALID_CELL,
        "shape",
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
    Bad("modulated", cif(extra="_cell_modulation_dimension 1"), Reason.UNPARSABLE, "modulated"),
    Bad(
        "a magnetic group without operations",
        cif(extra="_space_group_magn.name_BNS 'F_Smmm'"),
        Reason.UNKNOWN_SYMMETRY,
        "magnetic",
    ),
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
    crystal = parse_crystal(case.text if isinstance(case.text, bytes) else case.text.encode(), "cif")
    assert formula(crystal) == case.atoms
    assert abs(shortest_distance(crystal) - case.distance) < 2e-3
    assert {note.reason for note in crystal.notes} == set(case.notes)


@pytest.mark.parametrize("case", BAD, ids=lambda case: case.name)
def test_bad_variants_are_refused_for_the_right_reason(case: Bad) -> None:
    with pytest.raises(Unusable) as refused:
        parse_crystal(case.text.encode(), "cif")
    assert refused.value.reason == case.reason, refused.value.message
    assert case.message in refused.value.message
    assert "\n" not in refused.value.message


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


def test_cell_vectors_have_the_lengths_and_angles_given() -> None:
    a, b, c = cell_vectors(5.0, 6.0, 7.0, 80.0, 95.0, 110.0)
    assert np.allclose([np.linalg.norm(v) for v in (a, b, c)], (5, 6, 7))
    angles = [np.degrees(np.arccos(u @ v / np.linalg.norm(u) / np.linalg.norm(v))) for u, v in ((b, c), (a, c), (a, b))]
    assert np.allclose(angles, (80, 95, 110))


def test_operations_of_a_group_may_be_listed_in_any_order(repository: Path) -> None:
    text = (repository / "tests/graphdb/cases/18-missing-hydrogens/NH4Cl.cif").read_text()
    head, tail = text.split("_symmetry_equiv_pos_as_xyz\n")
    operations = tail.split("loop_")[0].splitlines()
    turned = head + "_symmetry_equiv_pos_as_xyz\n" + "\n".join(operations[::-1]) + "\nloop_" + tail.split("loop_", 1)[1]
    one, other = (parse_crystal(t.encode(), "cif") for t in (text, turned))
    assert formula(one) == formula(other)
    assert abs(shortest_distance(one) - shortest_distance(other)) < 1e-6
