"""The gated sum by the compiled loops of `model.gated_sum.loops`: float32, on CPUs."""

import itertools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from graphdb.batch import GraphBatch
from graphdb.shapes import Float
from model.batch_norm import EPS
from model.gated_sum import loops
from model.gated_sum.radial import RadialBasis


class CompiledEdges:
    """The edges of a batch as NumPy arrays, with the few Gaussians that count for each."""

    def __init__(self, batch: GraphBatch, bases: Sequence[RadialBasis]) -> None:
        """See `model.gated_sum.choice.prepare`."""
        bonds = batch.neighbor_weight * batch.multiplicity[batch.receiver]
        self.num_bonds = bonds.sum()
        self._num_rbf = [len(basis.centers) for basis in bases]
        num_edges, num_nodes = len(bonds), len(batch.multiplicity)
        band = np.empty((num_edges, len(bases), loops.BAND), np.float32)
        first = np.empty((num_edges, len(bases)), np.int32)
        row = 0
        for i, basis in enumerate(bases):
            centers = basis.centers.numpy()
            missing = max(loops.BAND - len(centers), 0)  # their weights are 0
            centers = np.append(centers, centers[-1] + basis.spacing * np.arange(1, missing + 1, dtype=np.float32))
            width = np.float32(basis.spacing)
            loops.expand(basis.length.numpy(), centers, width, np.int32(row), band[:, i], first[:, i])
            row += len(centers)
        ptr, sender = batch.neighbor_ptr.numpy(), batch.neighbor_index.numpy()
        self.graph = (ptr, sender, band, first)
        self.count = batch.neighbor_weight.numpy()
        self.share = (bonds / self.num_bonds).numpy()
        received, sent, spread = np.zeros(num_nodes, np.float32), np.zeros(num_nodes, np.float32), np.zeros(row)
        loops.shares(ptr, sender, band, first, self.share, received, sent, spread)
        self._node_share = torch.from_numpy(np.stack([received, sent]))
        self._rbf_share = torch.from_numpy(spread.astype(np.float32))
        self.pieces = _pieces(batch, torch.get_num_threads())

    def gated_sum(
        self,
        products: Float[Tensor, "atoms products"],
        edge_weight: Float[Tensor, "rbf width"],
        gamma: Float[Tensor, " width"],
        beta: Float[Tensor, " width"],
        fixed: tuple[Float[Tensor, " width"], Float[Tensor, " width"]] | None,
    ) -> tuple[Float[Tensor, "atoms dim"], Float[Tensor, " width"], Float[Tensor, " width"]]:
        """See `model.gated_sum.choice.Edges`."""
        if min(self._num_rbf) < loops.BAND:
            parts = torch.split(edge_weight, self._num_rbf)
            edge_weight = torch.cat([functional.pad(w, (0, 0, 0, max(loops.BAND - len(w), 0))) for w in parts])
        result = _GatedSum.apply(products, edge_weight, gamma, beta, self, fixed)  # type: ignore[no-untyped-call]
        return result  # type: ignore[no-any-return]

    def mean(self, products: Float[Tensor, "atoms products"], edge_weight: Tensor) -> Float[Tensor, " width"]:
        """Of z over all bonds."""
        width = edge_weight.shape[1]
        received, sent = self._node_share
        of_nodes = torch.mv(products[:, :width].t(), received) + torch.mv(products[:, width:].t(), sent)
        return of_nodes + torch.mv(edge_weight.t(), self._rbf_share)

    def each(self, loop: Callable[..., None], *arguments: Any, into: Sequence[NDArray[Any]] = ()) -> None:
        """Run a loop over all pieces, on as many threads.

        Args:
            loop: of `loops`.
            arguments: behind the piece's bounds.
            into: arrays that all pieces add to, the last arguments; each piece gets zeros of its own.
        """
        if len(self.pieces) == 1:
            loop(*self.pieces[0], *arguments, *into)
            return
        own = [[np.zeros_like(array) for array in into] for _ in self.pieces]
        jobs = [
            _threads(len(self.pieces), os.getpid()).submit(loop, *piece, *arguments, *arrays)
            for piece, arrays in zip(self.pieces[1:], own[1:], strict=True)
        ]
        loop(*self.pieces[0], *arguments, *own[0])
        for job in jobs:
            job.result()
        for array, parts in zip(into, zip(*own, strict=True), strict=True):
            for part in parts:
                array += part


