"""Grid search: every point of a discrete space, once; and which points have been tried."""

import math
import random
from collections.abc import Iterator, Mapping

from tuner.seeds import derived_seed
from tuner.space.parameter import Value
from tuner.space.space import Space

Key = tuple[float, ...]
"""Stands for a point: the place of each parameter's value in its grid, -1 where it does not exist."""


class Tried:
    """The points of a space that trials have, or had."""

    def __init__(self, space: Space) -> None:
        """None yet."""
        self._parameters = space.parameters
        self._keys: set[Key] = set()

    def add(self, point: Mapping[str, Value]) -> None:
        """A trial has it."""
        self._keys.add(self._key(point))

    def __contains__(self, point: Mapping[str, Value]) -> bool:
        """Whether a trial has it."""
        return self._key(point) in self._keys

    def __len__(self) -> int:
        """How many different ones there are."""
        return len(self._keys)

    def _key(self, point: Mapping[str, Value]) -> Key:
        return tuple(
            parameter.place(point[parameter.name]) if parameter.name in point else -1.0
            for parameter in self._parameters
        )


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

    def first_not_in(self, tried: Tried) -> dict[str, Value] | None:
        """The first point that was not tried; None if all were. What is tried once must stay so."""
        while self._next is not None and self._next in tried:
            self._next = next(self._points, None)
        return self._next

    def _walk(self) -> Iterator[dict[str, Value]]:
        for k in range(self._size):
            rest = (self._factor * k + self._offset) % self._size
            chosen: dict[str, Value] = {}
            inactive_digits = 0
            for parameter, grid in self._parameters:
                rest, digit = divmod(rest, len(grid))
                if parameter.is_active(chosen):
                    chosen[parameter.name] = grid[digit]
                else:
                    inactive_digits += digit
            if not inactive_digits:  # A parameter that does not exist would make the same point appear several times.
                yield chosen
