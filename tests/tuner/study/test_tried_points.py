"""Points that were tried."""

from collections.abc import Callable

from tuner.space.space import Space
from tuner.study.tried_points import Tried


def test_points_are_told_apart_by_places_not_by_how_numbers_are_written(make_space: Callable[..., Space]) -> None:
    space = make_space(
        """
        [parameters]
        num_convs = [1, 2, 3]
        learning_rate = { low = 0.1, high = 0.7, step = 0.1 }
        head_dim = { values = [16, 32], when = { num_convs = 3 } }
        """
    )
    tried = Tried(space)
    tried.add({"num_convs": 1, "learning_rate": 0.1 + 0.2})
    assert {"num_convs": 1.0, "learning_rate": 0.3} in tried
    assert {"num_convs": 2, "learning_rate": 0.3} not in tried
    tried.add({"num_convs": 3, "learning_rate": 0.3, "head_dim": 16})
    assert {"num_convs": 3, "learning_rate": 0.3, "head_dim": 32} not in tried
    tried.add({"num_convs": 1, "learning_rate": 0.3})
    assert len(tried) == 2