class _GatedSum(torch.autograd.Function):
    """Gradients by hand: see `model.gated_sum`."""

    @staticmethod
    def forward(
        ctx: Any,
        products: Tensor,
        edge_weight: Tensor,
        gamma: Tensor,
        beta: Tensor,
        edges: CompiledEdges,
        fixed: tuple[Tensor, Tensor] | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As `CompiledEdges.gated_sum`."""
        num_nodes, width = len(products), edge_weight.shape[1]
        products, edge_weight = products.contiguous(), edge_weight.contiguous()
        inputs = (*edges.graph, products.view(num_nodes, 2, width).numpy(), edge_weight.numpy())
        if fixed is None:
            mean = edges.mean(products, edge_weight)
            sums = np.zeros(width)
            edges.each(loops.moments, *inputs, mean.numpy(), edges.share, into=[sums])
            variance = torch.from_numpy(sums).float()
        else:
            mean, variance = fixed
        inverse_std = (variance + EPS).rsqrt()
        scale = gamma * inverse_std
        total = torch.empty(num_nodes, width // 2)
        slopes = torch.empty(num_nodes, 4, width // 2)
        normalised = (mean.numpy(), edges.count, scale.numpy(), beta.numpy())
        edges.each(loops.forward, *inputs, *normalised, total.numpy(), slopes.numpy())
        ctx.save_for_backward(products, edge_weight, scale, beta, mean, inverse_std, slopes)
        ctx.edges, ctx.batch_statistics = edges, fixed is None
        ctx.mark_non_differentiable(mean, variance)
        return total, mean, variance

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor | None, ...]:
        """Gradients of products, edge_weight, gamma and beta."""
        products, edge_weight, scale, beta, mean, inverse_std, slopes = ctx.saved_tensors
        edges: CompiledEdges = ctx.edges
        num_nodes, width = len(products), edge_weight.shape[1]
        grad = grad_outputs[0].contiguous()
        sums = np.zeros((4, width // 2))
        edges.each(loops.weighted_sums, grad.numpy(), slopes.numpy(), into=[sums])
        grad_beta, grad_gamma = torch.from_numpy(sums).float().view(2, width)
        grad_gamma = grad_gamma * inverse_std
        has_own_statistics = float(ctx.batch_statistics)
        constant = scale * grad_beta * has_own_statistics
        linear = scale * inverse_std * grad_gamma * has_own_statistics
        grad_products = torch.zeros(num_nodes, 2, width)
        grad_edge_weight = np.zeros((len(edge_weight), width))
        edges.each(
            loops.backward,
            *edges.graph,
            *(tensor.numpy() for tensor in (products.view(num_nodes, 2, width), edge_weight, mean)),
            edges.count,
            *(tensor.numpy() for tensor in (scale, beta)),
            edges.share,
            *(tensor.numpy() for tensor in (grad, constant, linear, grad_products)),
            into=[grad_edge_weight],
        )
        return (
            grad_products.view(num_nodes, -1),
            torch.from_numpy(grad_edge_weight).float(),
            grad_gamma,
            grad_beta,
            None,
            None,
        )


def _pieces(batch: GraphBatch, num_threads: int) -> list[tuple[int, int]]:
    """Nodes of consecutive whole crystals, with about as many edges in each piece as in the others."""
    atom_ptr = batch.atom_ptr.numpy()
    edge_ptr = batch.neighbor_ptr.numpy()[atom_ptr]
    wanted = edge_ptr[-1] * np.arange(1, num_threads) / num_threads
    bounds = np.unique([0, *atom_ptr[np.searchsorted(edge_ptr, wanted)], atom_ptr[-1]]).tolist()
    return list(itertools.pairwise(bounds))


@cache
def _threads(num_threads: int, process: int) -> ThreadPoolExecutor:
    """Threads beside this one, of this process: one that was forked has none of its parent's."""
    return ThreadPoolExecutor(num_threads - 1, thread_name_prefix="gated sum")
