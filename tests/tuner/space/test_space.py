"""How large a space is, and which points are whole."""

from collections.abc import Callable

import pytest

from graphdb.records import Value
from tuner.space.space import Space

SIZES = (
    "num_convs = [1, 2, 3]\nhead_dim = [16, 32]",
    "num_convs = [1, 2, 3]\nhead_dim = { values = [16, 32], when = { num_convs = [2, 3] } }",
    "num_convs = [1, 2, 3]\nhead_dim = { values = [1, 2], when = { num_convs = 3 } }\n"
    "atom_dim = { low = 1, high = 5, when = { head_dim = 2 } }",
    "num_convs = { low = 1, high = 6 }\natom_dim = [1, 2]\n"
    "head_dim = { values = [16, 32, 64], when = { num_convs = [1, 2, 6], atom_dim = 2 } }\n"
    "batch_size = { values = [1, 2], when = { num_convs = 6 } }",
    "learning_rate = { low = 0.1, high = 0.5, step = 0.1 }\n"
    "batch_size = { values = [1, 2], when = { learning_rate = 0.30000000000000004 } }",
    'schedule = ["a", true, 2]\nbatch_size = { values = [1, 2], when = { schedule = true } }',
)


@pytest.mark.parametrize("text", SIZES)
def test_the_size_of_a_space_counts_each_point_once_whatever_the_conditions(
    make_space: Callable[..., Space], text: str
) -> None:
    space = make_space(f"[parameters]\n{text}")
    points: list[dict[str, Value]] = [{}]
    for parameter in space.parameters:
        longer: list[dict[str, Value]] = []
        for point in points:
            values = parameter.grid()
            assert values is not None
            active = parameter.is_active(point)
            longer += [{**point, parameter.name: value} for value in values] if active else [point]
        points = longer
    assert space.size() == len(points)


def test_the_size_of_a_huge_space_is_known_at_once(make_space: Callable[..., Space]) -> None:
    text = "num_convs = { low = 1, high = 1000000000 }\nbatch_size = { values = [1, 2], when = { num_convs = [5, 7] } }"
    assert make_space(f"[parameters]\n{text}").size() == 10**9 + 2
