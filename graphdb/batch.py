"""What a model sees of crystals: a batch of graphs as tensors. Needs torch and NumPy, nothing else."""

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from graphdb.graph import FlatGraphs
from graphdb.shapes import Bool, Float, Int


@dataclass(frozen=True, slots=True)
class Task:
    """One property to predict."""

    name: str
    unit: str = ""
    """As written in tables and headers, for example "eV/atom"; empty when unknown or dimensionless."""

    @property
    def label(self) -> str:
        """Name and unit as a column header: ``band_gap [eV]``."""
        return f"{self.name} [{self.unit}]" if self.unit else self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphBatch:
    """A batch of crystals. Nodes are sorted by crystal, edges by receiving node.

    A node is a class of equivalent atoms (`graphdb.merging`) and one on the axis "atoms"; sums over atoms weigh it with
    its multiplicity.
    """

    index: Int[Tensor, " crystals"]
    """Positions of the crystals in the source they came from."""
    target: Float[Tensor, "crystals tasks"]
    """Physical units, 0 where unknown."""
    target_mask: Bool[Tensor, "crystals tasks"]
    """True where the target is known."""
    atom_ptr: Int[Tensor, " crystals+1"]
    """Crystal b owns nodes ``atom_ptr[b]:atom_ptr[b + 1]``."""
    atomic_numbers: Int[Tensor, " atoms"]
    multiplicity: Float[Tensor, " atoms"]
    """Atoms that the node stands for."""
    neighbor_ptr: Int[Tensor, " atoms+1"]
    """Node a receives edges ``neighbor_ptr[a]:neighbor_ptr[a + 1]``."""
    neighbor_index: Int[Tensor, " edges"]
    """The sending node of each edge."""
    neighbor_distance: Float[Tensor, " edges"]
    """Å."""
    neighbor_weight: Float[Tensor, " edges"]
    """How often the edge counts in its receiver's sum."""
    edge_by_sender: Int[Tensor, " edges"]
    """The edges in order of their sender: what the backward pass sums over."""
    crystal: Int[Tensor, " atoms"]
    """The crystal of each node."""
    receiver: Int[Tensor, " edges"]
    """The receiving node of each edge."""
    sender_ptr: Int[Tensor, " atoms+1"]
    """Node a sends edges ``edge_by_sender[sender_ptr[a]:sender_ptr[a + 1]]``."""

    @property
    def num_crystals(self) -> int:
        """Crystals in the batch."""
        return len(self.atom_ptr) - 1

    def to(self, device: torch.device | str) -> Self:
        """The same batch on another device."""
        if self.atomic_numbers.device == torch.device(device):
            return self
        return replace(self, **{name: getattr(self, name).to(device, non_blocking=True) for name in self.__slots__})


@dataclass(frozen=True, slots=True)
class SenderOrder:
    """For each crystal its edges in order of their sender."""

    edge: Int[NDArray[np.int32], " edges"]
    """Counted from the crystal's first edge."""
    count: Int[NDArray[np.int32], " atoms"]
    """Edges that each node sends."""


def collate(
    flat: FlatGraphs,
    rows: Int[NDArray[Any], " crystals"],
    targets: Float[NDArray[np.float32], "graphs tasks"],
    index: Int[NDArray[Any], " crystals"] | None = None,
    order: SenderOrder | None = None,
) -> GraphBatch:
    """Put rows of `flat` into a batch.

    Args:
        flat: graphs end to end.
        rows: which graphs, in which order.
        targets: of all rows of `flat`, NaN where unknown.
        index: what to write into `GraphBatch.index`; `rows` when None.
        order: of all edges of `flat`, from `sender_order`; computed here, of these rows, when None.
    """
    rows = np.asarray(rows, dtype=np.int64)
    nodes = flat.atom_ptr[rows + 1] - flat.atom_ptr[rows]
    edges = flat.edge_ptr[rows + 1] - flat.edge_ptr[rows]
    atom_ptr, edge_ptr = _starts(nodes), _starts(edges)
    node = _ranges(flat.atom_ptr[rows], nodes, atom_ptr)
    edge = _ranges(flat.edge_ptr[rows], edges, edge_ptr)
    neighbor_index = flat.neighbor_index[edge] + np.repeat(atom_ptr[:-1], edges)
    neighbor_count = flat.neighbor_count[node]
    by_sender: NDArray[Any]
    sent: NDArray[Any]
    if order is None:
        by_sender = np.argsort(neighbor_index, kind="stable")
        sent = np.bincount(neighbor_index, minlength=len(node))
    else:
        by_sender = order.edge[edge] + np.repeat(edge_ptr[:-1], edges)
        sent = order.count[node]
    target = targets[rows]
    known = ~np.isnan(target)
    return GraphBatch(
        atomic_numbers=torch.from_numpy(flat.atomic_numbers[node].astype(np.int64)),
        multiplicity=torch.from_numpy(flat.multiplicity[node].astype(np.float32)),
        atom_ptr=torch.from_numpy(atom_ptr),
        neighbor_ptr=torch.from_numpy(_starts(neighbor_count)),
        neighbor_index=torch.from_numpy(neighbor_index),
        neighbor_distance=torch.from_numpy(flat.neighbor_distance[edge]),
        neighbor_weight=torch.from_numpy(flat.neighbor_weight[edge]),
        edge_by_sender=torch.from_numpy(by_sender),
        crystal=torch.from_numpy(np.repeat(np.arange(len(rows)), nodes)),
        receiver=torch.from_numpy(np.repeat(np.arange(len(node)), neighbor_count)),
        sender_ptr=torch.from_numpy(_starts(sent)),
        target=torch.from_numpy(np.where(known, target, np.float32(0))),
        target_mask=torch.from_numpy(known),
        index=torch.from_numpy(rows if index is None else np.asarray(index, dtype=np.int64)),
    )


def sender_order(flat: FlatGraphs) -> SenderOrder:
    """What `collate` needs of graphs to put many batches together without sorting each."""
    edges = np.diff(flat.edge_ptr)
    sender = flat.neighbor_index + np.repeat(flat.atom_ptr[:-1], edges)
    edge = np.argsort(sender, kind="stable") - np.repeat(flat.edge_ptr[:-1], edges)
    count = np.bincount(sender, minlength=len(flat.neighbor_count))
    return SenderOrder(edge.astype(np.int32), count.astype(np.int32))


def _starts(lengths: NDArray[Any]) -> NDArray[np.int64]:
    starts = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=starts[1:])
    return starts


def _ranges(first: NDArray[np.int64], lengths: NDArray[np.int64], starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Concatenated ``first[i]..first[i] + lengths[i] - 1``."""
    return np.repeat(first - starts[:-1], lengths) + np.arange(starts[-1])
