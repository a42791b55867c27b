"""Graph settings: what they refuse, and how a store's are compared with a model's."""

import json
from typing import Any

import pytest

from graphdb.graphsettings import GraphSettings, HardNeighbors, SoftNeighbors


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"num_neighbors": 0}, "num_neighbors must be .* got 0"),
        ({"num_neighbors": 101}, "got 101"),
        ({"num_neighbors": 12.5}, "num_neighbors must be an integer.* got 12.5"),
        ({"cutoff": -1.0}, "cutoff must be .* Å, got -1.0"),
        ({"cutoff": float("nan")}, "got nan"),
        ({"cutoff": float("inf")}, "got inf"),
        ({"shell_width": 0.0}, "shell_width must be .* got 0.0"),
        ({"shell_width": float("nan")}, "got nan"),
        ({"merge_tolerance": -1e-4}, "merge_tolerance must be .* got -0.0001"),
        ({"merge_tolerance": 0.1}, "got 0.1"),
    ],
)
def test_settings_out_of_range_are_refused_with_name_and_value(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SoftNeighbors(**values)


@pytest.mark.parametrize("settings", [SoftNeighbors(), HardNeighbors(), SoftNeighbors(cutoff=9.5)])
def test_settings_survive_json(settings: GraphSettings) -> None:
    assert GraphSettings.from_dict(json.loads(json.dumps(settings.as_dict()))) == settings


@pytest.mark.parametrize(
    ("change", "odd"), [({"extra": 1}, r"extra \(unknown\)"), ({"cutoff": None}, r"cutoff \(missing\)")]
)
def test_unknown_and_missing_keys_are_refused_by_name(change: dict[str, Any], odd: str) -> None:
    values = {k: v for k, v in {**SoftNeighbors().as_dict(), **change}.items() if v is not None}
    with pytest.raises(ValueError, match=f"graph settings must have this version's keys, but these differ: {odd}$"):
        GraphSettings.from_dict(values)


def test_differences_name_both_values() -> None:
    assert SoftNeighbors().differences(SoftNeighbors()) == []
    assert SoftNeighbors(shell_width=0.1).differences(SoftNeighbors()) == ["shell_width: 0.1, not 0.03"]
    names = [text.split(":")[0] for text in SoftNeighbors().differences(HardNeighbors())]
    assert names == ["neighbors", "cutoff", "shell_width", "merge_tolerance"]


#: What stores and checkpoints of version 0.1.0 hold.
ON_DISK = [
    (
        SoftNeighbors(),
        {"neighbors": "shell", "num_neighbors": 12, "cutoff": 20.0, "shell_width": 0.03, "merge_tolerance": 0.0001},
    ),
    (
        HardNeighbors(),
        {"neighbors": "cgcnn", "num_neighbors": 12, "cutoff": 8.0, "shell_width": 0.0, "merge_tolerance": 0.0},
    ),
]


@pytest.mark.parametrize(("settings", "on_disk"), ON_DISK)
def test_settings_on_disk_stay_readable_and_what_is_written_stays_the_same(
    settings: GraphSettings, on_disk: dict[str, Any]
) -> None:
    assert GraphSettings.from_dict(on_disk) == settings
    assert settings.as_dict() == on_disk


@pytest.mark.parametrize("kind", ["voronoi", None, ["shell"]])
def test_an_unknown_kind_of_graph_is_refused(kind: Any) -> None:
    with pytest.raises(ValueError, match=r"neighbors must be one of shell, cgcnn, got"):
        GraphSettings.from_dict({**SoftNeighbors().as_dict(), "neighbors": kind})


def test_hard_neighbors_have_no_settings_of_soft_ones() -> None:
    assert HardNeighbors().differences(GraphSettings.from_dict({**HardNeighbors().as_dict(), "shell_width": 0.2})) == []
