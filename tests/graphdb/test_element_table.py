"""The element table: reproducible, and right where chemistry textbooks say what is right."""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from graphdb.element_table import element_table


@pytest.fixture(scope="module")
def table() -> dict[str, Any]:
    return element_table()


def test_table_that_ships_is_the_one_that_is_computed(table: dict[str, Any], repository: Path) -> None:
    shipped = json.loads((repository / "model" / "data" / "elements.json").read_text())
    if version("pymatgen-core") not in shipped["source"]:
        pytest.skip(f"it was computed with another version: {shipped['source']}")
    assert shipped == table


def test_one_hot_lengths_are_those_of_the_paper(table: dict[str, Any]) -> None:
    assert [entry["num_categories"] for entry in table["properties"]] == [18, 9, 10, 10, 12, 10, 10, 4, 10]


@pytest.mark.parametrize(
    ("symbol", "group", "period", "valence", "block"),
    [
        ("H", 1, 1, 1, "s"),
        ("He", 18, 1, 2, None),
        ("C", 14, 2, 4, "p"),
        ("Cl", 17, 3, 7, "p"),
        ("Ca", 2, 4, 2, "s"),
        ("Fe", 8, 4, 8, "d"),
        ("Cu", 11, 4, 11, "d"),
        ("Zn", 12, 4, 12, "d"),
        ("Ga", 13, 4, 3, "p"),
        ("Br", 17, 4, 7, "p"),
        ("I", 17, 5, 7, "p"),
        ("La", 3, 6, 3, None),
        ("W", 6, 6, None, "d"),
        ("Pb", 14, 6, 4, "p"),
        ("U", 3, 7, 6, "f"),
    ],
)
def test_integer_properties_are_those_of_the_periodic_table(
    symbol: str, group: int, period: int, valence: int | None, block: str | None, table: dict[str, Any]
) -> None:
    categories = dict(zip([entry["name"] for entry in table["properties"]], table["categories"][symbol], strict=True))
    assert categories["group"] == group - 1
    assert categories["period"] == period - 1
    if valence is not None:
        assert categories["valence_electrons"] == valence - 1
    if block is not None:
        assert categories["block"] == "spdf".index(block)


def test_every_category_is_one_of_its_property(table: dict[str, Any]) -> None:
    assert len(table["categories"]) == 100
    for symbol, row in table["categories"].items():
        for category, entry in zip(row, table["properties"], strict=True):
            assert category is None or 0 <= category < entry["num_categories"], (symbol, entry["name"])


def test_continuous_properties_rise_as_they_should(table: dict[str, Any]) -> None:
    names = [entry["name"] for entry in table["properties"]]

    def of(name: str, *symbols: str) -> list[int]:
        return [table["categories"][symbol][names.index(name)] for symbol in symbols]

    assert of("electronegativity", "Cs", "F") == [0, 9]
    for name, symbols in {
        "covalent_radius": ("H", "C", "Na", "Cs"),
        "log_first_ionization_energy": ("Cs", "C", "He"),
        "electron_affinity": ("C", "Cl"),
    }.items():
        assert of(name, *symbols) == sorted(of(name, *symbols))
