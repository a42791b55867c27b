"""Which points of a space trials have, or had."""

from collections.abc import Mapping

from graphdb.records import Value
from tuner.space.space import Space


class Tried:
    """A set of points; two are one if all parameters have the same place in their grids."""

    def __init__(self, space: Space) -> None:
        """None yet."""
        self._parameters = space.parameters
        self._places: set[tuple[float, ...]] = set()

    def add(self, point: Mapping[str, Value]) -> None:
        """A trial has it."""
        self._places.add(self._place(point))

    def __contains__(self, point: Mapping[str, Value]) -> bool:
        """Whether a trial has it."""
        return self._place(point) in self._places

    def __len__(self) -> int:
        """How many different ones there are."""
        return len(self._places)

    def _place(self, point: Mapping[str, Value]) -> tuple[float, ...]:
        """The place of each parameter's value in its grid, -1 where it does not exist."""
        return tuple(
            parameter.place(point[parameter.name]) if parameter.name in point else -1.0
            for parameter in self._parameters
        )
