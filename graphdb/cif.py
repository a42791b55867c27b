"""From a CIF to atoms in a cell: which block, which cell, which sites, which symmetry.

Where a file can be understood in several ways, what it says elsewhere decides (formula times Z, multiplicities, the
shape of the cell); where nothing decides, it is refused with what would have to be added. One exception: a list of just
x, y, z, or of a part of the group that is named, is taken as it stands, with a note.
"""

import math
import re
from collections import Counter

import numpy as np
from numpy.typing import NDArray

from graphdb.cifblock import Block, read_blocks
from graphdb.cifgroup import Symmetry, read_symmetry
from graphdb.cifreading import Contents
from graphdb.cifsites import count_of, number_of, read_sites
from graphdb.crystal import Crystal, Note, checked, listed
from graphdb.errors import Reason, Unusable
from graphdb.formula import formula_agrees, formula_text, parse_formula
from graphdb.orbits import Arrays, check_positions, same_crystal
from graphdb.shapes import Float
from graphdb.symmetry import systems

LENGTHS = ("_cell_length_a", "_cell_length_b", "_cell_length_c")
ANGLES = ("_cell_angle_alpha", "_cell_angle_beta", "_cell_angle_gamma")
_MODULATED = (
    "_space_group_ssg",
    "_space_group_symop_ssg",
    "_cell_wave_vector",
    "_atom_site_displace",
    "_cell_subsystem",
)
#: How equal the distances of one crystal are in two settings that are written down with a few digits.
_ROUGHLY = 0.1
#: The angle that no monoclinic cell needs to have written down.
_RIGHT_ANGLES = frozenset({"90", "90.", "90.0", "90.00", "90.000", "90.0000"})
#: Reasons of a block that is a placeholder, not another crystal.
_PLACEHOLDER = frozenset({Reason.NO_ATOMS, Reason.NO_LATTICE})


def read_cif(text: str) -> Crystal:
    """The crystal of a CIF.

    Raises:
        Unusable: with the reason, if it has none or several, or if it cannot be told which atoms it has.
    """
    lower = text.lower()
    if not re.search(r"_atom_site[_.]", lower) and not re.search(r"_cell[_.]length_a", lower):
        message = "no crystal in this text: neither _cell_length_a nor _atom_site_fract_x"
        raise Unusable(Reason.UNPARSABLE, message)
    blocks, notes = read_blocks(text)
    with_atoms = [block for block in blocks if any(name.startswith("_atom_site_") for name in block.values)]
    if len(with_atoms) > 1:
        return _the_one(with_atoms, notes)
    if with_atoms:
        return _crystal(with_atoms[0], notes)
    if not any(name in block.values for block in blocks for name in LENGTHS):
        raise Unusable(Reason.UNPARSABLE, "neither cell nor atoms in a data block")
    raise Unusable(Reason.NO_ATOMS, "no _atom_site_fract_x: the file lists no atoms")


def _the_one(blocks: list[Block], notes: tuple[Note, ...]) -> Crystal:
    """The crystal that all blocks describe, as the first of them has it; placeholders do not count."""
    found: list[tuple[str, Crystal]] = []
    failed: list[tuple[str, Unusable]] = []
    placeholder: Unusable | None = None
    for block in blocks:
        try:
            found.append((block.name, _crystal(block, notes)))
        except Unusable as error:
            if error.reason in _PLACEHOLDER:
                placeholder = placeholder or error
            else:
                failed.append((block.name, error))
    if not found:
        raise failed[0][1] if failed else placeholder or Unusable(Reason.NO_ATOMS, "the file lists no atoms")
    name, crystal = found[0]
    if failed:
        message = (
            f"one structure per file is expected, got data_{name} and data_{failed[0][0]} ({failed[0][1].message})"
        )
        raise Unusable(Reason.SEVERAL_STRUCTURES, message)
    for other, another in found[1:]:
        if not same_crystal(_arrays(crystal), _arrays(another), _ROUGHLY):
            message = f"one structure per file is expected, got {len(found)}: data_{name}, data_{other}"
            raise Unusable(Reason.SEVERAL_STRUCTURES, message + (", ..." if len(found) > 2 else ""))
    return crystal


def _arrays(crystal: Crystal) -> Arrays:
    return crystal.atomic_numbers.astype(np.int64), crystal.lattice, crystal.frac_coords


