"""Records: what comes back of JSON, and what is refused by name."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any

import pytest

from graphdb.records import finite_or_none, read_record


@dataclass(frozen=True, kw_only=True)
class Record:
    name: str
    weights: tuple[float, ...] = ()
    notes: dict[str, Any] = field(default_factory=dict)


def test_a_record_survives_json() -> None:
    record = Record(name="a", weights=(1.0, 2.0), notes={"list": [1]})
    assert read_record(Record, json.loads(json.dumps(asdict(record))), "it") == record


@pytest.mark.parametrize(
    ("values", "complete", "odd"),
    [
        ({"name": "a", "wieghts": [1.0]}, False, "wieghts (unknown)"),
        ({"weights": [1.0]}, False, "name (missing)"),
        ({"other": 1}, False, "other (unknown), name (missing)"),
        ({"name": "a", "weights": []}, True, "notes (missing)"),
        ({"name": "a"}, False, None),
    ],
)
def test_unknown_and_missing_keys_are_named(values: dict[str, Any], complete: bool, odd: str | None) -> None:
    if odd is None:
        assert read_record(Record, values, "it", complete=complete) == Record(name="a")
        return
    with pytest.raises(ValueError, match=r"^it must have this version's keys") as caught:
        read_record(Record, values, "it", complete=complete)
    assert str(caught.value).endswith(f"differ: {odd}")


def test_what_json_cannot_hold_becomes_null() -> None:
    nan, inf = float("nan"), float("inf")
    value = {"a": nan, "b": [1.5, (inf, "x")], "c": {"d": -inf, "e": None, "f": True}}
    assert finite_or_none(value) == {"a": None, "b": [1.5, [None, "x"]], "c": {"d": None, "e": None, "f": True}}
