"""The crystal graph, of one crystal and of many; what `graphdb.neighbors` makes and `graphdb.batch` trains on."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class CrystalGraph:
    """One crystal's graph of A nodes (classes of equivalent atoms) and E edges, grouped by receiving node.

    Edge e of node i says: in the sum over i's neighbors, node ``neighbor_index[e]`` at ``neighbor_distance[e]`` counts
    ``neighbor_weight[e]`` times.
    """

    num_atoms: int
    """Atoms in the cell, before merging; the multiplicities add up to it."""
    atomic_numbers: NDArray[np.uint8]
    """(A,)"""
    multiplicity: NDArray[np.int32]
    """(A,) atoms of the cell that the node stands for."""
    neighbor_count: NDArray[np.int32]
    """(A,) edges of each node; adds up to E."""
    neighbor_index: NDArray[np.int32]
    """(E,) the sending node, 0 to A - 1."""
    neighbor_distance: NDArray[np.float32]
    """(E,) Å."""
    neighbor_weight: NDArray[np.float32]
    """(E,) above 0; each node's add up to `GraphSettings.num_neighbors`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlatGraphs:
    """The graphs of N crystals end to end: crystal n owns nodes ``atom_ptr[n]:atom_ptr[n+1]`` and edges likewise."""

    num_atoms: NDArray[np.int32]
    """(N,)"""
    atom_ptr: NDArray[np.int64]
    """(N + 1,)"""
    edge_ptr: NDArray[np.int64]
    """(N + 1,)"""
    atomic_numbers: NDArray[np.uint8]
    """(sum A,)"""
    multiplicity: NDArray[np.int32]
    """(sum A,)"""
    neighbor_count: NDArray[np.int32]
    """(sum A,)"""
    neighbor_index: NDArray[np.int32]
    """(sum E,), counted from the crystal's own first node."""
    neighbor_distance: NDArray[np.float32]
    """(sum E,) Å."""
    neighbor_weight: NDArray[np.float32]
    """(sum E,)"""

    @classmethod
    def from_graphs(cls, graphs: "list[CrystalGraph]") -> Self:
        """Lay graphs end to end."""

        def ptr(lengths: list[int]) -> NDArray[np.int64]:
            return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)

        def join(name: str, dtype: type[np.generic]) -> NDArray[Any]:
            return np.concatenate([np.empty(0, dtype), *(getattr(graph, name) for graph in graphs)]).astype(dtype)

        return cls(
            num_atoms=np.array([graph.num_atoms for graph in graphs], np.int32),
            atom_ptr=ptr([len(graph.atomic_numbers) for graph in graphs]),
            edge_ptr=ptr([len(graph.neighbor_index) for graph in graphs]),
            atomic_numbers=join("atomic_numbers", np.uint8),
            multiplicity=join("multiplicity", np.int32),
            neighbor_count=join("neighbor_count", np.int32),
            neighbor_index=join("neighbor_index", np.int32),
            neighbor_distance=join("neighbor_distance", np.float32),
            neighbor_weight=join("neighbor_weight", np.float32),
        )
