"""The sites of a CIF block that are atoms: elements, places, occupancies."""

import math
import re
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from graphdb.cifblock import Block, Value
from graphdb.crystal import Note, atomic_number, check_whole, element_number, listed
from graphdb.errors import Reason, Unusable
from graphdb.formula import formula_text, parse_formula
from graphdb.shapes import Float, Int

_POSITIONS = ("_atom_site_fract_x", "_atom_site_fract_y", "_atom_site_fract_z")
#: Type symbols and labels of groups, of which only the first atom has a place; hydrogens of water.
_GROUPS = {
    "wat": 8,
    "oh": 8,
    "oh2": 8,
    "h2o": 8,
    "d2o": 8,
    "o-h": 8,
    "nh4": 7,
    "nh3": 7,
    "nh2": 7,
    "nh": 7,
    "ch3": 6,
    "ch2": 6,
}
_WATER = {"ow": 8, "hw": 1}
_VACANCIES = frozenset({"va", "vac", "vacancy", "x", "xx", "q", "dum", "dummy", "m"})
#: Python's own reading does not know 0.333(2), 90.(0) and 1.0D0.
_UNCERTAIN = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eEdD][+-]?\d+)?)\s*(?:\(\d*\.?\d*\))?\s*")
_FULL = 1e-3
#: No cell has as many formula units, no site as many images.
_MAX_COUNT = 1e6
#: CIFs write 0.3333 and 0.6667 for thirds; they are taken as such within this relative distance, as pymatgen does.
_THIRD_TOLERANCE = 1e-4


@dataclass(slots=True)
class Sites:
    """The sites of a block that are atoms.

    Attributes:
        numbers: atomic numbers.
        fractions: fractional coordinates.
        multiplicities: as the file has them, 0 where it does not say.
    """

    numbers: Int[NDArray[np.int64], " sites"]
    fractions: Float[NDArray[np.float64], "sites 3"]
    multiplicities: Int[NDArray[np.int64], " sites"]


def read_sites(block: Block, remarks: list[Note]) -> Sites:
    """The sites that are atoms, fully occupied."""
    columns = _positions(block)
    labels, types = block.column("_atom_site_label"), block.column("_atom_site_type_symbol")
    flags, occupancies = block.column("_atom_site_calc_flag"), block.column("_atom_site_occupancy")
    hydrogens = block.column("_atom_site_attached_hydrogens")
    multiplicity = block.column("_atom_site_symmetry_multiplicity", "_atom_site_site_symmetry_multiplicity")
    groups = [block.column(f"_atom_site_disorder_{name}") for name in ("group", "assembly")]
    known = {len(c) for c in (*columns, labels, types, flags, occupancies, hydrogens, multiplicity, *groups) if c}
    if len(known) > 1:
        raise Unusable(Reason.UNPARSABLE, f"the columns of atoms must be equally long, got {sorted(known)}")
    if not labels and not types:
        raise Unusable(Reason.UNKNOWN_ELEMENT, "neither _atom_site_type_symbol nor _atom_site_label names the elements")
    rows = _occupied(len(columns[0]), occupancies, flags)
    fractions, placed = _coordinates(block, columns, rows, labels or types, remarks)
    rows = [row for row, has_place in zip(rows, placed, strict=True) if has_place]
    fractions = fractions[placed]
    if not rows:
        raise Unusable(Reason.NO_ATOMS, "no site of the list is an atom with a place")
    elements = _elements(block, labels, types, rows, remarks)
    if hydrogens and (bare := sum(count_of(hydrogens[row]) for row in rows)):
        message = f"{bare:g} hydrogens are attached to sites of the list without a place of their own"
        remarks.append(Note(Reason.SITE_WITHOUT_PLACE, message))
    full = _full(elements, fractions, occupancies, rows, labels or types)
    _check_alternatives(block, [row for row, keep in zip(rows, full, strict=True) if keep])
    counts = [int(count_of(multiplicity[row])) if multiplicity else 0 for row in rows]
    return Sites(elements[full], fractions[full], np.array(counts, dtype=np.int64)[full])


