r"""The gated crystal graph convolution with its batch normalisations, forward and backward written out.

CGCNN multiplies the concatenation [receiver, sender, edge] of every edge with one weight matrix. Split into its three
parts, the atom parts are multiplied once per atom instead of once per edge, and everything between that product and the
sum over neighbors is one autograd function: it keeps three arrays per edge where autograd keeps ten, works on pieces of
the batch that fit into a CPU's cache, and its backward pass sums gradients with the graph's transpose instead of
scattering them. None of this changes the function computed.

Axes: atoms (nodes of the graph), edges, rbf (radial functions), dim (`Architecture.atom_dim`); a chunk has atoms and
edges of its own.
"""

import itertools
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from graphdb.batch import GraphBatch
from graphdb.shapes import Float, Int

EPS = 1e-5
"""Added to variances, as `torch.nn.BatchNorm1d` does."""
MOMENTUM = 0.1
"""Share of a batch in the running statistics, as in `torch.nn.BatchNorm1d`."""
CHUNK_EDGES = 1024
"""Edges that a CPU works on at a time: their arrays stay in its cache from one operation to the next."""


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


@dataclass(frozen=True, slots=True)
class Topology:
    """What every convolution of a batch needs of its graph; computed once a batch."""

    chunks: tuple[Chunk, ...]
    num_bonds: Float[Tensor, ""]
    """Of the unmerged crystals."""
    node_share: Float[Tensor, " atoms"]
    """Share of the node among all atoms; adds up to 1."""
    num_atoms: Float[Tensor, ""]
    """Of the unmerged crystals."""

    @classmethod
    def of(cls, batch: GraphBatch) -> "Topology":
        """The topology of a batch."""
        receiver, device = batch.receiver, batch.receiver.device
        endpoints = torch.stack([2 * receiver, 2 * batch.neighbor_index + 1], dim=1)
        edge = torch.arange(len(receiver), device=device)
        bonds = batch.neighbor_weight * batch.multiplicity[receiver]
        num_bonds, num_atoms = bonds.sum(), batch.multiplicity.sum()
        share = (bonds / num_bonds)[:, None]
        chunks = []
        for n, e in _pieces(batch):
            ends = slice(n.start, n.stop + 1)
            chunks.append(
                Chunk(
                    edges=e,
                    receiver=receiver[e],
                    endpoints=endpoints[e].view(-1),
                    endpoints_ptr=torch.arange(0, 2 * (e.stop - e.start) + 1, 2, device=device),
                    edge=edge[: e.stop - e.start],
                    receiver_ptr=batch.neighbor_ptr[ends] - e.start,
                    edge_by_sender=batch.edge_by_sender[e] - e.start,
                    sender_ptr=batch.sender_ptr[ends] - e.start,
                    weight=batch.neighbor_weight[e],
                    share=share[e],
                )
            )
        return cls(tuple(chunks), num_bonds, batch.multiplicity / num_atoms, num_atoms)


