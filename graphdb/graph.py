"""The crystal graph, of one crystal and of many; what `graphdb.neighbors` makes and `graphdb.batch` trains on."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from graphdb.shapes import Float, Int, UInt


@dataclass(frozen=True, slots=True, kw_only=True)
class CrystalGraph:
    """One crystal's graph of nodes (classes of equivalent atoms) and edges, grouped by receiving node.

    Edge e of node i says: in the sum over i's neighbors, node ``neighbor_index[e]`` at ``neighbor_distance[e]`` counts
    ``neighbor_weight[e]`` times.
    """

    num_atoms: int
    """Atoms in the cell, before merging; the multiplicities add up to it."""
    atomic_numbers: UInt[NDArray[np.uint8], " atoms"]
    multiplicity: Int[NDArray[np.int32], " atoms"]
    """Atoms of the cell that the node stands for."""
    neighbor_count: Int[NDArray[np.int32], " atoms"]
    """Edges of each node; adds up to all edges."""
    neighbor_index: Int[NDArray[np.int32], " edges"]
    """The sending node, counted from 0."""
    neighbor_distance: Float[NDArray[np.float32], " edges"]
    """Å."""
    neighbor_weight: Float[NDArray[np.float32], " edges"]
    """Above 0; each node's add up to `GraphSettings.num_neighbors`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlatGraphs:
    """The graphs of many crystals end to end: crystal n owns nodes ``atom_ptr[n]:atom_ptr[n+1]`` and edges likewise."""

    num_atoms: Int[NDArray[np.int32], " crystals"]
    atom_ptr: Int[NDArray[np.int64], " crystals+1"]
    edge_ptr: Int[NDArray[np.int64], " crystals+1"]
    atomic_numbers: UInt[NDArray[np.uint8], " atoms"]
    multiplicity: Int[NDArray[np.int32], " atoms"]
    neighbor_count: Int[NDArray[np.int32], " atoms"]
    neighbor_index: Int[NDArray[np.int32], " edges"]
    """Counted from the crystal's own first node."""
    neighbor_distance: Float[NDArray[np.float32], " edges"]
    """Å."""
    neighbor_weight: Float[NDArray[np.float32], " edges"]

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
