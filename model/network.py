"""MT-CGCNN: convolutions over the crystal graph, a mean over atoms, one head per property."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from graphdb.batch import GraphBatch, Task
from graphdb.records import read_record
from graphdb.shapes import Float
from model.convolution import GatedConvolution, Nodes
from model.elements import element_features
from model.gated_sum.choice import prepare
from model.gated_sum.radial import RadialBasis
from model.scaler import TargetScaler


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """Sizes of the network; names of the papers in brackets."""

    num_convs: int = 3
    """Convolutions."""
    atom_dim: int = 64
    """Length of the atom vectors."""
    head_dim: int = 64
    """Length of the hidden vectors of each head."""
    num_head_layers: int = 1
    """Hidden layers of each head."""
    num_rbf: int = 41
    """Gaussians that spread a distance; their width is their spacing."""
    rbf_cutoff: float = 8.0
    """Å, centre of the last Gaussian; the first is at 0."""

    def __post_init__(self) -> None:
        limits = {"num_convs": (0, 20), "atom_dim": (1, 1024), "head_dim": (1, 4096), "num_head_layers": (1, 20)}
        for name, (low, high) in {**limits, "num_rbf": (2, 1024)}.items():
            value = getattr(self, name)
            if not isinstance(value, int) or not low <= value <= high:
                raise ValueError(f"{name} must be an integer in {low} to {high}, got {value!r}")
        if not 0.5 <= self.rbf_cutoff <= 100:
            raise ValueError(f"rbf_cutoff must be in 0.5 to 100 Å, got {self.rbf_cutoff}")

    def as_dict(self) -> dict[str, Any]:
        """The sizes as JSON-able values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The architecture that `as_dict` wrote.

        Raises:
            ValueError: for an unknown key or a value out of range.
        """
        return read_record(cls, values, "the architecture")


class Head(nn.Module):
    """One property from the shared crystal vector (Eq. 5)."""

    def __init__(self, atom_dim: int, head_dim: int, num_layers: int) -> None:
        """`num_layers` hidden layers of `head_dim`, then one number."""
        super().__init__()
        widths = [atom_dim, *[head_dim] * num_layers]
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(widths))
        self.out = nn.Linear(head_dim, 1)

    def forward(self, crystal: Float[Tensor, "crystals dim"]) -> Float[Tensor, "crystals 1"]:
        """The scaled property."""
        x = functional.softplus(crystal)
        for layer in self.hidden:
            x = functional.softplus(layer(x))
        return self.out(x)  # type: ignore[no-any-return]


class MTCGCNN(nn.Module):
    """The network of Sanyal et al. 2018: Eq. 2 (convolution), 3 (pooling), 5 (heads). One task makes it CGCNN."""

    elements: Float[Tensor, "101 features"]
    centers: Float[Tensor, " rbf"]

    def __init__(
        self, architecture: Architecture, tasks: Sequence[Task], elements: Float[Tensor, "101 features"] | None = None
    ) -> None:
        """Random weights from torch's global generator.

        Args:
            architecture: sizes.
            tasks: what the heads predict, in order.
            elements: initial vector of each element by atomic number; the table that ships when None. It is
                part of the model: a model is never used with another table than its own.
        """
        super().__init__()
        self.compiled = True
        """Whether compiled loops may serve on CPUs. They take half a second to load: too long for a few crystals."""
        self.architecture = architecture
        self.tasks = tuple(tasks)
        self.register_buffer("elements", element_features() if elements is None else elements.clone())
        centers = torch.linspace(0.0, architecture.rbf_cutoff, architecture.num_rbf)
        self.register_buffer("centers", centers, persistent=False)
        self.embedding = nn.Linear(self.elements.shape[1], architecture.atom_dim)
        self.convs = nn.ModuleList(
            GatedConvolution(architecture.atom_dim, architecture.num_rbf) for _ in range(architecture.num_convs)
        )
        self.heads = nn.ModuleList(
            Head(architecture.atom_dim, architecture.head_dim, architecture.num_head_layers) for _ in self.tasks
        )
        self.scaler = TargetScaler(len(self.tasks))

    @property
    def num_parameters(self) -> int:
        """Trainable numbers."""
        return sum(parameter.numel() for parameter in self.parameters())

    def crystal_vectors(self, batch: GraphBatch) -> Float[Tensor, "crystals dim"]:
        """The shared representation of each crystal (Eq. 3): the mean of its atoms' vectors."""
        spacing = self.architecture.rbf_cutoff / (self.architecture.num_rbf - 1)
        nodes = Nodes.of(batch)
        edges = prepare(batch, [RadialBasis(batch.neighbor_distance, self.centers, spacing)], compiled=self.compiled)
        atoms: Tensor = self.embedding(self.elements).index_select(0, batch.atomic_numbers)
        for conv in self.convs:
            atoms = conv(atoms, nodes, edges)
        summed: Tensor = atoms.new_zeros(batch.num_crystals, atoms.shape[1])
        num_atoms = summed[:, 0].index_add(0, batch.crystal, batch.multiplicity)
        summed = summed.index_add(0, batch.crystal, atoms * batch.multiplicity[:, None])
        return summed / num_atoms.clamp(min=1)[:, None]  # a crystal without atoms only fills a batch up

    def forward(self, batch: GraphBatch) -> Float[Tensor, "crystals tasks"]:
        """Scaled predictions; `predict` gives physical units."""
        crystal = self.crystal_vectors(batch)
        return torch.cat([head(crystal) for head in self.heads], dim=1)

    @torch.no_grad()
    def predict(self, batch: GraphBatch) -> Float[Tensor, "crystals tasks"]:
        """Predictions in the units of the tasks. The model must be in evaluation mode."""
        return self.scaler.unscale(self.forward(batch))
