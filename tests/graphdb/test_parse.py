"""Texts: their encoding, and pymatgen's JSON."""

import json
from typing import Any

import pytest

from graphdb.errors import Reason, Unusable
from graphdb.parse import decode, parse_crystal
from tests.graphdb.sourcefiles import IRON, text, volume


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-16", "cp1252"])
def test_the_encoding_of_a_structure_is_told_by_its_content(encoding: str) -> None:
    content = "# a dash \u2013 here\n" + text(IRON, "cif")
    assert decode(content.encode(encoding)).removeprefix("\ufeff") == content
    assert len(parse_crystal(content.encode(encoding), "cif").atomic_numbers) == 2


LATTICE = {"a": 3, "b": 3, "c": 4, "alpha": 90, "beta": 90, "gamma": 120}


SITE = {"species": [{"element": "Fe", "occu": 1}], "abc": [0, 0, 0]}


SHARED = [{"element": "Fe2+", "occu": 0.5}, {"element": "Fe3+", "occu": 0.5}]


def test_a_structure_in_json_may_have_lengths_and_angles_and_charges() -> None:
    crystal = parse_crystal(json.dumps({"lattice": LATTICE, "sites": [{**SITE, "species": SHARED}]}).encode(), "json")
    assert crystal.atomic_numbers.tolist() == [26]
    assert abs(volume(crystal) - 36 * 0.75**0.5) < 1e-9


@pytest.mark.parametrize(
    ("change", "reason", "message"),
    [
        ({"lattice": {**LATTICE, "beta": None}}, Reason.NO_LATTICE, "or a, b, c, alpha, beta, gamma; no beta"),
        ({"lattice": None}, Reason.NO_LATTICE, "a molecule?"),
        ({"sites": [{"abc": [0, 0, 0]}]}, Reason.UNKNOWN_ELEMENT, "site 0 must have a list 'species'"),
        ({"sites": [{"label": "Fe7", "abc": [0, 0, 0]}]}, Reason.UNKNOWN_ELEMENT, "site Fe7 must have"),
        ({"sites": ["Fe"]}, Reason.UNPARSABLE, "site 0 must be an object, got str"),
        ({"sites": [{**SITE, "species": [{"occu": 1}]}]}, Reason.UNKNOWN_ELEMENT, "must each have an 'element'"),
        ({"sites": [{"species": SITE["species"]}]}, Reason.BAD_COORDINATES, "must have 'abc' or 'xyz'"),
        ({"sites": [{**SITE, "species": SHARED[:1]}]}, Reason.DISORDERED, "shared or partly empty"),
        ({"sites": [{**SITE, "species": [SHARED[0], {"element": "Co", "occu": 0.5}]}]}, Reason.DISORDERED, "shared"),
    ],
)
def test_what_a_structure_in_json_lacks_is_named(change: dict[str, Any], reason: Reason, message: str) -> None:
    with pytest.raises(Unusable) as caught:
        parse_crystal(json.dumps({"lattice": LATTICE, "sites": [SITE]} | change).encode(), "json")
    assert caught.value.reason == reason
    assert message in caught.value.message
