"""The gated sum with PyTorch's operations: on any device, in any precision, and the reference for the compiled loops.

One autograd function, which keeps three arrays per edge where autograd keeps ten, works on pieces of the batch that fit
into a CPU's cache, and sums gradients with the graph's transpose instead of scattering them.

A chunk has atoms (nodes) and edges of its own.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from graphdb.batch import GraphBatch
from graphdb.shapes import Float, Int
from model.batch_norm import EPS
from model.gated_sum.radial import RadialBasis, expand_all

CHUNK_NUMBERS = 2**17
"""Numbers per array of edges that a CPU works on at a time: they stay in its cache from one operation to the next."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Whole crystals of a batch, whose nodes send to each other only."""

    edges: slice
    """Its edges among those of the batch."""
    receiver: Int[Tensor, " edges"]
    """Nodes of the batch, ascending."""
    endpoints: Int[Tensor, " 2*edges"]
    """Rows of the batch's table of products, two per edge: ``2 * receiver`` and ``2 * sender + 1``."""
    endpoints_ptr: Int[Tensor, " edges+1"]
    """0, 2, 4, ..."""
    edge: Int[Tensor, " edges"]
    """0, 1, 2, ...: the edges in order of their receiver."""
    receiver_ptr: Int[Tensor, " atoms_and_end"]
    """Where each node's begin."""
    edge_by_sender: Int[Tensor, " edges"]
    """The edges in order of their sender."""
    sender_ptr: Int[Tensor, " atoms_and_end"]
    """Where each node's begin."""
    weight: Float[Tensor, " edges"]
    """How often the edge counts in its receiver's sum."""
    share: Float[Tensor, "edges 1"]
    """Share of the edge among all bonds of the batch's unmerged crystals."""


