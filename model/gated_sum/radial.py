"""Radial functions: the Gaussians that spread the length of an edge over many inputs of the network."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from graphdb.shapes import Float

LARGEST_EXPONENT = 30.0
"""exp(-30) is 0 beside 1 in float32, and products of two are no denormal numbers, which halve the speed of CPUs."""


def expand_lengths(
    length: Float[Tensor, " edges"], centers: Float[Tensor, " rbf"], width: float
) -> Float[Tensor, "edges rbf"]:
    """Spread each edge length over a row of Gaussians: exp(-((length - center) / width)^2).

    Args:
        length: Å.
        centers: Å.
        width: Å, positive.

    Returns:
        Dimensionless weights, at most 1.

    Source:
        cgcnn ``data.py:195-196@f42ab23``.
    """
    return (((length[:, None] - centers) / width) ** 2).clamp_(max=LARGEST_EXPONENT).neg_().exp_()


@dataclass(frozen=True, slots=True)
class RadialBasis:
    """A length of each edge of a batch and the Gaussians it is spread over."""

    length: Float[Tensor, " edges"]
    """Å, or whatever the centers are in."""
    centers: Float[Tensor, " rbf"]
    """Evenly spaced, ascending."""
    spacing: float
    """From one center to the next: the width of all."""

    def expand(self) -> Float[Tensor, "edges rbf"]:
        """All Gaussians of each edge."""
        return expand_lengths(self.length, self.centers, self.spacing)


def expand_all(bases: Sequence[RadialBasis]) -> Float[Tensor, "edges rbf"]:
    """The Gaussians of all bases side by side."""
    expanded = [basis.expand() for basis in bases]
    return expanded[0] if len(expanded) == 1 else torch.cat(expanded, dim=1)
