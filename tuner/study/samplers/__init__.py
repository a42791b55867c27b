"""Who proposes parameters: one file for each way. optuna is imported where one is made."""

from typing import Literal, get_args

from tuner.space.space import Space
from tuner.study.history import History
from tuner.study.samplers.base import Sampler

SamplerName = Literal["tpe", "random", "grid"]
SAMPLERS: tuple[SamplerName, ...] = get_args(SamplerName)


def make_sampler(name: SamplerName, space: Space, seed: int, history: History) -> Sampler:
    """The sampler of this name; see `Sampler` for the arguments."""
    if name == "grid":
        from tuner.study.samplers.grid import GridSampler

        return GridSampler(space, seed, history)
    if name == "random":
        from tuner.study.samplers.random import RandomSampler

        return RandomSampler(space, seed, history)
    from tuner.study.samplers.tpe import TPESampler

    return TPESampler(space, seed, history)
