"""Fill a batch up to a given number of nodes and edges, with crystals that count for nothing.

Their nodes have multiplicity 0, their edges weight 0, their targets are unknown: they enter neither a batch's
statistics nor a mean over atoms nor the loss, and no other crystal receives anything from them. So batches come in a
handful of sizes, and what a GPU does for one of them can be recorded and replayed.
"""

import functools
import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphdb.graph import CrystalGraph, FlatGraphs
from graphdb.shapes import Int

BITS = 16
"""At most ``2**BITS - 1`` nodes and edges are added to a batch."""
NUM_FILLERS = 2 * BITS + 1
SLOTS = 2 * BITS
"""Rows of a batch that `filler_rows` takes."""
_EDGES_PER_NODE = 64
"""Of fillers: a GPU sums the edges of a node one after the other."""
_STEPS_PER_DOUBLING = 8
"""Sizes of batches between a size and its double: 9 % between neighbors, so 4 % of a batch are filler."""


@dataclass(frozen=True, slots=True)
class BatchSize:
    """How much a batch holds once it is filled up."""

    num_nodes: int
    num_edges: int


def with_fillers(flat: FlatGraphs) -> FlatGraphs:
    """The graphs, and behind them `NUM_FILLERS` fillers."""

    def joined(name: str) -> NDArray[Any]:
        first, second = getattr(flat, name), getattr(_fillers(), name)
        if name.endswith("_ptr"):
            return np.concatenate([first, first[-1] + second[1:]])
        return np.concatenate([first, second])

    return FlatGraphs(**{field.name: joined(field.name) for field in fields(flat)})


@functools.cache
def _fillers() -> FlatGraphs:
    """1, 2, 4, ... nodes without edges; then 1, 2, 4, ... edges with the nodes they need; then nothing at all."""
    sizes = [(1 << bit, 0) for bit in range(BITS)] + [(_nodes_of(1 << bit), 1 << bit) for bit in range(BITS)]
    return FlatGraphs.from_graphs([_filler(nodes, edges) for nodes, edges in [*sizes, (0, 0)]])


def _nodes_of(edges: int) -> int:
    return -(-edges // _EDGES_PER_NODE)


def _filler(nodes: int, edges: int) -> CrystalGraph:
    """Nodes that send to themselves."""
    count = np.full(nodes, edges // max(nodes, 1), np.int32)
    return CrystalGraph(
        num_atoms=0,
        atomic_numbers=np.ones(nodes, np.uint8),
        multiplicity=np.zeros(nodes, np.int32),
        neighbor_count=count,
        neighbor_index=np.repeat(np.arange(nodes, dtype=np.int32), count),
        neighbor_distance=np.zeros(edges, np.float32),
        neighbor_weight=np.zeros(edges, np.float32),
    )


def filler_rows(num_nodes: int, num_edges: int) -> Int[NDArray[np.int64], " fillers"] | None:
    """`SLOTS` fillers that together have so many nodes and edges, as positions counted from the first filler.

    Returns:
        None if there are no such fillers. Those with edges come last.
    """
    with_edges = [bit for bit in range(BITS) if num_edges >> bit & 1]
    num_nodes -= sum(_nodes_of(1 << bit) for bit in with_edges)
    if num_edges >> BITS or not 0 <= num_nodes < 1 << BITS:
        return None
    chosen = [bit for bit in range(BITS) if num_nodes >> bit & 1] + [BITS + bit for bit in with_edges]
    return np.array([2 * BITS] * (SLOTS - len(chosen)) + chosen, np.int64)


def batch_size(num_nodes: int, num_edges: int, edges_per_node: float) -> BatchSize:
    """The size to fill a batch up to: one of a few for batches of similar crystals.

    Args:
        num_nodes: of the batch.
        num_edges: of the batch.
        edges_per_node: of the whole data set: sizes have this proportion, if fillers can have it.
    """
    edges_per_node = min(edges_per_node, 0.75 * _EDGES_PER_NODE)  # each size must leave room for fillers with edges
    step = math.ceil(_STEPS_PER_DOUBLING * math.log2(max(num_edges, num_nodes * edges_per_node, 1)))
    while True:
        edges = math.ceil(2 ** (step / _STEPS_PER_DOUBLING))
        size = BatchSize(math.ceil(edges / edges_per_node), edges)
        spare = size.num_edges - num_edges
        if spare >= 0 and size.num_nodes - num_nodes >= spare / _EDGES_PER_NODE + _EDGES_PER_NODE.bit_length():
            return size
        step += 1
