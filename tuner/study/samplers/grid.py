"""Grid search: every point of a discrete space, once."""

import math
import random
from collections.abc import Iterator, Mapping

from graphdb.records import Value
from tuner.seeds import derived_seed
from tuner.space.space import Space
from tuner.study.history import History
from tuner.study.samplers.base import Point, Sampler
from tuner.study.tried_points import Tried


class GridSampler(Sampler):
    """The points of a grid that no trial has, in a scattered order."""

    def __init__(self, space: Space, seed: int, history: History) -> None:
        """As `Sampler`; the space must be discrete."""
        super().__init__(space, seed, history)
        self._grid = Grid(space, seed)

    def draw(self, number: int, repeat: int) -> Mapping[str, Value]:
        """The next point; no value where all were tried."""
        return self._grid.first_not_in(self.history.tried) or {}


class Grid:
    """All points of a discrete space, spread: the k-th is (a k + b) mod size, written in mixed radix."""

    def __init__(self, space: Space, seed: int) -> None:
        """Choose a and b by the seed; the space must be discrete."""
        self._parameters = [(parameter, parameter.grid() or ()) for parameter in space.parameters]
        self._size = math.prod(len(grid) for _, grid in self._parameters)
        numbers = random.Random(derived_seed(seed, "grid"))
        self._factor = next(
            a for a in iter(lambda: numbers.randrange(1, self._size + 1), None) if math.gcd(a, self._size) == 1
        )
        self._offset = numbers.randrange(self._size)
        self._points = self._walk()
        self._next = next(self._points, None)

    def first_not_in(self, tried: Tried) -> Point | None:
        """The first point that was not tried; None if all were. What is tried once must stay so."""
        while self._next is not None and self._next in tried:
            self._next = next(self._points, None)
        return self._next

    def _walk(self) -> Iterator[Point]:
        for k in range(self._size):
            rest = (self._factor * k + self._offset) % self._size
            chosen: Point = {}
            inactive_digits = 0
            for parameter, grid in self._parameters:
                rest, digit = divmod(rest, len(grid))
                if parameter.is_active(chosen):
                    chosen[parameter.name] = grid[digit]
                else:
                    inactive_digits += digit
            if not inactive_digits:  # A parameter that does not exist would make the same point appear several times.
                yield chosen
