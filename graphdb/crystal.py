"""Atoms in a cell, what can be wrong with them, and what is worth a note though they can be used."""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphdb.errors import Reason, Unusable
from graphdb.neighbors import MAX_ATOMIC_NUMBER, MAX_ATOMS
from graphdb.shapes import Float, UInt

#: Chemical symbols in order of atomic number; the position is the atomic number.
# fmt: off
SYMBOLS: tuple[str, ...] = (
    "", "H", "He", "Li", "Be", "B", "C", "N", "O", "F", "Ne", "Na", "Mg", "Al", "Si", "P", "S", "Cl", "Ar", "K",
    "Ca", "Sc", "Ti", "V", "Cr", "Mn", "Fe", "Co", "Ni", "Cu", "Zn", "Ga", "Ge", "As", "Se", "Br", "Kr", "Rb", "Sr",
    "Y", "Zr", "Nb", "Mo", "Tc", "Ru", "Rh", "Pd", "Ag", "Cd", "In", "Sn", "Sb", "Te", "I", "Xe", "Cs", "Ba", "La",
    "Ce", "Pr", "Nd", "Pm", "Sm", "Eu", "Gd", "Tb", "Dy", "Ho", "Er", "Tm", "Yb", "Lu", "Hf", "Ta", "W", "Re", "Os",
    "Ir", "Pt", "Au", "Hg", "Tl", "Pb", "Bi", "Po", "At", "Rn", "Fr", "Ra", "Ac", "Th", "Pa", "U", "Np", "Pu", "Am",
    "Cm", "Bk", "Cf", "Es", "Fm", "Md", "No", "Lr", "Rf", "Db", "Sg", "Bh", "Hs", "Mt", "Ds", "Rg", "Cn", "Nh",
    "Fl", "Mc", "Lv", "Ts", "Og",
)
# fmt: on
ATOMIC_NUMBERS: dict[str, int] = {symbol: number for number, symbol in enumerate(SYMBOLS) if symbol}
#: Uncertainties and oxidation numbers behind a symbol.
_IN_PARENTHESES = re.compile(r"\((?:\d+|[IVX]+)\)", re.IGNORECASE)
#: A charge, behind which a spin or a place may be named: 'Mn2+_up'.
_CHARGE = re.compile(r"^(?:\d*[+-]|[+-]\d+)(?=[_(.\s])")
#: A number with a point that is no charge, before or behind a symbol.
_SHARE = re.compile(r"\s*\(?\s*(\d*\.\d+)(?![\d.]*\s*[+-])")
_HEAVY_HYDROGEN = {"D": 1, "T": 1}


@dataclass(frozen=True, slots=True)
class Note:
    """Something about a crystal that is stored nevertheless.

    Attributes:
        reason: the kind, one of `errors.NOTES`.
        message: what exactly, for a person.
    """

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True, eq=False)
class Crystal:
    """Atoms in a periodic cell, checked: at least one atom, finite numbers, a cell with volume, supported elements.

    Attributes:
        atomic_numbers: of the atoms.
        lattice: the cell vectors as rows, Å.
        frac_coords: in units of the cell vectors.
        notes: what a person should know about it.
    """

    atomic_numbers: UInt[NDArray[np.uint8], " atoms"]
    lattice: Float[NDArray[np.float64], "3 3"]
    frac_coords: Float[NDArray[np.float64], "atoms 3"]
    notes: tuple[Note, ...] = ()


def element_number(symbol: str) -> int:
    """Atomic number of 'Fe', 'FE' or 'D', without charge or number; 0 if it is no element."""
    symbol = symbol.capitalize()
    return ATOMIC_NUMBERS.get(symbol, _HEAVY_HYDROGEN.get(symbol, 0))


def atomic_number(species: str) -> int:
    """Atomic number of a species: 'Fe', 'Fe3+', 'D', '2H'.

    Raises:
        Unusable: if it is none ('X', 'Uue', 'Va' for a vacancy).
    """
    match = re.match(r"\d*([A-Za-z]+)(?:[^A-Za-z].*)?$", species.strip(), re.DOTALL)
    number = element_number(match.group(1)) if match else 0
    if number == 0:
        raise Unusable(Reason.UNKNOWN_ELEMENT, f"{species!r} is no chemical element")
    return number


