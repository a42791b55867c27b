"""One dimension of a space: which values it has, how they are drawn, and where they are."""

import random

import pytest

from graphdb.records import Value
from tuner.space.parameter import Parameter, same

LISTED = Parameter(name="schedule", values=("cosine", True, 1))
STEPS = Parameter(name="warmup", low=0.0, high=0.3, step=0.1)
WHOLE = Parameter(name="num_convs", low=2, high=8, step=2, integer=True)
ENDLESS = Parameter(name="learning_rate", low=1e-4, high=1e-1, log=True)
PARAMETERS = (
    Parameter(name="listed", values=(1, "two", True)),
    Parameter(name="range", low=-1.0, high=2.0),
    Parameter(name="log", low=1e-4, high=1e-1, log=True),
    Parameter(name="steps", low=0.0, high=0.5, step=0.125),
    Parameter(name="integers", low=2, high=9, integer=True),
    Parameter(name="even", low=2, high=10, step=2, integer=True),
    Parameter(name="log integers", low=1, high=64, integer=True, log=True),
    Parameter(name="one", values=(7,)),
)


@pytest.mark.parametrize("parameter", PARAMETERS, ids=lambda parameter: parameter.name)
def test_values_drawn_at_random_lie_in_the_parameter_and_reach_all_of_it(parameter: Parameter) -> None:
    numbers = random.Random(4)
    values = [parameter.draw(numbers) for _ in range(2000)]
    assert all(parameter.contains(value) for value in values)
    grid = parameter.grid()
    if grid is not None:
        assert {parameter.place(value) for value in values} == {parameter.place(value) for value in grid}
    else:
        places = [parameter.place(value) for value in values]
        assert min(places) < parameter.low + 0.01 * (parameter.high - parameter.low)
        assert max(places) > parameter.high - 0.01 * (parameter.high - parameter.low)


@pytest.mark.parametrize(("low", "high", "integer"), [(1e-4, 1e-1, False), (1, 64, True)])
def test_on_a_logarithmic_scale_each_octave_is_drawn_as_often(low: float, high: float, integer: bool) -> None:
    parameter = Parameter(name="x", low=low, high=high, log=True, integer=integer)
    numbers = random.Random(4)
    below = sum(float(parameter.draw(numbers)) < (low * high) ** 0.5 for _ in range(4000))
    assert 0.45 < below / 4000 < 0.56


def test_the_only_value_of_a_parameter_without_choice() -> None:
    assert PARAMETERS[-1].only_value() == 7
    assert Parameter(name="x", low=3, high=3, integer=True).only_value() == 3
    assert Parameter(name="x", low=0.5, high=0.5).only_value() == 0.5


@pytest.mark.parametrize(
    ("parameter", "inside", "outside"),
    [
        (LISTED, ("cosine", True, 1, 1.0), ("constant", 2, False)),
        (STEPS, (0, 0.1, 0.2, 0.3), (0.15, 0.4, True, "0.1")),
        (WHOLE, (2, 4, 8.0), (3, 10, 4.5)),
        (ENDLESS, (1e-4, 0.05), (0.2, 0)),
    ],
)
def test_a_parameter_has_its_values_alone(
    parameter: Parameter, inside: tuple[Value, ...], outside: tuple[Value, ...]
) -> None:
    assert all(parameter.contains(value) for value in inside)
    assert not any(parameter.contains(value) for value in outside)


@pytest.mark.parametrize("parameter", [LISTED, STEPS, WHOLE])
def test_the_place_of_a_value_is_where_it_stands_in_the_grid(parameter: Parameter) -> None:
    grid = parameter.grid()
    assert grid is not None
    assert [parameter.place(value) for value in grid] == list(range(len(grid)))
    assert all(parameter.contains(value) for value in grid)


def test_a_continuous_range_has_no_grid() -> None:
    assert ENDLESS.grid() is None
    assert ENDLESS.place(0.05) == 0.05


def test_a_parameter_exists_where_all_its_parents_have_one_of_the_named_values() -> None:
    child = Parameter(name="head_dim", values=(8,), when={"num_convs": (2, 4), "schedule": ("cosine",)})
    assert child.is_active({"num_convs": 4, "schedule": "cosine"})
    assert not child.is_active({"num_convs": 6, "schedule": "cosine"})
    assert not child.is_active({"num_convs": 4})


def test_true_is_not_one() -> None:
    assert same(1, 1.0)
    assert not same(1, True)


def test_a_parameter_is_described_for_messages() -> None:
    assert LISTED.describe() == "one of 'cosine', True, 1"
    assert WHOLE.describe() == "an integer from 2 to 8 in steps of 2"
    assert ENDLESS.describe() == "a number from 0.0001 to 0.1 (log)"
