"""One dimension of a search space: the values it may take and the condition under which it exists."""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from graphdb.records import Value

PER_TASK = "loss_weight"
"""The one parameter that exists once per task."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameter:
    """A hyperparameter that the search varies: either listed values or a range."""

    name: str
    """Field of `model`'s Architecture or TrainConfig, or ``loss_weight.<task>``."""
    values: tuple[Value, ...] = ()
    """Listed values; empty for a range."""
    low: float = 0.0
    """Smallest value of a range."""
    high: float = 0.0
    """Largest value of a range, included."""
    step: float | None = None
    """Distance of allowed values in a range; None for 1 (integers) or continuous (floats)."""
    integer: bool = False
    """Whether a range holds integers."""
    log: bool = False
    """Whether a range is searched on a logarithmic scale."""
    when: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)
    """The parameter exists only where each parameter named here has one of the values named here."""

    @property
    def is_listed(self) -> bool:
        """Whether the values are listed rather than given by a range."""
        return bool(self.values)

    def contains(self, value: Value) -> bool:
        """Whether the parameter can take this value (1 and 1.0 are the same, True and 1 are not)."""
        if self.is_listed:
            return any(same(value, allowed) for allowed in self.values)
        if isinstance(value, (bool, str)) or not self.low <= value <= self.high:
            return False
        if self.integer and not float(value).is_integer():
            return False
        if self.step is None:
            return True
        steps = (value - self.low) / self.step
        return math.isclose(steps, round(steps), abs_tol=1e-9)

    def grid(self) -> Sequence[Value] | None:
        """All values in order, or None for a continuous range."""
        if self.is_listed:
            return self.values
        if self.integer:
            return range(int(self.low), int(self.high) + 1, int(self.step or 1))
        if self.step is None:
            return None
        steps = round((self.high - self.low) / self.step)
        return tuple(min(self.low + index * self.step, self.high) for index in range(steps + 1))

    def only_value(self) -> Value:
        """The first value, which is the only one where there is no choice."""
        return (self.grid() or (self.low,))[0]

    def draw(self, numbers: random.Random) -> Value:
        """A value at random, uniform on the scale of the parameter."""
        grid = self.grid()
        if grid is not None and not self.log:
            return numbers.choice(grid)
        low, high = (self.low - 0.5, self.high + 0.5) if self.integer else (self.low, self.high)
        value = math.exp(numbers.uniform(math.log(low), math.log(high))) if self.log else numbers.uniform(low, high)
        value = min(max(value, self.low), self.high)
        return round(value) if self.integer else value

    def place(self, value: Value) -> float:
        """Where in the grid a value of this parameter is; in a continuous range, the value itself."""
        if self.is_listed:
            return next(index for index, allowed in enumerate(self.values) if same(value, allowed))
        number = float(value)
        step = self.step or (1 if self.integer else None)
        return number if step is None else round((number - self.low) / step)

    def is_active(self, chosen: Mapping[str, Value]) -> bool:
        """Whether the parameter exists, given the values of those before it."""
        return all(
            parent in chosen and any(same(chosen[parent], allowed) for allowed in allowed_values)
            for parent, allowed_values in self.when.items()
        )

    def describe(self) -> str:
        """The allowed values in words, for messages."""
        if self.is_listed:
            return "one of " + ", ".join(repr(value) for value in self.values)
        kind = "an integer" if self.integer else "a number"
        step = f" in steps of {self.step:g}" if self.step is not None else ""
        return f"{kind} from {self.low:g} to {self.high:g}{step}{' (log)' if self.log else ''}"


def same(left: Value, right: Value) -> bool:
    """Equality of values as a user means it: 1 equals 1.0 but not true."""
    return left == right and isinstance(left, bool) == isinstance(right, bool)
