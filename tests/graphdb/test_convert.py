"""The way from a text to its graph: every failure is a reason."""

import pytest

from graphdb.convert import Converted, to_crystal, to_graph
from graphdb.crystal import Crystal
from graphdb.errors import Reason, SkippedCrystal
from graphdb.graphsettings import GraphSettings, HardNeighbors, SoftNeighbors
from graphdb.rawcrystal import RawCrystal

SALT = b"salt\n1\n5.6 0 0\n0 5.6 0\n0 0 5.6\nNa Cl\n1 1\nDirect\n0 0 0\n.5 .5 .5\n"
SPARSE = SALT.replace(b"5.6", b"60")


def raw(content: bytes) -> RawCrystal:
    return RawCrystal("salt", "poscar", content, "salt.vasp")


@pytest.mark.parametrize("settings", [SoftNeighbors(), HardNeighbors()])
def test_a_text_becomes_its_graph_of_either_kind(settings: GraphSettings) -> None:
    found = to_graph(raw(SALT), settings)
    assert isinstance(found, Converted)
    assert sorted(found.graph.atomic_numbers.tolist()) == [11, 17]
    assert isinstance(to_crystal(raw(SALT)), Crystal)


@pytest.mark.parametrize(
    ("content", "elements", "reason", "message"),
    [
        (b"", None, Reason.EMPTY_FILE, "no content"),
        (SPARSE, None, Reason.TOO_SPARSE, "12 neighbors"),
        (SALT, {11}, Reason.ELEMENT_WITHOUT_FEATURES, "this model knows no Cl"),
        (SPARSE, {11}, Reason.ELEMENT_WITHOUT_FEATURES, "this model knows no Cl"),
    ],
)
def test_what_is_wrong_with_a_text_is_a_reason(
    content: bytes, elements: set[int] | None, reason: Reason, message: str
) -> None:
    found = to_graph(raw(content), SoftNeighbors(), elements=elements)
    assert isinstance(found, SkippedCrystal)
    assert (found.material_id, found.reason, found.where) == ("salt", reason, "salt.vasp")
    assert message in found.message


def test_memory_that_does_not_suffice_for_a_graph_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("graphdb.convert.build_graph", fail)
    found = to_graph(raw(SALT), SoftNeighbors())
    assert isinstance(found, SkippedCrystal)
    assert found.reason == Reason.TOO_LARGE
