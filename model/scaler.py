"""Targets to mean 0 and standard deviation 1, and back: kept in the model, so that it speaks physical units."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from graphdb.shapes import Float

OFTEN = 0.05
"""Share of zeros from which a target that is never negative counts as censored."""


class TargetScaler(nn.Module):
    """Per-task mean, standard deviation and mean absolute deviation of the training split."""

    mean: Float[Tensor, " tasks"]
    std: Float[Tensor, " tasks"]
    mad: Float[Tensor, " tasks"]
    floor: Float[Tensor, " tasks"]
    """Physical units: a prediction below it becomes it. -inf but for censored tasks, where it is 0."""

    def __init__(self, num_tasks: int) -> None:
        """The identity: mean 0, deviations 1."""
        super().__init__()
        self.register_buffer("mean", torch.zeros(num_tasks))
        self.register_buffer("std", torch.ones(num_tasks))
        self.register_buffer("mad", torch.ones(num_tasks))
        self.register_buffer("floor", torch.full((num_tasks,), -torch.inf))

    @classmethod
    def fit(
        cls, targets: Float[NDArray[Any], "crystals tasks"], names: Sequence[str], *, censored: bool = False
    ) -> Self:
        """The scaler of a training split.

        Args:
            targets: physical units, NaN where unknown.
            names: of the tasks, for the message.
            censored: whether a task that is never negative and often 0 shall be taken for "0 or less" there.

        Raises:
            ValueError: for a task with fewer than two known values or without spread.
        """
        scaler = cls(len(names))
        for task, name in enumerate(names):
            known = targets[:, task][~np.isnan(targets[:, task])].astype(np.float64)
            if len(known) < 2 or known.std() == 0:
                raise ValueError(
                    f"a task needs at least two different known values in the training split, "
                    f"got {len(known)} values of {name}" + (" that are all equal" if len(known) > 1 else "")
                )
            scaler.mean[task] = known.mean()
            scaler.std[task] = known.std()
            scaler.mad[task] = np.abs(known - known.mean()).mean()
            if censored and known.min() == 0 and (known == 0).mean() >= OFTEN:
                scaler.floor[task] = 0.0
        return scaler

    @property
    def scaled_floor(self) -> Float[Tensor, " tasks"]:
        """`floor` in the scale of what is trained."""
        return (self.floor - self.mean) / self.std

    def scale(self, target: Float[Tensor, "crystals tasks"]) -> Float[Tensor, "crystals tasks"]:
        """Physical units -> scaled."""
        return (target - self.mean) / self.std

    def unscale(self, output: Float[Tensor, "crystals tasks"]) -> Float[Tensor, "crystals tasks"]:
        """Scaled -> physical units."""
        return torch.maximum(output * self.std + self.mean, self.floor)
