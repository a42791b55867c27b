"""How good predictions are, per task and in one number without a unit."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphdb.shapes import Float


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskMetrics:
    """Errors of one task over the crystals whose target is known."""

    mae: float
    """Mean absolute error, the target's unit."""
    rmse: float
    """Root mean squared error, the target's unit."""
    r2: float
    """Coefficient of determination; NaN without spread."""
    mae_over_mad: float
    """MAE over the mean absolute deviation of the target on the training split: 1 is as good as predicting its mean."""
    count: int
    """Crystals with a known target."""

    def as_dict(self) -> dict[str, Any]:
        """The fields as JSON-able values."""
        return asdict(self)


def task_metrics(
    prediction: Float[NDArray[Any], "crystals tasks"],
    target: Float[NDArray[Any], "crystals tasks"],
    mad: Float[NDArray[Any], " tasks"],
    names: Sequence[str],
) -> dict[str, TaskMetrics]:
    """Metrics of every task.

    Args:
        prediction: physical units.
        target: NaN where unknown.
        mad: mean absolute deviations on the training split.
        names: of the tasks.

    Returns:
        By task name; a task without a known target has count 0 and NaN errors.
    """
    result = {}
    for task, name in enumerate(names):
        known = ~np.isnan(target[:, task])
        truth = target[known, task].astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):  # a diverged model's errors are inf or NaN, and say so
            error = prediction[known, task].astype(np.float64) - truth
            count = len(error)
            mae = float(np.abs(error).mean()) if count else math.nan
            squared = float((error**2).mean()) if count else math.nan
        variance = float(truth.var()) if count else 0.0
        result[name] = TaskMetrics(
            mae=mae,
            rmse=math.sqrt(squared),
            r2=1 - squared / variance if variance > 0 else math.nan,
            mae_over_mad=mae / float(mad[task]),
            count=count,
        )
    return result


def score(metrics: Mapping[str, TaskMetrics]) -> float:
    """Mean over tasks of MAE over mean absolute deviation: the number that selection minimises."""
    return sum(m.mae_over_mad for m in metrics.values()) / len(metrics)
