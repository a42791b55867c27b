"""CGCNN as others write it, for `benchmarks.gpu`: on one edge for each bond of each atom, nothing merged."""

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from graphdb.loader import InMemoryGraphs
from model.gated_sum.radial import expand_lengths
from model.network import MTCGCNN, Head

NEIGHBORS = 12


class PlainConvolution(nn.Module):
    """The arithmetic of ``CGConv(dim, aggr="add", batch_norm=True)`` in plain PyTorch: for where PyG is missing."""

    def __init__(self, width: int, num_rbf: int) -> None:
        """Two matrices for the concatenation of receiver, sender and edge."""
        super().__init__()
        self.gate = nn.Linear(2 * width + num_rbf, width)
        self.core = nn.Linear(2 * width + num_rbf, width)
        self.norm = nn.BatchNorm1d(width)

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor) -> Tensor:
        """Atom vectors (A, F) after messages from ``edge_index[0]`` to ``edge_index[1]``."""
        sender, receiver = edge_index
        z = torch.cat([x.index_select(0, receiver), x.index_select(0, sender), edge_attr], dim=1)
        message = self.gate(z).sigmoid() * functional.softplus(self.core(z))
        return x + self.norm(torch.zeros_like(x).index_add(0, receiver, message))  # type: ignore[no-any-return]


class Peer(nn.Module):
    """A network with the sizes, element table, pooling and heads of ours, and the peer's convolutions."""

    def __init__(self, ours: MTCGCNN) -> None:
        """Weights of its own. `name` tells whose convolution it is."""
        super().__init__()
        sizes = ours.architecture
        make: Any
        try:
            from torch_geometric.nn import CGConv

            self.name = "CGConv of PyTorch Geometric"
            make = lambda: CGConv(channels=sizes.atom_dim, dim=sizes.num_rbf, batch_norm=True)  # noqa: E731
        except ImportError:
            self.name = "plain PyTorch with the arithmetic of CGConv (PyTorch Geometric is not there)"
            make = lambda: PlainConvolution(sizes.atom_dim, sizes.num_rbf)  # noqa: E731
        self.register_buffer("elements", ours.elements.clone())
        self.embedding = nn.Linear(ours.elements.shape[1], sizes.atom_dim)
        self.convs = nn.ModuleList(make() for _ in range(sizes.num_convs))
        self.heads = nn.ModuleList(
            Head(sizes.atom_dim, sizes.head_dim, sizes.num_head_layers) for _ in range(len(ours.tasks))
        )

    def forward(self, numbers: Tensor, edge_index: Tensor, edge_attr: Tensor, crystal: Tensor, num: int) -> Tensor:
        """Scaled predictions (B, T)."""
        x = self.embedding(self.get_buffer("elements")).index_select(0, numbers)
        for conv in self.convs:
            x = conv(x, edge_index, edge_attr)
        count = torch.zeros(num, device=x.device).index_add(0, crystal, torch.ones_like(crystal, dtype=x.dtype))
        pooled = torch.zeros(num, x.shape[1], device=x.device).index_add(0, crystal, x) / count[:, None]
        return torch.cat([head(pooled) for head in self.heads], dim=1)


def peer_batches(
    graphs: InMemoryGraphs, rows: list[np.ndarray[Any, Any]], ours: MTCGCNN, device: torch.device
) -> Iterator[tuple[Any, ...]]:
    """Batches of the sizes that these crystals have unmerged, on the device; who neighbors whom is drawn at random."""
    rng = np.random.default_rng(0)
    spacing = ours.architecture.rbf_cutoff / (ours.architecture.num_rbf - 1)
    for chosen in rows:
        atoms = graphs.flat.num_atoms[chosen].astype(np.int64)
        crystal = np.repeat(np.arange(len(chosen)), atoms)
        first = np.repeat(np.repeat(np.cumsum(atoms) - atoms, atoms), NEIGHBORS)
        sender = first + (rng.random(len(first)) * np.repeat(np.repeat(atoms, atoms), NEIGHBORS)).astype(np.int64)
        receiver = np.repeat(np.arange(len(crystal)), NEIGHBORS)
        length = torch.from_numpy(rng.uniform(2.0, 4.0, len(first)).astype(np.float32)).to(device)
        yield (
            torch.from_numpy(rng.integers(1, 90, len(crystal))).to(device),
            torch.from_numpy(np.stack([sender, receiver])).to(device),
            expand_lengths(length, ours.centers.to(device), spacing),
            torch.from_numpy(crystal).to(device),
            len(chosen),
        )


def crystals_per_second(peer: Peer, batches: list[tuple[Any, ...]], seconds: float, synchronize: Any) -> float:
    """Training steps on batches that are ready on the device: what a loader costs is not in it."""
    optimizer = torch.optim.Adam(peer.parameters(), lr=1e-3, fused=True)
    peer.train()
    target = [torch.zeros(batch[4], len(peer.heads), device=batch[0].device) for batch in batches]

    def epoch() -> int:
        for batch, wanted in zip(batches, target, strict=True):
            optimizer.zero_grad(set_to_none=True)
            functional.mse_loss(peer(*batch), wanted).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        return sum(batch[4] for batch in batches)

    epoch()
    synchronize()
    start, done = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        done += epoch()
        synchronize()
    return done / (time.perf_counter() - start)
