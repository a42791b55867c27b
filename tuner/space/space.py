"""A search space: what is varied, what is fixed, what is tried first."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from graphdb.records import Value
from tuner.space.parameter import Parameter


@dataclass(frozen=True, kw_only=True, slots=True)
class Space:
    """A search space for a given list of tasks."""

    source: str
    """File it came from, for messages."""
    parameters: tuple[Parameter, ...]
    """In the order in which they are drawn: a condition names only earlier ones."""
    fixed: Mapping[str, Value]
    """Settings that every trial shares."""
    baseline: Mapping[str, Value] | None
    """A point to try first; parameters that it leaves out are drawn."""
    stopping: Mapping[str, Mapping[str, int]]
    """What the file sets of the rule that stops trials, by its name; empty for the default."""

    def size(self) -> int | None:
        """Number of different points if all parameters are discrete, else None."""
        counts: Counter[frozenset[tuple[str, str]]] = Counter({frozenset(): 1})
        # Points of the parameters so far, by the conditions that they fulfil: pairs of (parent, who depends on it).
        for parameter in self.parameters:
            grid = parameter.grid()
            if grid is None:
                return None
            later = Counter[frozenset[tuple[str, str]]]()
            for fulfilled, count in counts.items():
                if all((parent, parameter.name) in fulfilled for parent in parameter.when):
                    for opened, values in self._opened_by(parameter, len(grid)).items():
                        later[fulfilled | opened] += count * values
                else:
                    later[fulfilled] += count
            counts = later
        return counts.total()

    def _opened_by(self, parent: Parameter, num_values: int) -> Mapping[frozenset[tuple[str, str]], int]:
        """How many values of a parameter fulfil which conditions of others."""
        named: dict[float, set[tuple[str, str]]] = {}
        for other in self.parameters:
            for value in other.when.get(parent.name, ()):
                named.setdefault(parent.place(value), set()).add((parent.name, other.name))
        opened = Counter(frozenset(pairs) for pairs in named.values())
        opened[frozenset()] += num_values - len(named)
        return opened
