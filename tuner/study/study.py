"""Who proposes: the parameters of each new trial, drawn by a sampler away from the points that were tried."""

from collections.abc import Mapping

from graphdb.records import Value
from tuner.run.log import Training
from tuner.space.space import Space
from tuner.study.history import History
from tuner.study.samplers import make_sampler
from tuner.study.samplers.grid import Grid

MAX_DRAWS, MAX_DRAWS_WITHOUT_GRID = 5, 40
"""Draws until a point is new; then the next of the grid is taken. Where there is no grid, because some of the points
have a continuous parameter, further draws are made."""


class Study:
    """Proposes trials, each point once. All it knows is what it is told: it holds no file."""

    def __init__(self, space: Space, *, sampler: str, seed: int) -> None:
        """No trial yet.

        Args:
            space: to draw from.
            sampler: who draws.
            seed: of the sampler.
        """
        self.space = space
        self._size = space.size()
        self._history = History(space)
        self._sampler = make_sampler(sampler, space, seed, self._history)
        self._grid = Grid(space, seed) if self._size is not None else None

    def add(self, trial: Training) -> None:
        """A trial was begun, or has ended."""
        self._history.add(trial)

    @property
    def exhausted(self) -> str | None:
        """Where every point of the space was tried, a sentence that says so; else None."""
        if self._size is None or len(self._history.tried) < self._size:
            return None
        which = f"all {self._size:,} points" if self._size > 1 else "the only point"
        return f"{which} of {self.space.source} {'have' if self._size > 1 else 'has'} been tried"

    def propose(self, number: int) -> dict[str, Value] | None:
        """Parameters for a new trial; None if every point was tried. The first trial has those of the baseline.

        Args:
            number: of the trial.
        """
        if number == 0 and self.space.baseline:
            return self.complete(number, self.space.baseline)
        if self.exhausted:
            return None
        for repeat in range(MAX_DRAWS if self._grid is not None else MAX_DRAWS_WITHOUT_GRID):
            point = self._sampler.point(number, repeat)
            if point not in self._history.tried:
                return point
        return (self._grid.first_not_in(self._history.tried) if self._grid is not None else None) or point

    def complete(self, number: int, given: Mapping[str, Value]) -> dict[str, Value]:
        """A point of which some values are given; those that lie outside the space are drawn."""
        possible = {
            parameter.name: given[parameter.name]
            for parameter in self.space.parameters
            if parameter.name in given and parameter.contains(given[parameter.name])
        }
        return self._sampler.point(number, given=possible)
