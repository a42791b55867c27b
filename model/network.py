"""MT-CGCNN: convolutions over the crystal graph, a mean over atoms, one head per property."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

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
from model.radii import covalent_radii
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
    num_ratio_rbf: int = 0
    """Gaussians that spread a distance over the sum of its atoms' radii (`model.radii`), at 0.6 to 3.4; 0: none."""
    pooling: Literal["mean", "mean_std"] = "mean"
    """What of its atoms makes a crystal's vector: their mean (Eq. 3), or mean and standard deviation side by side."""
    edge_norm: Literal["batch", "none"] = "batch"
    """Normalisation of what enters gate and core."""

    def __post_init__(self) -> None:
        limits = {"num_convs": (0, 20), "atom_dim": (1, 1024), "head_dim": (1, 4096), "num_head_layers": (1, 20)}
        for name, (low, high) in {**limits, "num_rbf": (2, 1024), "num_ratio_rbf": (0, 1024)}.items():
            value = getattr(self, name)
            if not isinstance(value, int) or not low <= value <= high:
                raise ValueError(f"{name} must be an integer in {low} to {high}, got {value!r}")
        if self.num_ratio_rbf == 1:
            raise ValueError("num_ratio_rbf must be 0 or at least 2, got 1")
        for name, choices in {"pooling": ("mean", "mean_std"), "edge_norm": ("batch", "none")}.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}, got {getattr(self, name)!r}")
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


_RATIOS = (0.6, 3.4)
"""Of lengths over sums of radii: centres of the first and the last Gaussian."""
_SMALLEST_VARIANCE = 1e-4
"""Added to that over a crystal's atoms: where all are alike, its root has no slope."""


class Head(nn.Module):
    """One property from the shared crystal vector (Eq. 5)."""

    def __init__(self, crystal_dim: int, head_dim: int, num_layers: int) -> None:
        """`num_layers` hidden layers of `head_dim`, then one number."""
        super().__init__()
        widths = [crystal_dim, *[head_dim] * num_layers]
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
    radii: Float[Tensor, " 101"]
    """Å; only with `Architecture.num_ratio_rbf`."""
    ratio_centers: Float[Tensor, " rbf"]

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
        if architecture.num_ratio_rbf:
            self.register_buffer("radii", covalent_radii(len(self.elements)))
            ratios = torch.linspace(*_RATIOS, architecture.num_ratio_rbf)
            self.register_buffer("ratio_centers", ratios, persistent=False)
        num_rbf = architecture.num_rbf + architecture.num_ratio_rbf
        self.convs = nn.ModuleList(
            GatedConvolution(architecture.atom_dim, num_rbf, normalised=architecture.edge_norm == "batch")
            for _ in range(architecture.num_convs)
        )
        crystal_dim = architecture.atom_dim * (2 if architecture.pooling == "mean_std" else 1)
        self.heads = nn.ModuleList(
            Head(crystal_dim, architecture.head_dim, architecture.num_head_layers) for _ in self.tasks
        )
        self.scaler = TargetScaler(len(self.tasks))

    @property
    def num_parameters(self) -> int:
        """Trainable numbers."""
        return sum(parameter.numel() for parameter in self.parameters())

    def crystal_vectors(self, batch: GraphBatch) -> Float[Tensor, "crystals dim"]:
        """The shared representation of each crystal (Eq. 3): the mean of its atoms' vectors."""
        nodes = Nodes.of(batch)
        edges = prepare(batch, self._bases(batch), compiled=self.compiled)
        atoms: Tensor = self.embedding(self.elements).index_select(0, batch.atomic_numbers)
        for conv in self.convs:
            atoms = conv(atoms, nodes, edges)
        mean = _mean(atoms, batch)
        if self.architecture.pooling == "mean":
            return mean
        variance = _mean((atoms - mean.index_select(0, batch.crystal)).square(), batch)
        return torch.cat([mean, (variance + _SMALLEST_VARIANCE).sqrt()], dim=1)

    def _bases(self, batch: GraphBatch) -> list[RadialBasis]:
        """What spreads the lengths of the edges."""
        sizes, length = self.architecture, batch.neighbor_distance
        bases = [RadialBasis(length, self.centers, sizes.rbf_cutoff / (sizes.num_rbf - 1))]
        if sizes.num_ratio_rbf:
            radii = self.radii.index_select(0, batch.atomic_numbers)
            usual = radii.index_select(0, batch.receiver) + radii.index_select(0, batch.neighbor_index)
            spacing = (_RATIOS[1] - _RATIOS[0]) / (sizes.num_ratio_rbf - 1)
            bases.append(RadialBasis(length / usual, self.ratio_centers, spacing))
        return bases

    def forward(self, batch: GraphBatch) -> Float[Tensor, "crystals tasks"]:
        """Scaled predictions; `predict` gives physical units."""
        crystal = self.crystal_vectors(batch)
        return torch.cat([head(crystal) for head in self.heads], dim=1)

    @torch.no_grad()
    def predict(self, batch: GraphBatch) -> Float[Tensor, "crystals tasks"]:
        """Predictions in the units of the tasks. The model must be in evaluation mode."""
        return self.scaler.unscale(self.forward(batch))


def _mean(atoms: Float[Tensor, "atoms dim"], batch: GraphBatch) -> Float[Tensor, "crystals dim"]:
    """Over the atoms of each crystal (Eq. 3)."""
    summed: Tensor = atoms.new_zeros(batch.num_crystals, atoms.shape[1])
    num_atoms = summed[:, 0].index_add(0, batch.crystal, batch.multiplicity)
    summed = summed.index_add(0, batch.crystal, atoms * batch.multiplicity[:, None])
    return summed / num_atoms.clamp(min=1)[:, None]  # a crystal without atoms only fills a batch up