def _positions(block: Block) -> list[list[Value]]:
    """The columns of fractional coordinates.

    Raises:
        Unusable: if one is missing or empty.
    """
    columns = [block.column(name) for name in _POSITIONS]
    if not all(columns):
        if not any(name in block.values for name in _POSITIONS) and "_atom_site_cartn_x" in block.values:
            raise Unusable(Reason.UNPARSABLE, "only Cartesian coordinates; add _atom_site_fract_x, _y and _z")
        missing = next((n for n, c in zip(_POSITIONS, columns, strict=True) if n not in block.values), None)
        if missing and any(columns):
            raise Unusable(Reason.UNPARSABLE, f"{missing} is missing")
        raise Unusable(
            Reason.NO_ATOMS, f"no {_POSITIONS[0]}: the file lists no atoms" if missing else "no atoms listed"
        )
    return columns


def _occupied(num_sites: int, occupancies: list[Value], flags: list[Value]) -> list[int]:
    """The rows of sites that are neither empty nor dummies."""
    rows = []
    for row in range(num_sites):
        occupancy = number_of(occupancies[row]) if occupancies and occupancies[row] is not None else 1.0
        if occupancy is None:
            raise Unusable(Reason.UNPARSABLE, f"an occupancy must be a number, got {occupancies[row]!r}")
        dummy = bool(flags) and (flags[row] or "").lower() in ("dum", "dummy")
        if occupancy != 0 and not dummy:
            rows.append(row)
    return rows