def check_whole(species: str, *, is_label: bool = False) -> None:
    """Refuse a name of several elements, or of a part of one: 'Fe0.5Co0.5', 'Fe/Co', '0.6Mn + 0.4Fe', 'Fe0.5'.

    Args:
        species: a type symbol, perhaps with a charge.
        is_label: a label instead, in which letters and numbers behind the element mean little ('O1W', 'Cl2_b').

    Raises:
        Unusable: disordered.
    """
    text = _IN_PARENTHESES.sub("", species)
    first = re.search(r"[A-Za-z]+", text)
    if first is None:
        return
    parts = re.findall(r"[A-Z][a-z]?", first.group())
    several = is_label and "".join(parts) == first.group() and any(_is_pair(part) for part in parts[1:])
    for between, letters in re.findall(r"([^A-Za-z]*)([A-Za-z]+)", text[first.end() :]):
        between = _CHARGE.sub("", between)
        if re.search(r"[+,/&|;:]|\.\d", between):
            several |= not is_label or element_number(letters) > 0
        else:
            apart = not is_label and not between.isdigit() and letters[0].isupper()
            several |= element_number(letters) > 0 if apart else _is_pair(letters)
    if several:
        raise Unusable(Reason.DISORDERED, f"a site is shared by several elements: {species}")
    share = _SHARE.match(text, first.end()) or _SHARE.match(text)
    if share and 0 < float(share.group(1)) < 1:
        raise Unusable(Reason.DISORDERED, f"a site is partly empty: {species}")


def _is_pair(letters: str) -> bool:
    """Whether these are two letters that name an element, written as such."""
    return len(letters) == 2 and letters.istitle() and element_number(letters) > 0


def check_lattice(lattice: NDArray[np.float64]) -> None:
    """Refuse a cell of another shape, with numbers that are not finite, or without volume.

    Raises:
        Unusable: with the reason.
    """
    if lattice.shape != (3, 3):
        raise Unusable(Reason.INVALID_CELL, f"the cell must have 3 vectors of 3 numbers, got shape {lattice.shape}")
    if not np.isfinite(lattice).all():
        raise Unusable(Reason.INVALID_CELL, "the cell must be finite numbers, got nan or inf")
    lengths = np.linalg.norm(lattice, axis=1)
    if lengths.max() > 1e5 or abs(np.linalg.det(lattice)) <= 1e-4 * lengths.prod() or lengths.prod() == 0:
        raise Unusable(Reason.INVALID_CELL, f"the cell must have a volume, got vectors of {listed(lengths)} Å")


def checked(
    numbers: NDArray[Any], lattice: NDArray[np.float64], fractions: NDArray[np.float64], notes: tuple[Note, ...] = ()
) -> Crystal:
    """A crystal of these arrays, coordinates brought into the cell.

    Raises:
        Unusable: with the reason.
    """
    check_lattice(lattice)
    if len(numbers) == 0:
        raise Unusable(Reason.NO_ATOMS, "the cell has no atoms")
    check_size(len(numbers))
    if fractions.shape != (len(numbers), 3) or not np.isfinite(fractions).all() or np.abs(fractions).max() > 1e6:
        raise Unusable(Reason.BAD_COORDINATES, "every atom needs three finite coordinates")
    if numbers.max() > MAX_ATOMIC_NUMBER:
        symbol = SYMBOLS[int(numbers.max())]
        raise Unusable(
            Reason.ELEMENT_WITHOUT_FEATURES,
            f"{symbol} has no features; elements up to {SYMBOLS[MAX_ATOMIC_NUMBER]} have",
        )
    return Crystal(numbers.astype(np.uint8), lattice, fractions - np.floor(fractions), notes)


def check_size(num_atoms: int) -> None:
    """Refuse more atoms than a cell may have.

    Raises:
        Unusable: too large.
    """
    if num_atoms > MAX_ATOMS:
        raise Unusable(Reason.TOO_LARGE, f"a cell may have {MAX_ATOMS:,} atoms, got {num_atoms:,}")


def listed(values: Any) -> str:
    """A few numbers for a message: (1, 0.5, 0.25)."""
    return "(" + ", ".join(f"{value:.4g}" for value in values) + ")"
