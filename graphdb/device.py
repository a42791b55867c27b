"""The whole data set on a GPU: a batch is gathered there from the positions of its crystals, without the host.

Numbers of nodes and edges, which decide the sizes of arrays, are known on the host beforehand; the order of an epoch is
uploaded at once. So nothing waits while an epoch runs.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from graphdb.batch import GraphBatch, Task, sender_order
from graphdb.graph import FlatGraphs
from graphdb.padding import NUM_FILLERS, SLOTS, BatchSize, batch_size, filler_rows, with_fillers
from graphdb.shapes import Bool, Float, Int

_SHARE_OF_FREE_MEMORY = 0.5
"""Of the device: the rest is for training, and for others."""


class DeviceGraphs:
    """The arrays of `FlatGraphs` with their targets as tensors on a device, and the fillers of `graphdb.padding`."""

    def __init__(
        self, host: FlatGraphs, targets: Float[NDArray[np.float32], "crystals tasks"], device: torch.device | str
    ) -> None:
        """Copy everything to the device.

        Args:
            host: graphs end to end, without fillers.
            targets: NaN where unknown.
            device: where batches are wanted.
        """
        flat = with_fillers(host)
        order = sender_order(flat)
        unknown = np.full((NUM_FILLERS, targets.shape[1]), np.nan, np.float32)

        def put(array: NDArray[np.generic]) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(array)).to(device)

        self.device = torch.device(device)
        self.on_host = host
        self.first_filler = len(targets)
        self._first_node, self._num_nodes = put(flat.atom_ptr[:-1]), put(np.diff(flat.atom_ptr))
        self._first_edge, self._num_edges = put(flat.edge_ptr[:-1]), put(np.diff(flat.edge_ptr))
        self._atomic_numbers, self._multiplicity = put(flat.atomic_numbers), put(flat.multiplicity.astype(np.float32))
        self._neighbor_count, self._sender_count = put(flat.neighbor_count), put(order.count)
        self._neighbor_index, self._edge_by_sender = put(flat.neighbor_index), put(order.edge)
        self._neighbor_distance, self._neighbor_weight = put(flat.neighbor_distance), put(flat.neighbor_weight)
        self._targets = put(np.concatenate([targets, unknown]))

    def gather(self, rows: Int[Tensor, " crystals"], size: BatchSize) -> GraphBatch:
        """The crystals at these positions, in this order: what `collate` puts together on the host.

        Args:
            rows: on the device; ``first_filler + n`` is filler n.
            size: nodes and edges that these crystals have, which only the host can tell without waiting.
        """
        nodes, edges = self._num_nodes[rows], self._num_edges[rows]
        atom_ptr, edge_ptr = _starts(nodes), _starts(edges)
        crystal = torch.repeat_interleave(nodes, output_size=size.num_nodes)
        crystal_of_edge = torch.repeat_interleave(edges, output_size=size.num_edges)
        node_shift = (self._first_node[rows] - atom_ptr[:-1])[crystal]
        edge_shift = (self._first_edge[rows] - edge_ptr[:-1])[crystal_of_edge]
        node = torch.arange(size.num_nodes, device=self.device) + node_shift
        edge = torch.arange(size.num_edges, device=self.device) + edge_shift
        received = self._neighbor_count[node].long()
        target = self._targets[rows]
        unknown = target.isnan()
        return GraphBatch(
            atomic_numbers=self._atomic_numbers[node].long(),
            multiplicity=self._multiplicity[node],
            atom_ptr=atom_ptr,
            neighbor_ptr=_starts(received),
            neighbor_index=self._neighbor_index[edge] + atom_ptr[crystal_of_edge],
            neighbor_distance=self._neighbor_distance[edge],
            neighbor_weight=self._neighbor_weight[edge],
            edge_by_sender=self._edge_by_sender[edge] + edge_ptr[crystal_of_edge],
            crystal=crystal,
            receiver=torch.repeat_interleave(received, output_size=size.num_edges),
            sender_ptr=_starts(self._sender_count[node].long()),
            target=target.masked_fill(unknown, 0.0),
            target_mask=~unknown,
            index=rows,
        )


def _starts(lengths: Int[Tensor, " parts"]) -> Int[Tensor, " parts_and_end"]:
    return torch.nn.functional.pad(lengths.cumsum(0), (1, 0))


@dataclass(frozen=True, slots=True)
class FilledRows:
    """A batch before it is gathered: its crystals and the fillers that bring it to its size."""

    rows: Int[Tensor, " crystals"]
    """On the device; as many in each batch of an epoch."""
    size: BatchSize
    num_crystals: int
    """Without the fillers."""


class Planner(Protocol):
    """What decides which crystals come when: `graphdb.loader.Loader`."""

    indices: Int[NDArray[np.int64], " crystals"]
    batch_size: int

    @property
    def targets(self) -> Float[NDArray[np.float32], "crystals tasks"]:
        """Of these crystals, NaN where unknown."""

    @property
    def tasks(self) -> tuple[Task, ...]:
        """What the columns are."""

    def set_epoch(self, epoch: int) -> None:
        """Choose the order."""

    def plan(self) -> list[Int[NDArray[np.int64], " crystals"]]:
        """The positions in each batch of this epoch."""


class DeviceLoader:
    """The batches of a `graphdb.loader.Loader`, gathered on a device."""

    def __init__(self, loader: Planner, graphs: DeviceGraphs) -> None:
        """See `graphdb.loader.Loader.on`.

        Args:
            loader: whose plan to follow.
            graphs: all graphs that its positions may name.
        """
        self.graphs = graphs
        self._loader = loader
        self._num_nodes, self._num_edges = np.diff(graphs.on_host.atom_ptr), np.diff(graphs.on_host.edge_ptr)
        self._edges_per_node = max(float(self._num_edges.sum() / self._num_nodes.sum()), 1e-3)

    @property
    def targets(self) -> Float[NDArray[np.float32], "crystals tasks"]:
        """On the host, NaN where unknown."""
        return self._loader.targets

    @property
    def tasks(self) -> tuple[Task, ...]:
        """What the columns are."""
        return self._loader.tasks

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next iteration."""
        self._loader.set_epoch(epoch)

    def __len__(self) -> int:
        """Batches in this epoch."""
        return len(self._loader.plan())

    def __iter__(self) -> Iterator[GraphBatch]:
        """The batches of this epoch."""
        plan = self._loader.plan()
        uploaded = torch.split(self._upload(np.concatenate(plan)), [len(rows) for rows in plan])
        for rows, on_device in zip(plan, uploaded, strict=True):
            yield self.graphs.gather(on_device, self._size(rows))

    def filled(self) -> Iterator[FilledRows | GraphBatch]:
        """The batches of this epoch, to be filled up to a few sizes; as it is one for which fillers are lacking."""
        plan = self._loader.plan()
        capacity = self._loader.batch_size + SLOTS  # the same in each epoch, or each would have sizes of its own
        sizes, table = [], np.full((len(plan), capacity), self.graphs.first_filler + NUM_FILLERS - 1)
        for rows, line in zip(plan, table, strict=True):
            held = self._size(rows)
            size = batch_size(held.num_nodes, held.num_edges, self._edges_per_node)
            fillers = filler_rows(size.num_nodes - held.num_nodes, size.num_edges - held.num_edges)
            sizes.append(None if fillers is None else size)
            if fillers is not None:
                line[:SLOTS] = self.graphs.first_filler + fillers
            line[-len(rows) :] = rows
        for rows, on_device, filled_size in zip(plan, self._upload(table), sizes, strict=True):
            if filled_size is None:
                yield self.graphs.gather(on_device[-len(rows) :], self._size(rows))
            else:
                yield FilledRows(on_device, filled_size, len(rows))

    def known_elements(self) -> Bool[NDArray[np.bool_], "tasks numbers"]:
        """Which atomic numbers occur in this loader's crystals with a known target; on the host."""
        known = ~np.isnan(self.targets)
        numbers = self.graphs.on_host.atomic_numbers
        found = np.zeros((known.shape[1], 256), bool)
        crystal = np.repeat(np.arange(len(self._num_nodes)), self._num_nodes)
        for task in range(known.shape[1]):
            chosen = np.zeros(len(self._num_nodes), bool)
            chosen[self._loader.indices[known[:, task]]] = True
            found[task, numbers[chosen[crystal]]] = True
        return found

    def _size(self, rows: Int[NDArray[np.int64], " crystals"]) -> BatchSize:
        return BatchSize(int(self._num_nodes[rows].sum()), int(self._num_edges[rows].sum()))

    def _upload(self, rows: NDArray[np.int64]) -> Tensor:
        tensor = torch.from_numpy(rows)
        if self.graphs.device.type == "cuda":
            tensor = tensor.pin_memory()
        return tensor.to(self.graphs.device, non_blocking=True)


def fits(nbytes: int, device: torch.device | str) -> bool:
    """Whether so much may be put on a device; on what is no CUDA device, always."""
    device = torch.device(device)
    return device.type != "cuda" or nbytes <= _SHARE_OF_FREE_MEMORY * torch.cuda.mem_get_info(device)[0]
