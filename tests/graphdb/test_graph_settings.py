"""Graph settings: what they refuse, and how a store's are compared with a model's."""

import json
from typing import Any

import pytest

from graphdb.graph import GraphSettings


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"neighbors": "voronoi"}, "'voronoi'"),
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
        GraphSettings(**values)


@pytest.mark.parametrize("settings", [GraphSettings(), GraphSettings(neighbors="cgcnn"), GraphSettings(cutoff=9.5)])
def test_settings_survive_json(settings: GraphSettings) -> None:
    assert GraphSettings.from_dict(json.loads(json.dumps(settings.as_dict()))) == settings


@pytest.mark.parametrize(
    ("change", "odd"), [({"extra": 1}, r"extra \(unknown\)"), ({"cutoff": None}, r"cutoff \(missing\)")]
)
def test_unknown_and_missing_keys_are_refused_by_name(change: dict[str, Any], odd: str) -> None:
    values = {k: v for k, v in {**GraphSettings().as_dict(), **change}.items() if v is not None}
    with pytest.raises(ValueError, match=f"graph settings must have this version's keys, but these differ: {odd}$"):
        GraphSettings.from_dict(values)


def test_differences_name_both_values() -> None:
    assert GraphSettings().differences(GraphSettings()) == []
    assert GraphSettings(shell_width=0.1).differences(GraphSettings()) == ["shell_width: 0.1, not 0.03"]
    names = [text.split(":")[0] for text in GraphSettings().differences(GraphSettings(neighbors="cgcnn"))]
    assert names == ["neighbors", "cutoff", "shell_width", "merge_tolerance"]


def test_settings_without_a_meaning_make_no_difference() -> None:
    original = GraphSettings(neighbors="cgcnn")
    assert GraphSettings(neighbors="cgcnn", shell_width=0.2, merge_tolerance=0.001).differences(original) == []
