"""What every rule for stopping trials keeps to."""

import math
import random

import pytest

from tuner.trials.stopping import RULES, make_rule
from tuner.trials.stopping.base import StoppingRule

SETTINGS = {"asha": {"grace_epochs": 2, "reduction": 3}, "none": {}}


@pytest.fixture(params=RULES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def made(name: str) -> StoppingRule:
    return make_rule({"rule": name, **SETTINGS[name]}, max_epochs=20)


def arrivals() -> list[tuple[int, int, float]]:
    """Trials that get on side by side."""
    numbers = random.Random(2)
    return [(trial, epoch, numbers.random()) for epoch in range(1, 20) for trial in range(12)]


def test_decisions_follow_from_what_was_recorded_in_its_order(name: str) -> None:
    first, second = made(name), made(name)
    assert [first.record(*each) for each in arrivals()] == [second.record(*each) for each in arrivals()]


def test_a_trial_that_is_recorded_again_goes_on_and_changes_nothing(name: str) -> None:
    once, twice = made(name), made(name)
    for trial, epoch, score in arrivals():
        decided = once.record(trial, epoch, score)
        assert twice.record(trial, epoch, score) == decided
        assert twice.record(trial, epoch, score + 1)


def test_the_best_trial_goes_on(name: str) -> None:
    rule = made(name)
    for trial, epoch, score in arrivals():
        rule.record(trial, epoch, score)
    assert all(rule.record(99, epoch, -1.0) for epoch in range(1, 20))


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_no_number_is_refused(name: str, score: float) -> None:
    with pytest.raises(ValueError, match=r"best_score must be finite, got .* for trial 4 at epoch 2"):
        made(name).record(4, 2, score)


def test_the_rule_is_said_in_words(name: str) -> None:
    assert made(name).describe() == {"asha": "ASHA with rungs at 2, 6, 18", "none": "no early stopping"}[name]
