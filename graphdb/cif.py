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
from graphdb.cifsites import Sites, count_of, number_of, read_sites
from graphdb.crystal import Crystal, Note, check_size, checked, listed
from graphdb.errors import Reason, Unusable
from graphdb.formula import formula_agrees, formula_text, parse_formula
from graphdb.orbits import check_positions, expand, independent, merge_equal, same_crystal
from graphdb.symmetry import GroupNames, Operations, SymmetryError, identity, listed_operations, settings, systems

LENGTHS = ("_cell_length_a", "_cell_length_b", "_cell_length_c")
ANGLES = ("_cell_angle_alpha", "_cell_angle_beta", "_cell_angle_gamma")
_MODULATED = (
    "_space_group_ssg",
    "_space_group_symop_ssg",
    "_cell_wave_vector",
    "_atom_site_displace",
    "_cell_subsystem",
)
#: How different the misfits of two settings may be where the cell tells nothing of them; 90.003 degrees are more.
_SAME_SHAPE = 5e-5
#: How equal the distances of one crystal are in two settings: computed by us, and written down with a few digits.
_EXACTLY, _ROUGHLY = 1e-3, 0.1
#: Atoms of a cell up to which that tells settings apart: a single atom elsewhere shows among 1,728, not among 2,744.
_MAX_COMPARED = 500
#: The angle that no monoclinic cell needs to have written down.
_RIGHT_ANGLES = frozenset({"90", "90.", "90.0", "90.00", "90.000", "90.0000"})
_SHAPE = "the cell does not have the shape that its symmetry operations ask for"
#: Reasons of a block that is a placeholder, not another crystal.
_PLACEHOLDER = frozenset({Reason.NO_ATOMS, Reason.NO_LATTICE})

_Atoms = tuple[NDArray[np.int64], NDArray[np.float64], int]
Arrays = tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]


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
    numbers, fractions, merged = _readings(symmetry, lattice, sites, formula, num_units, remarks)
    if merged:
        what = "site of the list is" if merged == 1 else "sites of the list are"
        remarks.append(Note(Reason.SITES_MERGED, f"{merged:,} {what} at the place of an earlier one of its element"))
    atoms = Counter(numbers.tolist())
    if formula and not formula_agrees(formula, num_units, atoms):
        unit = f"{formula_text(formula)} times Z = {num_units:g}" if num_units else formula_text(formula)
        remarks.append(Note(Reason.FORMULA_DIFFERS, f"the formula says {unit}, the sites are {formula_text(atoms)}"))
    return checked(numbers, lattice, fractions, tuple(remarks))


# --- cell


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


def cell_vectors(a: float, b: float, c: float, alpha: float, beta: float, gamma: float) -> NDArray[np.float64]:
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


# --- symmetry


def _readings(
    symmetry: Symmetry,
    lattice: NDArray[np.float64],
    sites: Sites,
    formula: dict[int, float],
    num_units: float,
    remarks: list[Note],
) -> _Atoms:
    """Atomic numbers and coordinates of all atoms of the cell, and how many were there twice."""
    names, texts = symmetry.names, symmetry.operations
    try:
        operations = listed_operations(texts, symmetry.centerings) if texts else None
    except SymmetryError as error:
        raise Unusable(Reason.UNKNOWN_SYMMETRY, str(error)) from error
    if not names and (operations is None or (len(operations) == 1 and operations.is_group())):
        operations = _without_name(symmetry, remarks)
    is_magnetic = symmetry.is_magnetic
    if operations is None:
        named = _named(names, lattice)
        return _best(named, names, lattice, sites, formula, num_units)
    order = _order(names, lattice) if names and not is_magnetic else set()
    is_part = names and not is_magnetic and (len(operations) == 1 or len(operations) < min(order, default=0))
    if is_part or not operations.is_group():
        return _doubtful(operations, names, lattice, sites, formula, num_units, remarks)
    if order and len(operations) not in order:
        counts = "" if len(order) > 1 else f" ({min(order)})"
        message = f"{len(operations)} operations are listed, not those of {names}{counts}; the list counts"
        remarks.append(Note(Reason.SYMMETRY_DIFFERS, message))
    if not operations.fit(lattice):
        raise Unusable(Reason.INVALID_CELL, _SHAPE)
    return _atoms(sites, operations, lattice)


def _without_name(symmetry: Symmetry, remarks: list[Note]) -> Operations:
    """The operations of P 1, where no group is named and no other operation listed.

    Raises:
        Unusable: if no operation is listed, but the file says something of another group.
    """
    listed_alone = bool(symmetry.operations)
    if symmetry.magnetic and not listed_alone:
        message = "a magnetic space group is named; list its operations in the file"
        raise Unusable(Reason.UNKNOWN_SYMMETRY, message)
    if symmetry.others and not listed_alone:
        message = f"{symmetry.others[0]!r} does not tell the space group; name it, or list its operations in the file"
        raise Unusable(Reason.UNKNOWN_SYMMETRY, message)
    if symmetry.others:
        message = f"only the operation x, y, z is listed, but the file has {symmetry.others[0]!r}; the list counts"
        remarks.append(Note(Reason.SYMMETRY_DIFFERS, message))
    elif symmetry.system not in ("", "triclinic"):
        message = f"the cell is {symmetry.system}, but no space group is named: taken as P 1"
        remarks.append(Note(Reason.SYMMETRY_DIFFERS, message))
    return identity()


