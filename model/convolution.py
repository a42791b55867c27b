r"""The gated crystal graph convolution with its batch normalisations.

Axes: atoms (nodes of the graph), edges, rbf (radial functions), dim (`Architecture.atom_dim`).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from graphdb.batch import GraphBatch
from graphdb.shapes import Float
from model.batch_norm import Shift, WeightedBatchNorm
from model.gated_sum.choice import Edges


@dataclass(frozen=True, slots=True)
class Nodes:
    """What every convolution of a batch needs of its nodes; computed once a batch."""

    share: Float[Tensor, " atoms"]
    """Of the node among all atoms; adds up to 1."""
    num_atoms: Float[Tensor, ""]
    """Of the unmerged crystals."""

    @classmethod
    def of(cls, batch: GraphBatch) -> "Nodes":
        """Those of a batch."""
        num_atoms = batch.multiplicity.sum()
        return cls(batch.multiplicity / num_atoms, num_atoms)


class GatedConvolution(nn.Module):
    r"""One convolution: :math:`v_i' = g(v_i + BN(\sum_{j,k} \sigma(z W_f) \odot g(z W_s)))`, z normalised as well.

    The bias of the product is left out: the batch normalisation behind it takes it away again.

    Source:
        Sanyal et al. 2018, Eq. 2; batch normalisations and outer softplus: cgcnn ``model.py:60-80@f42ab23``.
    """

    def __init__(self, atom_dim: int, num_rbf: int, *, normalised: bool = True) -> None:
        """Weights drawn as `torch.nn.Linear` of the concatenated input would."""
        super().__init__()
        self.atom_dim = atom_dim
        bound = (2 * atom_dim + num_rbf) ** -0.5
        self.node_weight = nn.Parameter(torch.empty(atom_dim, 4 * atom_dim).uniform_(-bound, bound))
        self.edge_weight = nn.Parameter(torch.empty(num_rbf, 2 * atom_dim).uniform_(-bound, bound))
        self.edge_norm: WeightedBatchNorm | Shift = (WeightedBatchNorm if normalised else Shift)(2 * atom_dim)
        self.node_norm = WeightedBatchNorm(atom_dim)

    def forward(self, atoms: Float[Tensor, "atoms dim"], nodes: Nodes, edges: Edges) -> Float[Tensor, "atoms dim"]:
        """The atom vectors after the convolution."""
        norm = self.edge_norm
        fixed = norm.fixed
        total, mean, variance = edges.gated_sum(
            atoms, self.node_weight, self.edge_weight, norm.weight, norm.bias, fixed
        )
        if isinstance(norm, WeightedBatchNorm) and fixed is None:
            norm.update(mean, variance, edges.num_bonds)
        return edges.softplus(atoms + self.node_norm(total, nodes.share, nodes.num_atoms))
