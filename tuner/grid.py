"""Grid search: every point of a discrete space, once."""

import math
import random
from collections.abc import Iterator

from tuner.parameters import Value
from tuner.seeds import derived_seed
from tuner.space import Space


class Grid:
    """All points of a discrete space, spread: the k-th is (a k + b) mod size, written in mixed radix."""

    def __init__(self, space: Space, seed: int) -> None:
        """Choose a and b by the seed; the space must be discrete."""
        self._parameters = space.parameters
        self._size = space.size() or 0
        numbers = random.Random(derived_seed(seed, "grid"))
        self._factor = next(
            a for a in iter(lambda: numbers.randrange(1, self._size + 1), None) if math.gcd(a, self._size) == 1
        )
        self._offset = numbers.randrange(self._size)
        self._points = self._walk()
        self._found: list[dict[str, Value]] = []

    def point(self, index: int) -> dict[str, Value] | None:
        """The point of this index, counted from 0; None after the last."""
        while len(self._found) <= index:
            try:
                self._found.append(next(self._points))
            except StopIteration:
                return None
        return self._found[index]

    def _walk(self) -> Iterator[dict[str, Value]]:
        for k in range(self._size):
            rest = (self._factor * k + self._offset) % self._size
            chosen: dict[str, Value] = {}
            inactive_digits = 0
            for parameter in self._parameters:
                grid = parameter.grid()
                assert grid is not None
                rest, digit = divmod(rest, len(grid))
                if parameter.is_active(chosen):
                    chosen[parameter.name] = grid[digit]
                else:
                    inactive_digits += digit
            if not inactive_digits:  # A parameter that does not exist would make the same point appear several times.
                yield chosen
