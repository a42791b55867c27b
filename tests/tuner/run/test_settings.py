"""The settings of a search: kept on disk, and by whoever goes on with it."""

import json
from typing import Any

import pytest

from tests.tuner.drive import Plan, settings_of
from tuner.errors import SettingsMismatch
from tuner.run.settings import SearchSettings, check_resumed, parse_duration


@pytest.mark.parametrize(("text", "seconds"), [("2h", 7200), ("90", 90), ("1h30m", 5400), ("1.5h", 5400), ("45s", 45)])
def test_durations_are_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "0", "-1h", "2d"])
def test_other_durations_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a duration must"):
        parse_duration(text)


def test_a_resume_under_other_settings_is_refused_with_both_values() -> None:
    old = settings_of(Plan(folder="x"))
    other = {"train": 1, "validation": 1, "test": 1, "fractions": [0.7, 0.2, 0.1]}
    cases: list[tuple[dict[str, Any], str]] = [
        ({"seed": 4}, "--seed was 3 and is now 4"),
        ({"max_epochs": 50}, "--max-epochs was 9 and is now 50"),
        ({"tasks": ("band_gap",)}, "--tasks was band_gap,fermi_energy and is now band_gap"),
        ({"sampler": "random"}, "--sampler was tpe and is now random"),
        ({"space_text": "other"}, "--space was the space as it was"),
        ({"split": other}, "--valid was 0.1 and is now 0.2"),
        ({"stopping": {"rule": "none"}}, "was grace_epochs 1, reduction 3 and is now none"),
        ({"fingerprint": "x"}, "the sample that ships has changed since the search began: .*; start a new search"),
        ({"fingerprint": "x", "store": "/b"}, "--store /b is not the sample that ships, with which .*; leave --store"),
    ]
    for changes, message in cases:
        with pytest.raises(SettingsMismatch, match=message):
            check_resumed(old, SearchSettings.from_dict({**old.as_dict(), **changes}), "mine")
    for changes in ({"trials": 99}, {"finalists": None}, {"finalist_seeds": 7}):
        check_resumed(old, SearchSettings.from_dict({**old.as_dict(), **changes}), "mine")


def test_settings_survive_the_way_to_disk() -> None:
    settings = settings_of(Plan(folder="x"))
    assert SearchSettings.from_dict(json.loads(json.dumps(settings.as_dict()))) == settings