def _crystal(block: Block, notes: tuple[Note, ...]) -> Crystal:
    if any(name.startswith(_MODULATED) for name in block.values) or block.text("_cell_modulation_dimension") > "0":
        raise Unusable(Reason.UNPARSABLE, "a modulated structure has no cell that repeats")
    remarks = list(notes)
    sites = read_sites(block, remarks)
    symmetry = read_symmetry(block)
    lattice = _lattice(block, symmetry)
    formula = parse_formula(block.text("_chemical_formula_sum"))
    num_units = count_of(block.text("_cell_formula_units_z"))
    check_positions(len(sites.numbers))
    numbers, fractions, merged = Contents(lattice, sites, formula, num_units, remarks).atoms_by(symmetry)
    if merged:
        what = "site of the list is" if merged == 1 else "sites of the list are"
        remarks.append(Note(Reason.SITES_MERGED, f"{merged:,} {what} at the place of an earlier one of its element"))
    atoms = Counter(numbers.tolist())
    if formula and not formula_agrees(formula, num_units, atoms):
        unit = f"{formula_text(formula)} times Z = {num_units:g}" if num_units else formula_text(formula)
        remarks.append(Note(Reason.FORMULA_DIFFERS, f"the formula says {unit}, the sites are {formula_text(atoms)}"))
    return checked(numbers, lattice, fractions, tuple(remarks))


def _lattice(block: Block, symmetry: Symmetry) -> NDArray[np.float64]:
    """Rows a, b, c in Å; what the crystal system makes superfluous may be missing."""
    texts = {name: block.text(name) for name in (*LENGTHS, *ANGLES)}
    missing = [name for name, text in texts.items() if not text]
    if missing:
        texts.update(_implied(symmetry, texts))
        missing = [name for name, text in texts.items() if not text]
    if missing:
        raise Unusable(Reason.NO_LATTICE, f"{missing[0]} is missing")
    cell = []
    for name, text in texts.items():
        number = number_of(text)
        if number is None:
            raise Unusable(Reason.UNPARSABLE, f"cell lengths and angles must be numbers, got {text!r} for {name}")
        cell.append(number)
    if not (np.isfinite(cell).all() and min(cell) > 0 and max(cell[:3]) < 1e5 and max(cell[3:]) < 180):
        raise Unusable(Reason.INVALID_CELL, f"cell lengths and angles must be positive and finite, got {listed(cell)}")
    return cell_vectors(*cell)


def cell_vectors(
    a: float, b: float, c: float, alpha: float, beta: float, gamma: float
) -> Float[NDArray[np.float64], "3 3"]:
    """Rows a, b, c in Å from lengths in Å and angles in degrees; c along z, a in the xz plane, as pymatgen has it.

    Raises:
        Unusable: if there is no such cell.
    """
    cos_alpha, cos_beta, cos_gamma = (math.cos(math.radians(angle)) for angle in (alpha, beta, gamma))
    sin_alpha, sin_beta = math.sin(math.radians(alpha)), math.sin(math.radians(beta))
    cos_star = (cos_alpha * cos_beta - cos_gamma) / (sin_alpha * sin_beta) if sin_alpha * sin_beta else 2.0
    if not -1 + 1e-8 < cos_star < 1 - 1e-8:
        message = f"the cell must have a volume, got angles {listed((alpha, beta, gamma))}"
        raise Unusable(Reason.INVALID_CELL, message)
    sin_star = math.sqrt(1 - cos_star * cos_star)
    rows = [
        [a * sin_beta, 0.0, a * cos_beta],
        [-b * sin_alpha * cos_star, b * sin_alpha * sin_star, b * cos_alpha],
        [0.0, 0.0, c],
    ]
    return np.array(rows)


def _implied(symmetry: Symmetry, texts: dict[str, str]) -> dict[str, str]:
    """The lengths and angles that follow from the others in the crystal system that the file names."""
    found = systems(symmetry.names) or {symmetry.system}
    system = found.pop() if len(found) == 1 else ""
    a, b, c, alpha, beta, gamma = (texts[name] for name in (*LENGTHS, *ANGLES))
    if system in ("rhombohedral", "trigonal") and not b and not c and alpha:
        values = (a, a, a, alpha, alpha, alpha)
    elif system in ("trigonal", "hexagonal"):
        values = (a, b or a, c, alpha or "90", beta or "90", gamma or "120")
    elif system == "cubic":
        values = (a, b or a, c or a, alpha or "90", beta or "90", gamma or "90")
    elif system == "tetragonal":
        values = (a, b or a, c, alpha or "90", beta or "90", gamma or "90")
    elif system == "orthorhombic" or (system == "monoclinic" and (beta or {alpha, gamma} - {"", *_RIGHT_ANGLES})):
        values = (a, b, c, alpha or "90", beta or "90", gamma or "90")
    else:
        return {}
    return dict(zip((*LENGTHS, *ANGLES), values, strict=True))
