"""Scaler, metrics and loss: against tables computed by hand."""

import math
from typing import Any, Literal

import numpy as np
import pytest
import torch

from model.metrics import score, task_metrics
from model.scaler import TargetScaler
from model.step import multitask_loss

NAN = math.nan


def test_scaler_knows_mean_and_deviations_of_the_known_values() -> None:
    targets = np.array([[1.0, 5.0], [3.0, NAN], [NAN, 5.0], [5.0, 8.0]])
    scaler = TargetScaler.fit(targets, ["a", "b"])
    torch.testing.assert_close(scaler.mean, torch.tensor([3.0, 6.0]))
    torch.testing.assert_close(scaler.std, torch.tensor([math.sqrt(8 / 3), math.sqrt(2.0)]))
    torch.testing.assert_close(scaler.mad, torch.tensor([4 / 3, 4 / 3]))


def test_scaling_and_back_is_the_identity() -> None:
    scaler = TargetScaler.fit(np.array([[1.0, -400.0], [3.0, 250.0], [7.0, 0.0]]), ["a", "b"])
    values = torch.tensor([[2.0, 10.0], [-4.0, 900.0]])
    torch.testing.assert_close(scaler.unscale(scaler.scale(values)), values)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ([2.0, 2.0, 2.0], "3 values of gap that are all equal"),
        ([2.0, NAN, NAN], "1 values of gap"),
        ([NAN, NAN, NAN], "0 values of gap"),
        ([0.1, 0.1, 0.1], "all equal"),
    ],
)
def test_task_without_spread_is_refused_by_name(column: list[float], message: str) -> None:
    targets = np.array([[1.0, 2.0, 3.0], column], dtype=np.float32).T
    with pytest.raises(ValueError, match=message):
        TargetScaler.fit(targets, ["energy", "gap"])


def test_metrics_are_those_of_a_table_by_hand() -> None:
    target = np.array([[1.0, NAN], [2.0, 10.0], [3.0, NAN], [6.0, 14.0]])
    prediction = np.array([[1.0, 99.0], [4.0, 9.0], [2.0, NAN], [6.0, 17.0]])
    metrics = task_metrics(prediction, target, np.array([1.5, 2.0]), ["a", "b"])
    assert list(metrics["a"].as_dict().values()) == pytest.approx([0.75, math.sqrt(5 / 4), 1 - 5 / 14, 0.5, 4])
    assert list(metrics["b"].as_dict().values()) == pytest.approx([2.0, math.sqrt(5), 1 - 5 / 4, 1.0, 2])
    assert score(metrics) == 0.75


def test_task_without_known_target_has_no_errors() -> None:
    metrics = task_metrics(np.ones((2, 1)), np.full((2, 1), NAN), np.ones(1), ["a"])["a"]
    assert metrics.count == 0
    assert all(math.isnan(value) for value in (metrics.mae, metrics.rmse, metrics.r2, metrics.mae_over_mad))


def test_single_crystal_has_errors_but_no_r2() -> None:
    metrics = task_metrics(np.array([[3.0]]), np.array([[1.0]]), np.array([4.0]), ["a"])["a"]
    assert (metrics.mae, metrics.rmse, metrics.mae_over_mad, metrics.count) == (2.0, 2.0, 0.5, 1)
    assert math.isnan(metrics.r2)


@pytest.mark.parametrize("value", [NAN, math.inf, 3e38])
def test_diverged_predictions_give_a_bad_score_and_no_warning(value: float) -> None:
    prediction = np.array([[value], [1.0]], dtype=np.float32)
    metrics = task_metrics(prediction, np.array([[0.0], [1.0]]), np.ones(1), ["a"])
    assert not score(metrics) < 1e30


@pytest.mark.parametrize(
    ("kind", "weights", "expected"),
    [
        # errors: task a 1, 2 (third unknown); task b 3 (others unknown); task c none
        ("mse", [1.0, 1.0, 1.0], ((1 + 4) / 2 + 9 + 0) / 3),
        ("l1", [1.0, 1.0, 1.0], ((1 + 2) / 2 + 3 + 0) / 3),
        ("mse", [2.0, 0.5, 9.0], (2 * 2.5 + 0.5 * 9) / 3),
        ("l1", [2.0, 0.5, 9.0], (2 * 1.5 + 0.5 * 3) / 3),
    ],
)
def test_loss_is_that_of_a_table_by_hand(kind: Literal["mse", "l1"], weights: Any, expected: float) -> None:
    output = torch.tensor([[1.0, 5.0, 1.0], [2.0, 7.0, 1.0], [50.0, 3.0, 1.0]], requires_grad=True)
    target = torch.tensor([[2.0, NAN, NAN], [4.0, NAN, NAN], [NAN, 6.0, NAN]])
    loss = multitask_loss(output, target, ~target.isnan(), torch.tensor(weights), kind)
    assert loss.item() == pytest.approx(expected)
    loss.backward()  # type: ignore[no-untyped-call]
    assert output.grad is not None
    assert torch.isfinite(output.grad).all()
    assert (output.grad[target.isnan()] == 0).all()
