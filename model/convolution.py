r"""The gated crystal graph convolution with its batch normalisations, forward and backward written out.

CGCNN multiplies the concatenation [receiver, sender, edge] of every edge with one weight matrix. Split into its three
parts, the atom parts are multiplied once per atom instead of once per edge, and everything between that product and the
sum over neighbors is one autograd function: it keeps three arrays per edge where autograd keeps ten, and its backward
pass sums gradients with the graph's transpose instead of scattering them. Neither changes the function computed.

Shapes: A nodes, E edges, F = atom_dim, R radial functions.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from graphdb.batch import GraphBatch

EPS = 1e-5
"""Added to variances, as `torch.nn.BatchNorm1d` does."""
MOMENTUM = 0.1
"""Share of a batch in the running statistics, as in `torch.nn.BatchNorm1d`."""


@dataclass(frozen=True, slots=True)
class Topology:
    """What every convolution of a batch needs of its graph; computed once a batch."""

    receiver: Tensor
    """(E,) int64, ascending."""
    receiver_ptr: Tensor
    """(A + 1,) edges by receiver."""
    edge: Tensor
    """(E,) 0 to E - 1."""
    edge_by_sender: Tensor
    """(E,) edges in order of sender."""
    sender_ptr: Tensor
    """(A + 1,) positions in `edge_by_sender`."""
    endpoints: Tensor
    """(E, 2) rows of the (2A, 2F) table of products: ``2 * receiver`` and ``2 * sender + 1``."""
    weight: Tensor
    """(E,) float32, how often the edge counts in its receiver's sum."""
    edge_share: Tensor
    """(E,) float32, share of the edge among all bonds of the unmerged crystals; adds up to 1."""
    num_bonds: Tensor
    """() float32, bonds of the unmerged crystals."""
    node_share: Tensor
    """(A,) float32, share of the node among all atoms; adds up to 1."""
    num_atoms: Tensor
    """() float32."""

    @classmethod
    def of(cls, batch: GraphBatch) -> "Topology":
        """The topology of a batch."""
        count = batch.neighbor_ptr.diff()
        num_edges = len(batch.neighbor_index)
        node = torch.arange(len(count), device=count.device)
        receiver = torch.repeat_interleave(node, count, output_size=num_edges)
        sent = torch.bincount(batch.neighbor_index, minlength=len(count))
        bonds = batch.neighbor_weight * batch.multiplicity[receiver]
        num_bonds, num_atoms = bonds.sum(), batch.multiplicity.sum()
        return cls(
            receiver=receiver,
            receiver_ptr=batch.neighbor_ptr,
            edge=torch.arange(num_edges, device=count.device),
            edge_by_sender=batch.edge_by_sender,
            sender_ptr=functional.pad(sent.cumsum(0), (1, 0)),
            endpoints=torch.stack([2 * receiver, 2 * batch.neighbor_index + 1], dim=1),
            weight=batch.neighbor_weight,
            edge_share=bonds / num_bonds,
            num_bonds=num_bonds,
            node_share=batch.multiplicity / num_atoms,
            num_atoms=num_atoms,
        )


