"""Compute the element table that `model` ships: ``python -m graphdb.element_table > model/data/elements.json``.

The nine properties, their ranges and their numbers of categories are those of Table S1 of Xie and Grossman 2018; the
values are pymatgen's. A value outside its range counts to the nearest category, an unknown one to none.
"""

import json
import math
import sys
import warnings
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from graphdb.neighbors import MAX_ATOMIC_NUMBER

_NOBLE_GASES = (2, 10, 18, 36, 54, 86)


def element_table() -> dict[str, Any]:
    """The table as JSON-able values.

    Returns:
        "properties": name, unit, number of categories and range of each; "categories": by symbol, in order of atomic
        number, the category in each property, counted from 0, or null where pymatgen knows no value.
    """
    from pymatgen.core.molecule_structure_comparator import CovalentRadius
    from pymatgen.core.periodic_table import Element

    # name, unit, categories, low, high, value; ranges of "log" properties are those of the natural logarithm
    rules: list[tuple[str, str, int, float, float, Callable[[Any], Any]]] = [
        ("group", "", 18, 1, 18, lambda e: e.group),
        ("period", "", 9, 1, 9, lambda e: e.row),
        ("electronegativity", "", 10, 0.5, 4.0, lambda e: e.X),
        ("covalent_radius", "pm", 10, 25, 250, lambda e: 100 * CovalentRadius.radius.get(e.symbol, math.nan)),
        ("valence_electrons", "", 12, 1, 12, _valence_electrons),
        ("log_first_ionization_energy", "log eV", 10, 1.3, 3.3, lambda e: _log(e.ionization_energy)),
        ("electron_affinity", "eV", 10, -3.0, 3.7, lambda e: e.electron_affinity),
        (
            "block",
            "s, p, d, f",
            4,
            0,
            3,
            lambda e: "spdf".index("s" if e.symbol == "He" else e.block),
        ),  # pymatgen: p, as its group
        ("log_atomic_volume", "log cm^3/mol", 10, 1.5, 4.3, lambda e: _log(e.molar_volume)),
    ]
    categories: dict[str, list[int | None]] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pymatgen warns of every value that it does not know; null says so here
        for number in range(1, MAX_ATOMIC_NUMBER + 1):
            element = Element.from_Z(number)
            categories[element.symbol] = [
                _category(value(element), count, low, high) for _, _, count, low, high, value in rules
            ]
    return {
        "source": f"pymatgen-core {version('pymatgen-core')}; ranges of Xie and Grossman 2018, Table S1",
        "properties": [
            {"name": name, "unit": unit, "num_categories": count, "low": low, "high": high}
            for name, unit, count, low, high, _ in rules
        ],
        "categories": categories,
    }


def _category(value: Any, count: int, low: float, high: float) -> int | None:
    if value is None or not math.isfinite(float(value)):
        return None
    if high - low == count - 1:  # an integer property: a category for each value
        return int(min(max(round(float(value)), low), high) - low)
    return min(max(math.floor((float(value) - low) / (high - low) * count), 0), count - 1)


def _log(value: Any) -> float | None:
    return math.log(float(value)) if value is not None and float(value) > 0 else None


def _valence_electrons(element: Any) -> int:
    """Electrons outside the noble-gas core, without the d and f shells that are closed below the element's block."""
    shells = element.full_electronic_structure
    core = max((z for z in _NOBLE_GASES if z < element.Z), default=0)
    closed = 0
    if element.block in "pd":
        closed += 14 * any(letter == "f" and filled == 14 for _, letter, filled in _above(shells, core))
    if element.block == "p":
        closed += 10 * any(letter == "d" and filled == 10 for _, letter, filled in _above(shells, core))
    return int(element.Z - core - closed)


def _above(shells: list[tuple[int, str, int]], core: int) -> list[tuple[int, str, int]]:
    """The shells that remain once the core's electrons have filled theirs."""
    remaining = []
    for shell in sorted(shells, key=lambda s: (s[0] + "spdf".index(s[1]), s[0])):
        if core > 0:
            core -= shell[2]
        else:
            remaining.append(shell)
    return remaining


if __name__ == "__main__":
    json.dump(element_table(), sys.stdout, indent=None, separators=(",", ":"))
    sys.stdout.write("\n")