def _coordinates(
    block: Block, columns: list[list[Value]], rows: list[int], names: list[Value], remarks: list[Note]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """(N, 3) coordinates of the rows, and (N,) which of them have a place.

    A site without any coordinate has no place. Some programs write '.' for zero: it is taken for zero where the whole
    column has it, and in a file that has it beside numbers in the same site.
    """
    if len(rows) == len(columns[0]) and (plain := _plain(columns)) is not None:
        return plain, np.ones(len(rows), dtype=bool)
    fractions = np.zeros((len(rows), 3))
    missing = np.zeros((len(rows), 3), dtype=bool)
    for axis, column in enumerate(columns):
        for i, row in enumerate(rows):
            text = column[row]
            number = number_of(text) if text is not None else 0.0
            if number is None:
                message = f"coordinates must be numbers, got {text!r} (site {names[row]})"
                raise Unusable(Reason.UNPARSABLE, message)
            if not math.isfinite(number):
                raise Unusable(Reason.BAD_COORDINATES, f"coordinates must be finite numbers, got {text}")
            fractions[i, axis], missing[i, axis] = number, text is None
    fractions = _with_thirds(fractions)
    if not missing.any():
        return fractions, np.ones(len(rows), dtype=bool)
    dots = np.array([[(name, row) in block.dots for name in _POSITIONS] for row in rows])
    nowhere = missing.all(axis=1)
    empty = missing.all(axis=0) & dots.all(axis=0)
    partly = (missing & ~empty).any(axis=1) & ~nowhere
    if partly.any() and not (dots | ~missing)[partly].all():
        row = rows[int(np.flatnonzero(partly)[0])]
        raise Unusable(Reason.BAD_COORDINATES, f"every site needs three coordinates, {names[row]} lacks some")
    if partly.any():
        remarks.append(Note(Reason.SITE_WITHOUT_PLACE, "coordinates that are '.' were taken for zero"))
        nowhere &= ~dots.all(axis=1)
    if nowhere.any() and not nowhere.all():
        some = ", ".join(str(names[rows[i]]) for i in np.flatnonzero(nowhere)[:3])
        more = ", ..." if nowhere.sum() > 3 else ""
        remarks.append(Note(Reason.SITE_WITHOUT_PLACE, f"{nowhere.sum():,} without coordinates left out: {some}{more}"))
    return fractions, np.logical_not(nowhere)


def _plain(columns: list[list[Value]]) -> NDArray[np.float64] | None:
    """(N, 3) coordinates where all are plain numbers, which is quicker."""
    try:
        fractions = np.array(columns, dtype=np.float64).T
    except (ValueError, TypeError):
        return None
    if not np.isfinite(fractions).all() or any("_" in str(value) for column in columns for value in column):
        return None
    return _with_thirds(fractions)


def _with_thirds(fractions: NDArray[np.float64]) -> NDArray[np.float64]:
    for third in (1 / 3, 2 / 3):
        fractions[np.abs(fractions / third - 1) <= _THIRD_TOLERANCE] = third
    return fractions


def _elements(
    block: Block, labels: list[Value], types: list[Value], rows: list[int], remarks: list[Note]
) -> NDArray[np.int64]:
    """(N,) atomic numbers, by type symbol, or else by label."""
    expected = set(parse_formula(block.text("_chemical_formula_sum")))
    if not expected:
        for symbol in block.column("_atom_type_symbol"):
            letters = re.match(r"[A-Za-z]{1,2}(?![A-Za-z])", symbol or "")
            expected |= {element_number(letters.group())} - {0} if letters else set()
    known: dict[tuple[Value, Value], tuple[int, bool]] = {}
    numbers = []
    groups = 0
    shares = block.column("_atom_site_occupancy")
    for row in rows:
        species = types[row] if types else None
        label = labels[row] if labels else None
        key = (species, label if species is None else None)
        name = (label if species is None else species) or ""
        if name.strip(" +-0123456789").lower() in _VACANCIES and shares and number_of(shares[row] or "1") != 1:
            raise Unusable(Reason.DISORDERED, f"a site is partly empty: {name} has an occupancy of {shares[row]}")
        if key not in known:
            known[key] = _species(species) if species is not None else _label(label or "?", expected)
        number, is_group = known[key]
        groups += is_group
        numbers.append(number)
    tungsten = [
        label for (species, label) in known if species is None and re.fullmatch(r"\d*[wW][^A-Za-z]*", label or "")
    ]
    if tungsten and not expected and 8 in numbers:
        message = f"the label {tungsten[0]!r} may be W or water; add _atom_site_type_symbol"
        raise Unusable(Reason.UNKNOWN_ELEMENT, message)
    if groups:
        message = f"{groups:,} sites are groups such as OH or H2O, whose hydrogens have no place"
        remarks.append(Note(Reason.SITE_WITHOUT_PLACE, message))
    return np.array(numbers, dtype=np.int64)


@lru_cache(maxsize=4096)
def _species(species: str) -> tuple[int, bool]:
    """Atomic number of a type symbol, and whether it is a group of which only this atom has a place."""
    text = species.strip().lower()
    letters = re.match(r"[a-z]+", text)
    if letters and letters.group() in _WATER and not element_number(letters.group()):
        return _WATER[letters.group()], False
    for group in sorted(_GROUPS, key=len, reverse=True):
        if re.fullmatch(rf"{group}(?:[+-]?\d*[+-]?)?", text) and not (group == "nh" and len(text) > 2):
            return _GROUPS[group], True
    check_whole(species)
    return atomic_number(species), False


def _label(label: str, expected: set[int]) -> tuple[int, bool]:
    """The same of a label, 'Fe1', 'O1W', 'CL2'; the elements that the file names elsewhere decide between two readings.

    Raises:
        Unusable: if it could be two elements, or none.
    """
    check_whole(label, is_label=True)
    match = re.match(r"\d*([A-Za-z]+)", label.strip())
    letters = match.group(1) if match else ""
    lower = letters.lower()
    if not letters or lower in _VACANCIES:
        raise Unusable(Reason.UNKNOWN_ELEMENT, f"the label {label!r} names no chemical element")
    if lower.startswith("wat"):
        return 8, True
    two, one = element_number(letters[:2]) if len(letters) > 1 else 0, element_number(letters[0])
    readings = [number for number in (two, one) if number]
    if expected and len(readings) == 2 and (fitting := [number for number in readings if number in expected]):
        readings = fitting
    if len(readings) == 2 and letters[1].islower() and len(letters) == 2:
        readings = [two]
    if len(readings) == 2 and readings[0] != readings[1]:
        raise Unusable(
            Reason.UNKNOWN_ELEMENT,
            f"the label {label!r} may be {formula_text({two: 1})[:-1]} or {formula_text({one: 1})[:-1]}; "
            "add _atom_site_type_symbol",
        )
    unlikely = lower == "t" or (lower == "w" and expected)  # tetrahedral sites, water
    if not readings or (readings[0] not in expected and (unlikely or (expected and len(letters) > 1 and not two))):
        raise Unusable(Reason.UNKNOWN_ELEMENT, f"the label {label!r} names no chemical element")
    if not expected and len(letters) > 2 and not two:
        raise Unusable(Reason.UNKNOWN_ELEMENT, f"the label {label!r} names no chemical element")
    return readings[0], False


def _full(
    elements: NDArray[np.int64],
    fractions: NDArray[np.float64],
    occupancies: list[Value],
    rows: list[int],
    names: list[Value],
) -> NDArray[np.bool_]:
    """Which sites (N,) to keep: each must be full, alone or with others of its element at its place."""
    keep = np.ones(len(rows), dtype=bool)
    if not occupancies:
        return keep
    share = np.array([1.0 if occupancies[row] is None else number_of(occupancies[row]) or 0.0 for row in rows])
    wrong = ~(np.isfinite(share) & (share >= 0))
    if wrong.any():
        raise Unusable(Reason.UNPARSABLE, f"occupancies must be in 0 to 1, got {listed(share[wrong][:1])}")
    if (share > 1 + _FULL).any():
        worst = int(share.argmax())
        message = f"the occupancy of site {names[rows[worst]]} is {share[worst]:g}, more than 1"
        raise Unusable(Reason.COINCIDING_ATOMS, message)
    for i in np.flatnonzero(share < 1 - _FULL):
        if not keep[i]:
            continue
        away = fractions - fractions[i]
        there = (np.abs(away - np.rint(away)) < 1e-4).all(axis=1)
        mates = there & (elements == elements[i])
        if (there & ~mates).any():
            raise Unusable(Reason.DISORDERED, f"site {names[rows[i]]} at {listed(fractions[i])} is shared")
        if abs(share[mates].sum() - 1) > _FULL:
            message = (
                f"site {names[rows[i]]} at {listed(fractions[i])} is partly empty: occupancy {share[mates].sum():g}"
            )
            raise Unusable(Reason.DISORDERED, message)
        keep[mates] = False
        keep[i] = True
    return keep


def _check_alternatives(block: Block, rows: list[int]) -> None:
    """Refuse atoms of which only some are there at a time, by their disorder groups."""
    groups = block.column("_atom_site_disorder_group")
    if not groups:
        return
    assemblies = block.column("_atom_site_disorder_assembly") or [None] * len(groups)
    seen: dict[Value, set[str]] = {}
    for row in rows:
        if (group := groups[row]) is not None and group.strip("+ 0"):
            seen.setdefault(assemblies[row], set()).add(group)
    for assembly, alternatives in seen.items():
        if len(alternatives) > 1:
            where = f"assembly {assembly}" if assembly else "one place"
            raise Unusable(Reason.DISORDERED, f"disorder groups {', '.join(sorted(alternatives))} share {where}")


def number_of(text: Value) -> float | None:
    """A number without its uncertainty, '0.333(2)'; None if it is none."""
    if text is None:
        return None
    try:
        return float(text) if "_" not in text else None
    except ValueError:
        match = _UNCERTAIN.fullmatch(text)
        return float(match.group(1).lower().replace("d", "e")) if match else None


def count_of(text: Value) -> float:
    """How many there are of something, such as Z; 0 if it is no number of things that can be."""
    number = number_of(text)
    return number if number is not None and 0 < number < _MAX_COUNT else 0.0
