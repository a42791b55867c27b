"""The chemical formula of a CIF, against which its sites are checked."""

import math
import re
from collections.abc import Mapping

from graphdb.crystal import SYMBOLS, element_number

_PART = re.compile(r"([A-Z][a-z]?)(\d*\.?\d*)(?:\(\d+\))?")
#: Elements whose unit is a pair for pymatgen (N2), alone or with as much oxygen (Na2 O2).
_PAIRED = frozenset({1, 7, 8, 9, 17})
_PEROXIDES = frozenset({1, 3, 11, 19, 37, 55})
#: Numbers in formulas are rounded, to 0.01 at worst, unless they are whole.
_ROUNDING = 0.006


def parse_formula(text: str) -> dict[int, float]:
    """Atoms by atomic number of 'C12 H22 O11'; empty for what is no plain formula."""
    counts: dict[int, float] = {}
    for word in text.replace(",", " ").split():
        if re.fullmatch(r"\d*[+-]|[+-]\d*", word):  # the charge
            continue
        position = 0
        while position < len(word):
            match = _PART.match(word, position)
            number = element_number(match.group(1)) if match else 0
            if match is None or number == 0 or match.group(2) == ".":
                return {}
            counts[number] = counts.get(number, 0.0) + float(match.group(2) or 1)
            position = match.end()
    if not all(map(math.isfinite, counts.values())):  # hundreds of digits
        return {}
    return {number: count for number, count in counts.items() if count > 0}


def formula_agrees(formula: Mapping[int, float], num_units: float, atoms: Mapping[int, int]) -> bool:
    """Whether the atoms of a cell are what a formula says.

    Args:
        formula: atoms of one formula unit, by atomic number.
        num_units: Z, the units in the cell; 0 if it is not known.
        atoms: of the cell.
    """
    if formula.keys() != {number for number, count in atoms.items() if count}:
        return False
    if num_units:
        return _equal(formula, num_units, atoms) or (_counts_cells(formula, num_units) and _equal(formula, 1, atoms))
    largest = max(formula, key=lambda number: formula[number])
    return _equal(formula, atoms[largest] / formula[largest], atoms)


def _equal(formula: Mapping[int, float], factor: float, atoms: Mapping[int, int]) -> bool:
    for number, count in formula.items():
        slack = 0.0 if float(count).is_integer() and float(factor).is_integer() else _ROUNDING * max(1.0, factor)
        if abs(count * factor - atoms[number]) > slack + 1e-3 * atoms[number] * (slack > 0) + 1e-6:
            return False
    return True


def _counts_cells(formula: Mapping[int, float], num_units: float) -> bool:
    """Whether a formula is that of the whole cell, as pymatgen writes it beside the Z of the reduced one."""
    counts = [int(count) for count in formula.values() if float(count).is_integer()]
    if len(counts) < len(formula):
        return False
    elements, divisor = set(formula), math.gcd(*counts)
    paired = elements <= _PAIRED if len(elements) == 1 else elements & {8} and elements - {8} <= _PEROXIDES
    return num_units == divisor or (bool(paired) and len(set(counts)) == 1 and 2 * num_units == divisor)


def formula_text(atoms: Mapping[int, float], factor: float = 1) -> str:
    """'C24 H44 O22', carbon and hydrogen first."""
    order = sorted(atoms, key=lambda number: ({6: 0, 1: 1}.get(number, 2) if 6 in atoms else 2, SYMBOLS[number]))
    return " ".join(f"{SYMBOLS[number]}{atoms[number] * factor:g}" for number in order if atoms[number])
