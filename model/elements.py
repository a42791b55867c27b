"""Initial atom vectors: nine properties of each element, one-hot encoded."""

import json
from functools import cache
from importlib.resources import files
from typing import Any

import torch
from torch import Tensor

from graphdb.shapes import Float


def element_features() -> Float[Tensor, "101 features"]:
    """The element table that ships.

    Returns:
        Row Z is the vector of the element with atomic number Z, row 0 is empty. An unknown property leaves its columns
        0.

    Source:
        Xie and Grossman 2018, Table S1; values from pymatgen by graphdb/element_table.py.
    """
    table = _table()
    sizes = [entry["num_categories"] for entry in table["properties"]]
    features = torch.zeros(len(table["categories"]) + 1, sum(sizes))
    for number, categories in enumerate(table["categories"].values(), start=1):
        for column, category in enumerate(categories):
            if category is not None:
                features[number, sum(sizes[:column]) + category] = 1.0
    return features


@cache
def element_symbols() -> tuple[str, ...]:
    """Symbols by atomic number; "" at 0."""
    return ("", *_table()["categories"])


def _table() -> Any:
    return json.loads(files("model").joinpath("data/elements.json").read_text(encoding="utf-8"))
