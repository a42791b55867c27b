"""Where trials diverge."""

from collections.abc import Callable

import pytest

from tuner.space.space import Space
from tuner.study.divergence import Divergences


def test_what_speaks_against_a_value_is_that_more_trials_diverge_than_on_the_whole(
    make_space: Callable[..., Space],
) -> None:
    space = make_space(
        """
        [parameters]
        num_convs = [1, 2, 4]
        learning_rate = { low = 1e-4, high = 1e-1, log = true }
        batch_size = { low = 10, high = 40, step = 10, when = { num_convs = 4 } }
        """
    )
    known = Divergences(space)
    assert not known
    rates = [10 ** (-4 + number / 20) for number in range(60)]
    for number, rate in enumerate(rates):
        known.add(number, {"num_convs": 1 + number % 2, "learning_rate": rate}, diverged=rate > 0.0101)
    assert known
    highest, middle, low = (known.caution("learning_rate", rate, []) for rate in (0.08, 0.0101, 1e-3))
    assert highest < 3 * middle < 0, "ten, five and none of the nearest, on a logarithmic scale"
    assert low == 0.0, "ten, five and none of the nearest, on a logarithmic scale"
    assert known.caution("num_convs", 1, []) == known.caution("num_convs", 4, []) == 0.0
    assert known.caution("learning_rate", 0.08, [58, 59, 3]) == pytest.approx(highest / 3), "two of the good are there"
    known.add(60, {"num_convs": 4, "learning_rate": 1e-4, "batch_size": 20}, diverged=True)
    assert highest / 5 < known.caution("batch_size", 20, []) < 0, "one trial tells little"
    assert known.caution("batch_size", 20, [60]) == known.caution("batch_size", 20, []) / 2
