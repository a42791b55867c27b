"""ASHA as arithmetic, and beside Ray's own scheduler."""

import random
from types import SimpleNamespace
from typing import Any

import pytest

from tuner.trials.stopping.asha import Asha


def make(grace_epochs: int = 1, reduction: int = 3, max_epochs: int = 30) -> Asha:
    return Asha(grace_epochs=grace_epochs, reduction=reduction, max_epochs=max_epochs)


@pytest.mark.parametrize(
    ("grace_epochs", "reduction", "max_epochs", "rungs"),
    [(1, 3, 30, (1, 3, 9, 27)), (4, 3, 30, (4, 12)), (2, 2, 9, (2, 4, 8)), (1, 3, 27, (1, 3, 9)), (30, 3, 30, ())],
)
def test_rungs_are_powers_of_the_reduction_below_the_last_epoch(
    grace_epochs: int, reduction: int, max_epochs: int, rungs: tuple[int, ...]
) -> None:
    assert tuple(make(grace_epochs, reduction, max_epochs).rungs()) == rungs


def test_the_best_third_goes_on_judged_by_what_was_recorded_before() -> None:
    asha = make()
    scores = [0.9, 0.8, 0.85, 0.7, 0.75, 0.72, 0.95]
    # With 1 to 5 values only the best goes on, with 6 the best two.
    assert [asha.record(trial, 1, score) for trial, score in enumerate(scores)] == [
        True,
        True,
        False,
        True,
        False,
        True,
        False,
    ]


def test_an_epoch_that_is_no_rung_stops_nobody() -> None:
    asha = make()
    asha.record(0, 1, 0.1)
    assert asha.record(1, 2, 9.0)
    assert asha.rungs()[1] == {0: 0.1}


def test_a_trial_counts_once_at_a_rung() -> None:
    asha = make()
    asha.record(0, 1, 0.5)
    assert asha.record(0, 1, 0.1)
    assert asha.rungs()[1] == {0: 0.5}


def test_equals_are_not_stopped_for_each_other() -> None:
    asha = make()
    assert all(asha.record(trial, 1, 0.5) for trial in range(10))


def test_a_score_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ValueError, match="must be finite, got nan for trial 3 at epoch 1"):
        make().record(3, 1, float("nan"))


@pytest.mark.parametrize(("name", "value"), [("grace_epochs", 0), ("reduction", 1)])
def test_settings_out_of_range_are_refused(name: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"{name} must be >= "):
        Asha(max_epochs=9, **{"grace_epochs": 1, "reduction": 3, name: value})


def ray_decisions(reduction: int, arrivals: list[float]) -> list[bool]:
    """What Ray's bracket decides at its first rung for these scores, in this order."""
    from ray.tune.schedulers import TrialScheduler
    from ray.tune.schedulers.async_hyperband import _Bracket

    bracket = _Bracket(min_t=1, max_t=reduction, reduction_factor=reduction, s=0)
    trials: list[Any] = [SimpleNamespace(trial_id=str(number)) for number in range(len(arrivals))]
    return [
        bracket.on_result(trial, 1, -score) == TrialScheduler.CONTINUE
        for trial, score in zip(trials, arrivals, strict=True)
    ]


@pytest.mark.parametrize("reduction", [2, 3, 4])
@pytest.mark.parametrize("seed", range(20))
def test_decisions_agree_with_those_of_ray_up_to_its_interpolation(reduction: int, seed: int) -> None:
    """Ray compares with a percentile of the values recorded *before*, interpolated between two of them.

    With n values, ours included, we let the best max(1, n // reduction) go on, as the paper does. Ray's cutoff lies
    between the ranks (n - 2) // reduction and (n - 2) // reduction + 1 of the n - 1 others, so it lets at most one or
    two trials more through, and never stops one that we let go on.
    """
    numbers = random.Random(seed)
    scores = [numbers.random() for _ in range(60)]
    asha = make(1, reduction, reduction + 1)
    ours = [asha.record(trial, 1, score) for trial, score in enumerate(scores)]
    theirs = ray_decisions(reduction, scores)
    for number, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
        better = sum(score < scores[number] for score in scores[:number])
        if mine:
            assert other, f"Ray stops trial {number}, which has {better} better ones before it"
        elif other:
            assert better <= (number - 1) // reduction + 1
    if reduction == 2:  # where the percentile falls on a value, the two rules are the same
        assert ours[1::2] == theirs[1::2]
