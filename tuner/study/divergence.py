"""Where in a space trials diverge, estimated from those that ended, one parameter at a time."""

import math
from bisect import bisect_left, insort
from collections.abc import Container, Iterable, Mapping

from graphdb.records import Value
from tuner.space.parameter import Parameter
from tuner.space.space import Space

NEIGHBORS = 10
"""Trials with the nearest values, where a parameter is continuous."""
DOUBT = 8
"""So many trials more are taken to have ended with each value, of which as many diverged as do on the whole."""
CAUTION = 10
"""A value is worth the chance that none of so many trials would diverge because of it."""


class Divergences:
    """Trials that ended, by the value of each parameter, and how many of them diverged."""

    def __init__(self, space: Space) -> None:
        """No trial yet."""
        self._parameters = {parameter.name: parameter for parameter in space.parameters}
        self._continuous = {name for name, parameter in self._parameters.items() if parameter.grid() is None}
        self._same: dict[tuple[str, float], tuple[set[int], set[int]]] = {}
        self._sorted: dict[str, list[tuple[float, int, bool]]] = {}
        self._ended = self._diverged = 0

    def __bool__(self) -> bool:
        """Whether any trial diverged."""
        return self._diverged > 0

    def add(self, number: int, params: Mapping[str, Value], *, diverged: bool) -> None:
        """A trial has ended, by divergence or otherwise."""
        self._ended += 1
        self._diverged += diverged
        for name, value in params.items():
            if name in self._continuous:
                insort(self._sorted.setdefault(name, []), (self._place(name, value), number, diverged))
            else:
                numbers, its = self._same.setdefault((name, self._place(name, value)), (set(), set()))
                numbers.add(number)
                if diverged:
                    its.add(number)

    def caution(self, name: str, value: Value, good: Iterable[int]) -> float:
        """What speaks against a value of a parameter.

        Args:
            name: of the parameter.
            value: of it.
            good: numbers of the best trials; the more of them have such a value, the less speaks against it.

        Returns:
            The logarithm of a factor of at most 1: 0 where no more trials diverge than on the whole.
        """
        numbers, ended, diverged = self._alike(name, self._place(name, value))
        overall = self._diverged / (self._ended + 1)
        share = (diverged + DOUBT * overall) / (ended + DOUBT)
        because = max(0.0, (share - overall) / (1 - overall))
        return CAUTION * math.log1p(-because) / (1 + sum(number in numbers for number in good))

    def _alike(self, name: str, place: float) -> tuple[Container[int], int, int]:
        if name not in self._continuous:
            numbers, its = self._same.get((name, place), (set(), set()))
            return numbers, len(numbers), len(its)
        values = self._sorted.get(name, [])
        middle = bisect_left(values, (place, -1, False))
        around = values[max(0, middle - NEIGHBORS) : middle + NEIGHBORS]
        nearest = sorted(around, key=lambda each: abs(each[0] - place))[:NEIGHBORS]
        return {number for _, number, _ in nearest}, len(nearest), sum(diverged for *_, diverged in nearest)

    def _place(self, name: str, value: Value) -> float:
        parameter: Parameter = self._parameters[name]
        place = parameter.place(value)
        return math.log(place) if parameter.log and name in self._continuous else place
