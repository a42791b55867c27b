"""One dimension of a space: which values it has, and where they are."""

import pytest

from tuner.space.parameter import Parameter, Value, same

LISTED = Parameter(name="schedule", values=("cosine", True, 1))
STEPS = Parameter(name="warmup", low=0.0, high=0.3, step=0.1)
WHOLE = Parameter(name="num_convs", low=2, high=8, step=2, integer=True)
ENDLESS = Parameter(name="learning_rate", low=1e-4, high=1e-1, log=True)


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
