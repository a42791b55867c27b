"""CGCNN as a user of PyTorch Geometric writes it, and our batches in its terms."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from graphdb.batch import GraphBatch
from model.gated_sum.radial import expand_lengths
from model.network import MTCGCNN, Head

PeerBatch = tuple[Tensor, Tensor, Tensor, Tensor, int]
"""Atomic numbers (atoms), edge index (2, edges) from sender to receiver, Gaussians (edges, rbf), crystal of each atom,
number of crystals."""


class Peer(nn.Module):
    """The same element table, embedding, pooling and heads as ours, with `CGConv` in between.

    It does less than ours: CGConv has no batch normalisation over the edges, which the original network has.
    """

    def __init__(self, ours: MTCGCNN) -> None:
        """The sizes, the element table and the kinds of layers of `ours`; weights of its own."""
        super().__init__()
        from torch_geometric.nn import CGConv

        sizes = ours.architecture
        self.register_buffer("elements", ours.elements.clone())
        self.embedding = nn.Linear(ours.elements.shape[1], sizes.atom_dim)
        self.convs = nn.ModuleList(
            CGConv(channels=sizes.atom_dim, dim=sizes.num_rbf, batch_norm=True) for _ in range(sizes.num_convs)
        )
        self.heads = nn.ModuleList(
            Head(sizes.atom_dim, sizes.head_dim, sizes.num_head_layers) for _ in range(len(ours.tasks))
        )

    def forward(self, data: PeerBatch) -> Tensor:
        """Scaled predictions (crystals, tasks)."""
        from torch_geometric.nn import global_mean_pool

        numbers, edge_index, edge_attr, crystal, num_crystals = data
        elements: Tensor = self.get_buffer("elements")
        x = self.embedding(elements).index_select(0, numbers)
        for conv in self.convs:
            x = conv(x, edge_index, edge_attr)
        pooled = global_mean_pool(x, crystal, num_crystals)
        return torch.cat([head(pooled) for head in self.heads], dim=1)


def peer_batch(batch: GraphBatch, ours: MTCGCNN) -> PeerBatch:
    """A batch of unmerged graphs in the peer's terms."""
    spacing = ours.architecture.rbf_cutoff / (ours.architecture.num_rbf - 1)
    edge_attr = expand_lengths(batch.neighbor_distance, ours.centers, spacing)
    edge_index = torch.stack([batch.neighbor_index, batch.receiver])
    return batch.atomic_numbers, edge_index, edge_attr, batch.crystal, batch.num_crystals


class PeerLoader:
    """Batches by PyTorch Geometric's `DataLoader`, in this process, shuffled anew each time."""

    def __init__(self, crystals: Sequence[GraphBatch], ours: MTCGCNN, batch_size: int) -> None:
        """Of batches of one crystal each."""
        from torch_geometric.data import Data
        from torch_geometric.loader import DataLoader

        data = []
        for crystal in crystals:
            numbers, edge_index, edge_attr, _, _ = peer_batch(crystal, ours)
            data.append(
                Data(
                    numbers=numbers,
                    edge_index=edge_index,
                    edge_attr=edge_attr,
                    y=crystal.target,
                    num_nodes=len(numbers),
                )
            )
        self._loader: Any = DataLoader(data, batch_size=batch_size, shuffle=True)

    def __iter__(self) -> Iterator[tuple[PeerBatch, Tensor]]:
        """Batches and their targets."""
        for data in self._loader:
            yield (data.numbers, data.edge_index, data.edge_attr, data.batch, data.num_graphs), data.y