def _named(names: GroupNames, lattice: NDArray[np.float64]) -> list[Operations]:
    """The settings that the names fit, of those that the cell fits."""
    try:
        candidates = settings(names)
    except SymmetryError as error:
        raise Unusable(Reason.UNKNOWN_SYMMETRY, str(error)) from error
    fitting = [operations for operations in candidates if operations.fit(lattice)]
    if not fitting:
        raise Unusable(Reason.INVALID_CELL, f"the cell does not have the shape of the space group named: {names}")
    return fitting


def _order(names: GroupNames, lattice: NDArray[np.float64]) -> set[int]:
    """How many operations the group that is named may have in this cell; empty if that cannot be told."""
    try:
        candidates = settings(names)
    except SymmetryError:
        return set()
    return {len(operations) for operations in candidates if operations.fit(lattice)} or set(map(len, candidates))


def _best(
    candidates: list[Operations],
    names: GroupNames,
    lattice: NDArray[np.float64],
    sites: Sites,
    formula: dict[int, float],
    num_units: float,
) -> _Atoms:
    """The atoms by the one candidate that agrees with all that the file says.

    Raises:
        Unusable: if several do, with different crystals.
    """
    if len(candidates) == 1:
        return _atoms(sites, candidates[0], lattice)
    good = []
    for operations in candidates:
        _, of_site = expand(sites.fractions, operations, lattice)
        counts = np.bincount(of_site, minlength=len(sites.numbers))
        if sites.multiplicities.any() and (counts != sites.multiplicities)[sites.multiplicities > 0].any():
            continue
        atoms = _atoms(sites, operations, lattice)
        if formula and num_units and not formula_agrees(formula, num_units, Counter(atoms[0].tolist())):
            continue
        good.append((operations, atoms))
    if not good:
        message = (
            f"no setting of the space group named ({names}) agrees with the sites; list its operations in the file"
        )
        raise Unusable(Reason.UNKNOWN_SYMMETRY, message)
    if len(good) > 1:
        good = _closest(good, lattice)
    first = good[0][1]
    if (
        len(good) > 1
        and len(first[0]) <= _MAX_COMPARED
        and all(
            same_crystal((first[0], lattice, first[1]), (other[0], lattice, other[1]), _EXACTLY)
            for _, other in good[1:]
        )
    ):
        return first
    if len(good) > 1:
        some = ", ".join(operations.name for operations, _ in good[:4]) + (", ..." if len(good) > 4 else "")
        message = f"{names} may be {some}: add _space_group_name_H-M_alt with the setting, or list the operations"
        raise Unusable(Reason.UNKNOWN_SYMMETRY, message)
    return first


def _closest(good: list[tuple[Operations, _Atoms]], lattice: NDArray[np.float64]) -> list[tuple[Operations, _Atoms]]:
    """Those settings whose shape the cell has best; of monoclinic ones in a rectangular cell those along b."""
    misfits = [operations.misfit(lattice) for operations, _ in good]
    closest = [one for one, misfit in zip(good, misfits, strict=True) if misfit <= min(misfits) + _SAME_SHAPE]
    return [one for one in closest if one[0].is_monoclinic_along_b()] or closest


def _doubtful(
    operations: Operations,
    names: GroupNames,
    lattice: NDArray[np.float64],
    sites: Sites,
    formula: dict[int, float],
    num_units: float,
    remarks: list[Note],
) -> _Atoms:
    """The atoms where the list of operations may be incomplete: no group, or a smaller one than the one named."""
    is_whole = operations.is_group()
    is_alone = len(operations) == 1
    listed = "only the operation x, y, z is listed" if is_alone else f"{len(operations)} operations are listed"
    agrees = is_whole and _agrees(sites, operations, lattice, formula, num_units)
    if is_whole and is_alone and (agrees or _order(names, lattice) == {1}):
        return _atoms(sites, operations, lattice)
    if not names:
        message = "the operations listed are not all of a space group; list them all"
        raise Unusable(Reason.UNKNOWN_SYMMETRY, message)
    if not is_whole:
        atoms = _best(_named(names, lattice), names, lattice, sites, formula, num_units)
        message = f"the {len(operations)} operations listed are not all of {names}; those of the group count"
        remarks.append(Note(Reason.SYMMETRY_DIFFERS, message))
        return atoms
    if formula and num_units and not agrees:
        try:
            atoms = _best(_named(names, lattice), names, lattice, sites, formula, num_units)
        except Unusable:
            pass  # the list remains
        else:
            if formula_agrees(formula, num_units, Counter(atoms[0].tolist())):
                message = f"{listed}, but by formula and Z those of {names} count"
                remarks.append(Note(Reason.SYMMETRY_DIFFERS, message))
                return atoms
    if not operations.fit(lattice):
        raise Unusable(Reason.INVALID_CELL, _SHAPE)
    remarks.append(Note(Reason.SYMMETRY_DIFFERS, f"{listed}, but {names} is named; the list counts"))
    return _atoms(sites, operations, lattice)


def _agrees(
    sites: Sites,
    operations: Operations,
    lattice: NDArray[np.float64],
    formula: dict[int, float],
    num_units: float,
) -> bool:
    """Whether the atoms are those of formula times Z; without Z, proportions prove nothing."""
    if not formula or not num_units:
        return False
    return formula_agrees(formula, num_units, Counter(_atoms(sites, operations, lattice)[0].tolist()))


def _atoms(sites: Sites, operations: Operations, lattice: NDArray[np.float64]) -> _Atoms:
    first = independent(sites.numbers, sites.fractions, operations, lattice)
    images, of_site = expand(sites.fractions[first], operations, lattice)
    numbers = sites.numbers[first][of_site]
    keep = merge_equal(numbers, images, lattice)
    check_size(int(keep.sum()))
    return numbers[keep], images[keep], len(sites.numbers) - len(np.unique(of_site[keep]))
