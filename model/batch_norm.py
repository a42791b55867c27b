"""Batch normalisation over merged rows."""

import torch
from torch import Tensor, nn

from graphdb.shapes import Float

EPS = 1e-5
"""Added to variances, as `torch.nn.BatchNorm1d` does."""
MOMENTUM = 0.1
"""Share of a batch in the running statistics, as in `torch.nn.BatchNorm1d`."""


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

    @property
    def fixed(self) -> tuple[Float[Tensor, " width"], Float[Tensor, " width"]] | None:
        """Mean and variance in evaluation mode; None in training, where the batch has its own."""
        return None if self.training else (self.running_mean, self.running_var)

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


class Shift(nn.Module):
    """In the place of a batch normalisation: leaves its input as it is, but for a bias."""

    weight: Float[Tensor, " width"]
    running_mean: Float[Tensor, " width"]
    running_var: Float[Tensor, " width"]

    def __init__(self, width: int) -> None:
        """Bias 0 for `width` columns."""
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(width))
        self.register_buffer("weight", torch.ones(width), persistent=False)
        self.register_buffer("running_mean", torch.zeros(width), persistent=False)
        self.register_buffer("running_var", torch.full((width,), 1 - EPS), persistent=False)

    @property
    def fixed(self) -> tuple[Float[Tensor, " width"], Float[Tensor, " width"]]:
        """Mean and variance that change nothing."""
        return self.running_mean, self.running_var