def _pieces(batch: GraphBatch) -> list[tuple[slice, slice]]:
    """Nodes and edges of consecutive whole crystals, about `CHUNK_EDGES` at a time; of all at once on a GPU."""
    num_nodes, num_edges = len(batch.atomic_numbers), len(batch.neighbor_index)
    if batch.neighbor_index.device.type != "cpu":
        return [(slice(0, num_nodes), slice(0, num_edges))]
    bounds = [(0, 0)]
    for stop in zip(batch.atom_ptr.tolist(), batch.neighbor_ptr[batch.atom_ptr].tolist(), strict=True):
        if stop[1] - bounds[-1][1] >= CHUNK_EDGES or stop[1] == num_edges > bounds[-1][1]:
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
    """Eq. 2's sum over neighbors: products -> edges -> batch normalisation -> gate * core -> sum."""

    @staticmethod
    def forward(
        ctx: Any,
        products: Float[Tensor, "atoms products"],
        rbf: Float[Tensor, "edges rbf"],
        edge_weight: Float[Tensor, "rbf width"],
        gamma: Float[Tensor, " width"],
        beta: Float[Tensor, " width"],
        graph: Topology,
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
            graph: of the batch.
            fixed: mean and variance, or None for the batch's own.
        """
        width = edge_weight.shape[1]
        half = width // 2
        table = products.view(-1, width)  # (2 atoms, 2 dim): of each atom a row as receiver, a row as sender
        inputs = [  # (edges, 2 dim) each
            sum_rows(table, chunk.endpoints, chunk.endpoints_ptr).addmm_(rbf[chunk.edges], edge_weight)
            for chunk in graph.chunks
        ]
        mean, variance = fixed if fixed is not None else _moments(inputs, graph.chunks)
        inverse_std = (variance + EPS).rsqrt()
        scale = gamma * inverse_std
        edges, totals = [], []
        for chunk, z in zip(graph.chunks, inputs, strict=True):
            z -= mean
            y = torch.addcmul(beta, z, scale)
            core = functional.softplus(y[:, half:])  # (edges, dim)
            gate = y.sigmoid_()  # of both halves: the second is the derivative of the core
            totals.append(sum_rows(gate[:, :half] * core, chunk.edge, chunk.receiver_ptr, chunk.weight))  # (atoms, dim)
            edges += [z, gate, core]
        ctx.save_for_backward(rbf, gamma, inverse_std, *edges)
        ctx.graph, ctx.batch_statistics = graph, fixed is None
        ctx.mark_non_differentiable(mean, variance)
        return torch.cat(totals), mean, variance

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor | None, ...]:
        """Gradients of products, edge_weight, gamma and beta."""
        rbf, gamma, inverse_std, *edges = ctx.saved_tensors
        graph: Topology = ctx.graph
        half = len(gamma) // 2
        scale = gamma * inverse_std
        grads = []  # of y, the normalised input
        grad_beta, grad_gamma = torch.zeros_like(gamma), torch.zeros_like(gamma)
        for chunk, z, gate, core in zip(graph.chunks, edges[::3], edges[1::3], edges[2::3], strict=True):
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
        for chunk, z, grad in zip(graph.chunks, edges[::3], grads, strict=True):
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
        mean = (chunk.share.t() @ z) / share
        centred = z - mean
        shares.append(share)
        means.append(mean)
        squares.append(chunk.share.t() @ centred.mul_(centred))
    share, means_of = torch.stack(shares)[:, None], torch.cat(means)
    mean = (share * means_of).sum(0)
    return mean, (torch.cat(squares) + share * (means_of - mean) ** 2).sum(0)


class WeightedBatchNorm(nn.Module):
    """Batch normalisation in which row i of the input stands for several equal rows.

    With all shares equal it is `torch.nn.BatchNorm1d`. Its statistics over merged atoms are those over all atoms.
    """

    running_mean: Float[Tensor, " width"]
    running_var: Float[Tensor, " width"]

    def __init__(self, width: int) -> None:
        """Scale 1 and shift 0 for `width` columns."""
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    @torch.no_grad()
    def update(
        self, mean: Float[Tensor, " width"], variance: Float[Tensor, " width"], count: Float[Tensor, ""]
    ) -> None:
        """Let a batch of `count` unmerged rows into the running statistics."""
        self.running_mean.lerp_(mean, MOMENTUM)
        self.running_var.lerp_(variance * (count / (count - 1).clamp(min=1)), MOMENTUM)

    def forward(
        self, x: Float[Tensor, "rows width"], share: Float[Tensor, " rows"], count: Float[Tensor, ""]
    ) -> Float[Tensor, "rows width"]:
        """Normalise with the rows' shares, which add up to 1, of `count` unmerged rows."""
        if not self.training:
            scale = self.weight * (self.running_var + EPS).rsqrt()
            return torch.addcmul(self.bias, x - self.running_mean, scale)
        mean = share @ x
        centred = x - mean
        variance = share @ (centred * centred)
        self.update(mean.detach(), variance.detach(), count)
        return torch.addcmul(self.bias, centred, self.weight * (variance + EPS).rsqrt())


class GatedConvolution(nn.Module):
    r"""One convolution: :math:`v_i' = g(v_i + BN(\sum_{j,k} \sigma(z W_f) \odot g(z W_s)))`, z normalised as well.

    The bias of the product is left out: the batch normalisation behind it takes it away again.

    Source:
        Sanyal et al. 2018, Eq. 2; batch normalisations and outer softplus: cgcnn ``model.py:60-80@f42ab23``.
    """

    def __init__(self, atom_dim: int, num_rbf: int) -> None:
        """Weights drawn as `torch.nn.Linear` of the concatenated input would."""
        super().__init__()
        self.atom_dim = atom_dim
        bound = (2 * atom_dim + num_rbf) ** -0.5
        self.node_weight = nn.Parameter(torch.empty(atom_dim, 4 * atom_dim).uniform_(-bound, bound))
        self.edge_weight = nn.Parameter(torch.empty(num_rbf, 2 * atom_dim).uniform_(-bound, bound))
        self.edge_norm = WeightedBatchNorm(2 * atom_dim)
        self.node_norm = WeightedBatchNorm(atom_dim)

    def forward(
        self, atoms: Float[Tensor, "atoms dim"], rbf: Float[Tensor, "edges rbf"], graph: Topology
    ) -> Float[Tensor, "atoms dim"]:
        """The atom vectors after the convolution."""
        norm = self.edge_norm
        fixed = None if self.training else (norm.running_mean, norm.running_var)
        total, mean, variance = _GatedSum.apply(  # type: ignore[no-untyped-call]
            atoms @ self.node_weight, rbf, self.edge_weight, norm.weight, norm.bias, graph, fixed
        )
        if self.training:
            norm.update(mean, variance, graph.num_bonds)
        return functional.softplus(atoms + self.node_norm(total, graph.node_share, graph.num_atoms))
