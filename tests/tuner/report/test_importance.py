"""Importances: the parameter that decides comes first, whatever the sampler did."""

import random
from collections.abc import Callable
from typing import Any

import pytest

from tuner.report.importance import MIN_TRIALS, importances
from tuner.run.log import State, Training, key_of

RATES = (1e-4, 1e-3, 1e-2, 1e-1)
OTHERS: dict[str, tuple[Any, ...]] = {
    "num_convs": (1, 2, 3, 4, 5),
    "atom_dim": (16, 32, 64, 128),
    "num_head_layers": (1, 2, 3, 4),
    "weight_decay": (0.0, 1e-6, 1e-4),
    "loss_weight.a": (1, 2, 3, 4, 5, 6, 7),
    "loss_weight.b": (1, 2, 3, 4, 5, 6, 7),
}


def record(number: int, params: dict[str, Any], state: State, *scores: float) -> Training:
    curve = dict(enumerate(scores, start=1))
    return Training(key=key_of(number), state=state, params=params, curve=curve)


def others(numbers: random.Random) -> dict[str, Any]:
    return {name: numbers.choice(values) for name, values in OTHERS.items()}


def half_at_the_best_rate(numbers: random.Random) -> list[Training]:
    """As in a search of 40 trials over the sample: the 19 best share one learning rate, all others are the worst."""
    trials = []
    for number in range(40):
        best = number % 2 == 0 and number < 38
        params = others(numbers) | {"learning_rate": 1e-2 if best else numbers.choice((1e-4, 1e-3, 1e-1))}
        score = numbers.uniform(0.2, 0.4) if best else numbers.uniform(0.6, 1.2)
        trials.append(record(number, params, "finished", score))
    return trials


def stopped_and_diverged(numbers: random.Random) -> list[Training]:
    """The same, but of the worst 10 diverged, having been better before, and others were stopped at once."""
    trials = []
    for trial in half_at_the_best_rate(numbers):
        (score,) = trial.curve.values()
        rate = trial.params["learning_rate"]
        if rate == 0.1:
            trials.append(record(trial.number, dict(trial.params), "diverged", 0.05, 0.01))
        elif rate == 1e-2:
            trials.append(record(trial.number, dict(trial.params), "stopped", *[score + 1.0] * 7))
        else:
            trials.append(record(trial.number, dict(trial.params), "stopped", score - 0.5))
    return trials


def varied_together(numbers: random.Random) -> list[Training]:
    """The sampler has mostly joined the best learning rate with 5 layers, which make no difference."""
    trials = []
    for number in range(60):
        rate = numbers.choice(RATES)
        params = others(numbers) | {"learning_rate": rate}
        if rate == 1e-2 and numbers.random() < 0.8:
            params["num_convs"] = 5
        trials.append(record(number, params, "finished", (0.3 if rate == 1e-2 else 0.8) + numbers.uniform(0, 0.3)))
    return trials


def continuous(numbers: random.Random) -> list[Training]:
    """The learning rate is drawn from a range."""
    trials = []
    for number in range(60):
        rate = 10 ** numbers.uniform(-4, -1)
        params = others(numbers) | {"learning_rate": rate}
        trials.append(record(number, params, "finished", 0.2 + abs(rate - 1e-3) ** 0.2 + numbers.uniform(0, 0.05)))
    return trials


def in_a_branch(numbers: random.Random) -> list[Training]:
    """Only half of the trials have a learning rate of their own; whether they do is worth nothing."""
    trials = []
    for number in range(80):
        params = others(numbers)
        score = numbers.uniform(0.2, 1.0)
        if number % 2:
            params["learning_rate"] = numbers.choice(RATES)
            score = 0.2 + 0.2 * RATES.index(params["learning_rate"]) + numbers.uniform(0, 0.2)
        trials.append(record(number, params, "finished", score))
    return trials


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    "search", [half_at_the_best_rate, stopped_and_diverged, varied_together, continuous, in_a_branch]
)
def test_the_decisive_parameter_comes_first(search: Callable[[random.Random], list[Training]], seed: int) -> None:
    shares, by_chance = importances(search(random.Random(seed)))
    assert next(iter(shares)) == "learning_rate"
    assert set(shares) == {"learning_rate", *OTHERS}
    assert shares["learning_rate"] > max(by_chance, 2 * sorted(shares.values())[-2])
    assert list(shares.values()) == sorted(shares.values(), reverse=True)
    assert sum(shares.values()) <= 1


def test_meaningless_parameters_rarely_exceed_what_is_named_as_chance() -> None:
    exceeded = 0
    for seed in range(40):
        numbers = random.Random(seed)
        shares, by_chance = importances(
            [record(number, others(numbers), "finished", numbers.random()) for number in range(40)]
        )
        exceeded += max(shares.values()) > by_chance
    assert exceeded <= 6


def test_two_parameters_share_what_they_explain() -> None:
    numbers = random.Random(1)
    trials = []
    for number in range(100):
        params = others(numbers)
        score = 0.2 * params["num_convs"] + 0.1 * OTHERS["atom_dim"].index(params["atom_dim"])
        trials.append(record(number, params, "finished", score))
    shares, _ = importances(trials)
    assert list(shares)[:2] == ["num_convs", "atom_dim"]
    assert shares["num_convs"] + shares["atom_dim"] > 0.9
    assert shares["num_convs"] > 2 * shares["atom_dim"]


@pytest.mark.parametrize(
    "trials",
    [
        [],
        [record(number, {"num_convs": number % 3}, "finished", float(number)) for number in range(MIN_TRIALS - 1)],
        [record(number, {"num_convs": 3}, "finished", float(number)) for number in range(20)],
        [record(number, {"num_convs": number % 3}, "finished", 0.5) for number in range(20)],
        [record(number, {"num_convs": number % 3}, "diverged") for number in range(20)],
        [record(number, {"num_convs": number % 3}, "failed") for number in range(20)],
    ],
    ids=["no trial", "few trials", "nothing varied", "equal scores", "all diverged", "all failed"],
)
def test_nothing_is_said_where_nothing_can_be_told(trials: list[Training]) -> None:
    assert importances(trials) == ({}, 0.0)


def test_a_parameter_with_a_value_of_its_own_in_each_trial_explains_nothing() -> None:
    trials = [
        record(number, {"schedule": f"s{number}", "num_convs": number % 2}, "finished", number % 2 + number / 100)
        for number in range(12)
    ]
    shares, _ = importances(trials)
    assert shares["schedule"] == 0
    assert shares["num_convs"] > 0.5
