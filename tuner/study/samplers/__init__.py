"""Who proposes parameters: one file for each way."""

from typing import TYPE_CHECKING

from tuner.errors import SearchError

if TYPE_CHECKING:  # commands name the samplers in their help, which is to come at once
    from tuner.space.space import Space
    from tuner.study.history import History
    from tuner.study.samplers.base import Sampler

SAMPLERS = ("tpe", "random", "grid")
"""Names of the samplers."""


def make_sampler(name: str, space: "Space", seed: int, history: "History") -> "Sampler":
    """The sampler of this name; see `Sampler` for the arguments.

    Raises:
        SearchError: if there is none.
    """
    if name == "grid":
        from tuner.study.samplers.grid import GridSampler

        return GridSampler(space, seed, history)
    if name == "random":
        from tuner.study.samplers.random import RandomSampler

        return RandomSampler(space, seed, history)
    if name == "tpe":
        from tuner.study.samplers.tpe import TPESampler  # optuna, half a second

        return TPESampler(space, seed, history)
    raise SearchError(f"sampler must be one of {', '.join(SAMPLERS)}, got {name!r}")
