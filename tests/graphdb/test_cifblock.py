"""The grammar of CIFs, as programs and people write them."""

import pytest

from graphdb.errors import Reason
from tests.graphdb.ciftexts import (
    BASE,
    Bad,
    Good,
    check_bad,
    check_good,
    cif,
)

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
]
BAD = [
    Bad(
        "columns of atoms in two loops",
        cif(extra="loop_\n_atom_site_disorder_group\n1"),
        Reason.UNPARSABLE,
        "equally long",
    ),
    Bad("a row cut off", BASE.rstrip().removesuffix("0.5 0.5"), Reason.UNPARSABLE, "Wrong number of values"),
    Bad("an atom's column twice", BASE + "loop_\n_atom_site_fract_x\n0.1\n", Reason.UNPARSABLE, "twice"),
]


@pytest.mark.parametrize("case", GOOD, ids=lambda case: case.name)
def test_good_variants_become_the_right_crystal(case: Good) -> None:
    check_good(case)


@pytest.mark.parametrize("case", BAD, ids=lambda case: case.name)
def test_bad_variants_are_refused_for_the_right_reason(case: Bad) -> None:
    check_bad(case)
