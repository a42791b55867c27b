"""What every sampler keeps to."""

from collections.abc import Callable

import pytest

from tests.tuner.study.trials import Trials
from tuner.space.parameter import same
from tuner.space.space import Space
from tuner.study.history import History
from tuner.study.samplers import SAMPLERS, make_sampler

SPACE = """
[parameters]
num_convs = [1, 2, 3]
atom_dim = [16, 32, 128]
schedule = ["constant", "cosine"]
weight_decay = { low = 0.0, high = 0.5, step = 0.125 }
num_head_layers = { low = 1, high = 4, when = { num_convs = [2, 3] } }
head_dim = { low = 8, high = 64, log = true, when = { num_head_layers = [2, 3, 4] } }
"""


@pytest.fixture(params=SAMPLERS)
def sampler(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def played(space: Space, sampler: str, trials: int = 24) -> Trials:
    told = Trials(space, sampler, seed=3)
    for _ in range(trials):
        number, params = told.asked()
        told.report(number, 1, float(params["num_convs"]))
        if number % 4 != 3:
            told.tell(number, ("finished", "stopped", "diverged")[number % 4])
    return told


def test_points_lie_in_the_space_and_are_whole(make_space: Callable[..., Space], sampler: str) -> None:
    space = make_space(SPACE)
    for trial in played(space, sampler).all:
        for parameter in space.parameters:
            assert (parameter.name in trial.params) == parameter.is_active(trial.params)
            assert parameter.name not in trial.params or parameter.contains(trial.params[parameter.name])


def test_a_draw_depends_on_seed_number_and_history_alone(make_space: Callable[..., Space], sampler: str) -> None:
    space = make_space(SPACE)
    told = played(space, sampler)
    points = []
    for _ in range(2):
        history = History(space)
        for trial in told.all:
            history.add(trial)
        drawing = make_sampler(sampler, space, 3, history)
        points.append(drawing.point(24))
        assert drawing.point(24) == points[-1], "drawn again, nothing has changed"
    assert points[0] == points[1]


def test_given_values_are_kept(make_space: Callable[..., Space], sampler: str) -> None:
    space = make_space(SPACE)
    point = make_sampler(sampler, space, 3, History(space)).point(0, given={"num_convs": 2, "num_head_layers": 4})
    assert same(point["num_convs"], 2)
    assert same(point["num_head_layers"], 4)
    assert point.keys() == {parameter.name for parameter in space.parameters if parameter.is_active(point)}
