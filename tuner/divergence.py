"""How likely a training diverges, told from those that ended, one parameter at a time."""

import math
from bisect import bisect_left, insort
from collections.abc import Mapping

from tuner.parameters import Parameter, Value
from tuner.space import Space

NEIGHBORS = 10
"""Trials with the nearest values, where a parameter is continuous."""


class Divergences:
    """Counts trials that ended, by the value of each parameter, and those of them that diverged."""

    def __init__(self, space: Space) -> None:
        """No trial yet."""
        self._parameters = {parameter.name: parameter for parameter in space.parameters}
        self._counts: dict[tuple[str, float], list[int]] = {}
        self._sorted: dict[str, list[tuple[float, bool]]] = {}
        self.any = False
        """Whether there is any."""

    def add(self, params: Mapping[str, Value], *, diverged: bool) -> None:
        """A trial has ended, by divergence or otherwise."""
        self.any |= diverged
        for name, value in params.items():
            parameter = self._parameters.get(name)
            if parameter is None:  # of somebody who wrote to the journal beside us
                continue
            if parameter.grid() is None:
                insort(self._sorted.setdefault(name, []), (_place(parameter, value), diverged))
            else:
                count = self._counts.setdefault((name, parameter.place(value)), [0, 0])
                count[0] += 1
                count[1] += diverged

    def share(self, name: str, value: Value) -> float:
        """Of the trials with this value of a parameter, the share that diverged, as if one more had not: below 1."""
        parameter = self._parameters[name]
        if parameter.grid() is not None:
            ended, diverged = self._counts.get((name, parameter.place(value)), (0, 0))
            return diverged / (ended + 1)
        place, values = _place(parameter, value), self._sorted.get(name, [])
        middle = bisect_left(values, (place, False))
        around = values[max(0, middle - NEIGHBORS) : middle + NEIGHBORS]
        nearest = sorted(around, key=lambda each: abs(each[0] - place))[:NEIGHBORS]
        return sum(diverged for _, diverged in nearest) / (len(nearest) + 1)


def _place(parameter: Parameter, value: Value) -> float:
    return math.log(float(value)) if parameter.log else float(value)
