"""What decides the graph of a crystal, one class for each kind of graph; a store and a checkpoint both remember it."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from graphdb.records import read_record


@dataclass(frozen=True, kw_only=True, slots=True)
class GraphSettings(ABC):
    """What `SoftNeighbors` and `HardNeighbors` have in common."""

    kind: ClassVar[str]
    """Name of the class in files and for ``--neighbors``."""
    num_neighbors: int = 12
    """Sum of the neighbor weights of every atom."""
    cutoff: float
    """Å."""

    def __post_init__(self) -> None:
        if not isinstance(self.num_neighbors, int) or not 1 <= self.num_neighbors <= 100:
            raise ValueError(f"num_neighbors must be an integer in 1 to 100, got {self.num_neighbors}; CGCNN uses 12")
        if not (math.isfinite(self.cutoff) and 1.0 <= self.cutoff <= 50.0):
            raise ValueError(f"cutoff must be in 1 to 50 Å, got {self.cutoff}")

    @abstractmethod
    def as_dict(self) -> dict[str, Any]:
        """The settings as JSON-able values; "neighbors" tells the kind, and both kinds have the same keys."""

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> "GraphSettings":
        """The settings that `as_dict` wrote.

        Raises:
            ValueError: for an unknown or a missing key, or a value out of range.
        """
        kind = str(values.get("neighbors"))
        if kind not in KINDS:
            raise ValueError(f"neighbors must be one of {', '.join(KINDS)}, got {kind!r}")
        left_out = ("neighbors", *(_SOFT_ONLY if kind == HardNeighbors.kind else ()))
        own = {name: value for name, value in values.items() if name not in left_out}
        return read_record(KINDS[kind], own, "graph settings", complete=True)

    def differences(self, other: "GraphSettings") -> list[str]:
        """Each setting that differs, as ``name: mine, not theirs``; empty when the graphs are the same."""
        mine, theirs = self.as_dict(), other.as_dict()
        return [f"{name}: {mine[name]}, not {theirs[name]}" for name in mine if mine[name] != theirs[name]]


@dataclass(frozen=True, kw_only=True, slots=True)
class SoftNeighbors(GraphSettings):
    """The soft nearest neighbors of `graphdb.neighbors`, with equivalent atoms merged."""

    kind = "shell"

    cutoff: float = 20.0
    """Å; an atom that needs more is refused."""
    shell_width: float = 0.03
    """Å over which a neighbor's weight falls from 1 to 0."""
    merge_tolerance: float = 1e-4
    """Å within which distances count as equal when equivalent atoms are merged; 0 merges nothing."""

    def __post_init__(self) -> None:
        GraphSettings.__post_init__(self)
        if not 1e-3 <= self.shell_width <= 1.0:
            raise ValueError(f"shell_width must be in 0.001 to 1 Å, got {self.shell_width}")
        if not 0.0 <= self.merge_tolerance <= 1e-2:
            raise ValueError(f"merge_tolerance must be in 0 to 0.01 Å, got {self.merge_tolerance}")

    def as_dict(self) -> dict[str, Any]:
        """As in the base class."""
        return {"neighbors": self.kind, **asdict(self)}


@dataclass(frozen=True, kw_only=True, slots=True)
class HardNeighbors(GraphSettings):
    """The original code's choice: cut through shells, and padded. Weights that were trained with it need it."""

    kind = "cgcnn"

    cutoff: float = 8.0
    """Å within which neighbors are searched; missing ones are padded."""

    def as_dict(self) -> dict[str, Any]:
        """As in the base class; what only soft neighbors have is 0."""
        return {"neighbors": self.kind, **asdict(self), **dict.fromkeys(_SOFT_ONLY, 0.0)}


_SOFT_ONLY = ("shell_width", "merge_tolerance")
KINDS: Mapping[str, type[SoftNeighbors] | type[HardNeighbors]] = {
    kind.kind: kind for kind in (SoftNeighbors, HardNeighbors)
}