def sum_rows(values: Tensor, index: Tensor, ptr: Tensor, weight: Tensor | None = None) -> Tensor:
    """Row n of the result is the (weighted) sum of ``values[index[ptr[n]:ptr[n + 1]]]``.

    Args:
        values: (M, F).
        index: (K,) rows of `values`.
        ptr: (N + 1,) ascending, from 0 to K.
        weight: (K,) or None for ones.

    Returns:
        (N, F).
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
        products: Tensor,
        rbf: Tensor,
        edge_weight: Tensor,
        gamma: Tensor,
        beta: Tensor,
        graph: Topology,
        fixed: tuple[Tensor, Tensor] | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The sum (A, F), and the mean and variance (2F,) that were used.

        Args:
            ctx: for the backward pass.
            products: (A, 4F) receiver and sender parts.
            rbf: (E, R).
            edge_weight: (R, 2F).
            gamma: (2F,) scale of the normalisation.
            beta: (2F,) its shift.
            graph: of the batch.
            fixed: mean and variance (2F,), or None for the batch's own.
        """
        width = edge_weight.shape[1]
        ends = torch.arange(0, 2 * len(rbf) + 1, 2, device=rbf.device)
        z = sum_rows(products.view(-1, width), graph.endpoints.view(-1), ends)
        z.addmm_(rbf, edge_weight)
        mean = graph.edge_share @ z if fixed is None else fixed[0]
        z -= mean  # centred first: the variance as a difference of moments loses digits
        variance = graph.edge_share @ (z * z) if fixed is None else fixed[1]
        inverse_std = (variance + EPS).rsqrt()
        y = torch.addcmul(beta, z, gamma * inverse_std)
        gate = y[:, : width // 2].sigmoid()
        core = functional.softplus(y[:, width // 2 :])
        total = sum_rows(gate * core, graph.edge, graph.receiver_ptr, graph.weight)
        ctx.save_for_backward(z, gate, core, rbf, gamma, inverse_std)
        ctx.graph, ctx.batch_statistics = graph, fixed is None
        ctx.mark_non_differentiable(mean, variance)
        return total, mean, variance

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor | None, ...]:
        """Gradients of products, edge_weight, gamma and beta."""
        z, gate, core, rbf, gamma, inverse_std = ctx.saved_tensors
        graph: Topology = ctx.graph
        half = gate.shape[1]
        scale = gamma * inverse_std
        message = grad_outputs[0].index_select(0, graph.receiver)
        message *= graph.weight[:, None]
        message *= gate
        grad = torch.empty_like(z)  # of y
        torch.mul(message, torch.expm1(-core).neg_(), out=grad[:, half:])  # softplus' = 1 - exp(-softplus)
        message *= core
        torch.mul(message, 1 - gate, out=grad[:, :half])
        grad_beta = grad.sum(0)
        grad_gamma = (grad * z).sum(0) * inverse_std
        grad *= scale  # of z, but for what the batch's mean and variance hold of it
        if ctx.batch_statistics:
            z = torch.addcmul(scale * grad_beta, z, scale * inverse_std * grad_gamma)
            grad -= z.mul_(graph.edge_share[:, None])
        received = sum_rows(grad, graph.edge, graph.receiver_ptr)
        sent = sum_rows(grad, graph.edge_by_sender, graph.sender_ptr)
        return torch.cat([received, sent], dim=1), None, rbf.t() @ grad, grad_gamma, grad_beta, None, None


class WeightedBatchNorm(nn.Module):
    """Batch normalisation in which row i of the input stands for several equal rows.

    With all shares equal it is `torch.nn.BatchNorm1d`. Its statistics over merged atoms are those over all atoms.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, width: int) -> None:
        """Scale 1 and shift 0 for `width` columns."""
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    @torch.no_grad()
    def update(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        """Let a batch of `count` unmerged rows into the running statistics."""
        self.running_mean.lerp_(mean, MOMENTUM)
        self.running_var.lerp_(variance * (count / (count - 1).clamp(min=1)), MOMENTUM)

    def forward(self, x: Tensor, share: Tensor, count: Tensor) -> Tensor:
        """Normalise (rows, width) with the rows' shares (rows,), which add up to 1, of `count` unmerged rows."""
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

    def forward(self, atoms: Tensor, rbf: Tensor, graph: Topology) -> Tensor:
        """(A, F) atom vectors and (E, R) radial functions -> (A, F)."""
        norm = self.edge_norm
        fixed = None if self.training else (norm.running_mean, norm.running_var)
        total, mean, variance = _GatedSum.apply(  # type: ignore[no-untyped-call]
            atoms @ self.node_weight, rbf, self.edge_weight, norm.weight, norm.bias, graph, fixed
        )
        if self.training:
            norm.update(mean, variance, graph.num_bonds)
        return functional.softplus(atoms + self.node_norm(total, graph.node_share, graph.num_atoms))