class TorchEdges:
    """The edges of a batch in chunks."""

    def __init__(self, batch: GraphBatch, bases: Sequence[RadialBasis]) -> None:
        """See `model.gated_sum.choice.prepare`."""
        self._batch = batch
        self._rbf = expand_all(bases)  # (edges, rbf)
        bonds = batch.neighbor_weight * batch.multiplicity[batch.receiver]
        self.num_bonds = bonds.sum()
        self._share = (bonds / self.num_bonds)[:, None]
        self._chunks: dict[int, tuple[Chunk, ...]] = {}

    def gated_sum(
        self,
        atoms: Float[Tensor, "atoms dim"],
        node_weight: Float[Tensor, "dim products"],
        edge_weight: Float[Tensor, "rbf width"],
        gamma: Float[Tensor, " width"],
        beta: Float[Tensor, " width"],
        fixed: tuple[Float[Tensor, " width"], Float[Tensor, " width"]] | None,
    ) -> tuple[Float[Tensor, "atoms dim"], Float[Tensor, " width"], Float[Tensor, " width"]]:
        """See `model.gated_sum.choice.Edges`."""
        products = atoms @ node_weight
        chunks = self.chunks(edge_weight.shape[1])
        result = _GatedSum.apply(products, self._rbf, edge_weight, gamma, beta, chunks, fixed)  # type: ignore[no-untyped-call]
        return result  # type: ignore[no-any-return]

    def softplus(self, x: Float[Tensor, "atoms dim"]) -> Float[Tensor, "atoms dim"]:
        """See `model.gated_sum.choice.Edges`."""
        return functional.softplus(x)

    def chunks(self, width: int) -> "tuple[Chunk, ...]":
        """The edges in chunks for arrays of this width."""
        if width not in self._chunks:
            self._chunks[width] = tuple(self._chunk(n, e) for n, e in _pieces(self._batch, CHUNK_NUMBERS // width))
        return self._chunks[width]

    def _chunk(self, nodes: slice, edges: slice) -> "Chunk":
        batch, device = self._batch, self._share.device
        receiver, ends = batch.receiver[edges], slice(nodes.start, nodes.stop + 1)
        num_edges = edges.stop - edges.start
        return Chunk(
            edges=edges,
            receiver=receiver,
            endpoints=torch.stack([2 * receiver, 2 * batch.neighbor_index[edges] + 1], dim=1).view(-1),
            endpoints_ptr=torch.arange(0, 2 * num_edges + 1, 2, device=device),
            edge=torch.arange(num_edges, device=device),
            receiver_ptr=batch.neighbor_ptr[ends] - edges.start,
            edge_by_sender=batch.edge_by_sender[edges] - edges.start,
            sender_ptr=batch.sender_ptr[ends] - edges.start,
            weight=batch.neighbor_weight[edges],
            share=self._share[edges],
        )


def _pieces(batch: GraphBatch, chunk_edges: int) -> list[tuple[slice, slice]]:
    """Nodes and edges of consecutive whole crystals, about `chunk_edges` at a time; of all at once on a GPU."""
    num_nodes, num_edges = len(batch.atomic_numbers), len(batch.neighbor_index)
    if batch.neighbor_index.device.type != "cpu":
        return [(slice(0, num_nodes), slice(0, num_edges))]
    bounds = [(0, 0)]
    for stop in zip(batch.atom_ptr.tolist(), batch.neighbor_ptr[batch.atom_ptr].tolist(), strict=True):
        if stop[1] - bounds[-1][1] >= chunk_edges or stop == (num_nodes, num_edges):
            bounds.append(stop)
    return [(slice(a[0], b[0]), slice(a[1], b[1])) for a, b in itertools.pairwise(bounds)]


def sum_rows(
    values: Float[Tensor, "rows dim"],
    index: Int[Tensor, " picked"],
    ptr: Int[Tensor, " sums_and_end"],
    weight: Float[Tensor, " picked"] | None = None,
) -> Float[Tensor, "sums dim"]:
    """Row n of the result is the (weighted) sum of ``values[index[ptr[n]:ptr[n + 1]]]``.

    Args:
        values: what is summed.
        index: rows of `values`.
        ptr: ascending, from 0 to the length of `index`.
        weight: None for ones.
    """
    if values.device.type == "mps":  # no embedding_bag there
        group = torch.repeat_interleave(torch.arange(len(ptr) - 1, device=ptr.device), ptr.diff())
        picked = values.index_select(0, index)
        picked = picked if weight is None else picked * weight[:, None]
        return values.new_zeros(len(ptr) - 1, values.shape[1]).index_add_(0, group, picked)
    return functional.embedding_bag(index, values, ptr, mode="sum", per_sample_weights=weight, include_last_offset=True)


class _GatedSum(torch.autograd.Function):
    """Products -> edges -> batch normalisation -> gate * core -> sum."""

    @staticmethod
    def forward(
        ctx: Any,
        products: Float[Tensor, "atoms products"],
        rbf: Float[Tensor, "edges rbf"],
        edge_weight: Float[Tensor, "rbf width"],
        gamma: Float[Tensor, " width"],
        beta: Float[Tensor, " width"],
        chunks: tuple[Chunk, ...],
        fixed: tuple[Float[Tensor, " width"], Float[Tensor, " width"]] | None,
    ) -> tuple[Float[Tensor, "atoms dim"], Float[Tensor, " width"], Float[Tensor, " width"]]:
        """The sum, and the mean and variance that were used.

        Args:
            ctx: for the backward pass.
            products: receiver and sender parts, gate and core in each: 4 dim columns.
            rbf: radial functions.
            edge_weight: of the radial functions, for gate and core: the width is 2 dim.
            gamma: scale of the normalisation.
            beta: its shift.
            chunks: of the batch's edges.
            fixed: mean and variance, or None for the batch's own.
        """
        width = edge_weight.shape[1]
        half = width // 2
        table = products.view(-1, width)  # (2 atoms, 2 dim): of each atom a row as receiver, a row as sender
        inputs = [  # (edges, 2 dim) each
            sum_rows(table, chunk.endpoints, chunk.endpoints_ptr).addmm_(rbf[chunk.edges], edge_weight)
            for chunk in chunks
        ]
        mean, variance = fixed if fixed is not None else _moments(inputs, chunks)
        inverse_std = (variance + EPS).rsqrt()
        scale = gamma * inverse_std
        edges, totals = [], []
        for chunk, z in zip(chunks, inputs, strict=True):
            z -= mean
            y = torch.addcmul(beta, z, scale)
            core = functional.softplus(y[:, half:].contiguous())  # (edges, dim)
            gate = y.sigmoid_()  # of both halves: the second is the derivative of the core
            totals.append(sum_rows(gate[:, :half] * core, chunk.edge, chunk.receiver_ptr, chunk.weight))  # (atoms, dim)
            edges += [z, gate, core]
        ctx.save_for_backward(rbf, gamma, inverse_std, *edges)
        ctx.chunks, ctx.batch_statistics = chunks, fixed is None
        ctx.mark_non_differentiable(mean, variance)
        return torch.cat(totals), mean, variance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor | None, ...]:
        """Gradients of products, edge_weight, gamma and beta."""
        rbf, gamma, inverse_std, *edges = ctx.saved_tensors
        chunks: tuple[Chunk, ...] = ctx.chunks
        half = len(gamma) // 2
        scale = gamma * inverse_std
        grads = []  # of y, the normalised input
        grad_beta, grad_gamma = torch.zeros_like(gamma), torch.zeros_like(gamma)
        for chunk, z, gate, core in zip(chunks, edges[::3], edges[1::3], edges[2::3], strict=True):
            message = grad_outputs[0].index_select(0, chunk.receiver)  # (edges, dim)
            message *= chunk.weight[:, None]
            message *= gate[:, :half]
            grad = torch.empty_like(gate)  # (edges, 2 dim)
            torch.mul(message, gate[:, half:], out=grad[:, half:])
            message *= core
            torch.addcmul(message, message, gate[:, :half], value=-1, out=grad[:, :half])
            grad_beta += grad.sum(0)
            grad_gamma += torch.mul(grad, z).sum(0)
            grads.append(grad)
        grad_gamma *= inverse_std
        received, sent = [], []
        grad_edge_weight = rbf.new_zeros(rbf.shape[1], 2 * half)
        shift, slope = scale * grad_beta, scale * inverse_std * grad_gamma
        for chunk, z, grad in zip(chunks, edges[::3], grads, strict=True):
            grad *= scale  # now of z, but for what the batch's mean and variance hold of it
            if ctx.batch_statistics:
                grad.addcmul_(torch.addcmul(shift, z, slope), chunk.share, value=-1)
            received.append(sum_rows(grad, chunk.edge, chunk.receiver_ptr))  # (atoms, 2 dim)
            sent.append(sum_rows(grad, chunk.edge_by_sender, chunk.sender_ptr))
            grad_edge_weight.addmm_(rbf[chunk.edges].t(), grad)
        grad_products = torch.cat([torch.cat(received), torch.cat(sent)], dim=1)  # (atoms, 4 dim)
        return grad_products, None, grad_edge_weight, grad_gamma, grad_beta, None, None


def _moments(
    inputs: list[Tensor], chunks: tuple[Chunk, ...]
) -> tuple[Float[Tensor, " width"], Float[Tensor, " width"]]:
    """Mean and variance over all bonds, put together from those of the chunks.

    Source:
        Chan, Golub and LeVeque 1983, Eq. 2.1: centred sums lose no digits, unlike a difference of raw moments.
    """
    shares, means, squares = [], [], []
    for chunk, z in zip(chunks, inputs, strict=True):
        share = chunk.share.sum()
        mean = (chunk.share.t() @ z) / share.clamp(min=1e-30)  # fillers alone have none
        centred = z - mean
        shares.append(share)
        means.append(mean)
        squares.append(chunk.share.t() @ centred.mul_(centred))
    share, means_of = torch.stack(shares)[:, None], torch.cat(means)
    mean = (share * means_of).sum(0)
    return mean, (torch.cat(squares) + share * (means_of - mean) ** 2).sum(0)
