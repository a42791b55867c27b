"""Single parameters."""

import random

import pytest

from tuner.space.parameter import Parameter

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
