"""A training step needs nothing that a GPU would have to send back: proven on tensors that hold no numbers."""

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from graphdb.batch import GraphBatch, Task
from graphdb.device import FilledRows
from graphdb.loader import InMemoryGraphs, Loader
from model.graphed import GraphedStep
from model.network import MTCGCNN, Architecture
from model.scaler import TargetScaler
from model.step import TrainingStep, multitask_loss
from model.train_config import TrainConfig

META = torch.device("meta")
SMALL = Architecture(num_convs=2, atom_dim=6, head_dim=5, num_rbf=8)


class _NothingFromTheHost(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Refuses what meta tensors let pass and a GPU has to wait for: copies from the host and between devices."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        devices = {leaf.device for leaf in torch.utils._pytree.tree_leaves([args, kwargs]) if isinstance(leaf, Tensor)}
        result = func(*args, **(kwargs or {}))
        devices |= {leaf.device for leaf in torch.utils._pytree.tree_leaves(result) if isinstance(leaf, Tensor)}
        assert devices <= {META}, f"{func} brings {devices} together"
        return result


@pytest.fixture
def _capturable_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch allows Adam's numbers on GPUs only; on tensors without numbers it is the same code."""
    optimizer = sys.modules["torch.optim.adam"]
    monkeypatch.setattr(optimizer, "_get_capturable_supported_devices", lambda *_, **__: ["meta"])


def make_step(config: TrainConfig, device: torch.device) -> TrainingStep:
    torch.manual_seed(0)
    return TrainingStep(MTCGCNN(SMALL, [Task("energy"), Task("gap")]).to(device), config)


@pytest.fixture(params=[{}, {"loss": "l1", "loss_weights": (1.0, 2.0)}, {"grad_clip": None}], ids=str)
def config(request: pytest.FixtureRequest) -> TrainConfig:
    return TrainConfig(**request.param)


@pytest.mark.usefixtures("_capturable_without_a_gpu")
def test_whole_step_runs_on_tensors_that_hold_no_numbers(
    config: TrainConfig, make_batch: Callable[..., GraphBatch]
) -> None:
    step, batch = make_step(config, META), make_batch().to(META)
    before = step.loss_sum
    with _NothingFromTheHost():  # type: ignore[no-untyped-call]
        for rate in (0.1, 0.2):
            step.set_rate(rate)
            step(batch, batch.num_crystals)
    assert step.loss_sum is before
    assert step.optimizer.param_groups[0]["lr"].device == META
    assert all(parameter.grad is not None for parameter in step.model.parameters())


@pytest.mark.usefixtures("_capturable_without_a_gpu")
def test_whole_epoch_on_resident_graphs_runs_on_tensors_that_hold_no_numbers(graphs: InMemoryGraphs) -> None:
    source = Loader(graphs, batch_size=5, shuffle=True).on(META)
    assert source is not None
    step = make_step(TrainConfig(), META)
    graphed = GraphedStep(step, source.graphs)
    step.set_rate(0.1)
    for batch in source.filled():
        assert isinstance(batch, FilledRows)
        with _NothingFromTheHost():  # type: ignore[no-untyped-call]
            graphed(batch)
    for batch in source:
        with _NothingFromTheHost():  # type: ignore[no-untyped-call]
            step(batch, batch.num_crystals)


@pytest.mark.usefixtures("_capturable_without_a_gpu")
@pytest.mark.parametrize(
    "culprit",
    [
        lambda loss: loss.item(),
        lambda loss: loss + torch.tensor(1.0),
        lambda loss: torch.nonzero(loss),
        lambda loss: torch.bincount(loss.long()[None]),
        lambda loss: torch.repeat_interleave(loss[None].long()),
    ],
    ids=["item", "number from the host", "nonzero", "bincount", "repeat_interleave"],
)
def test_the_proof_would_notice_a_step_that_waits(culprit: Callable[[Tensor], Any]) -> None:
    with (
        pytest.raises((RuntimeError, NotImplementedError, AssertionError)),
        _NothingFromTheHost(),  # type: ignore[no-untyped-call]
    ):
        culprit(torch.zeros((), device="meta"))


def test_scaler_and_loss_take_no_number_from_the_device() -> None:
    scaler = TargetScaler(2).to(META)
    target, mask = torch.zeros(3, 2, device=META), torch.zeros(3, 2, dtype=torch.bool, device=META)
    with _NothingFromTheHost():  # type: ignore[no-untyped-call]
        loss = multitask_loss(scaler.unscale(target), scaler.scale(target), mask, torch.ones(2, device=META))
    assert loss.device == META


def test_step_size_given_as_a_tensor_takes_the_same_step(make_batch: Callable[..., GraphBatch]) -> None:
    batch, config = make_batch(), TrainConfig(grad_clip=None)
    number, tensor = make_step(config, torch.device("cpu")), make_step(config, torch.device("cpu"))
    for group in tensor.optimizer.param_groups:
        group["lr"] = torch.full((), config.learning_rate)
    for rate in (0.001, 0.003):
        for step in (number, tensor):
            step.set_rate(rate)
            step(batch, batch.num_crystals)
    assert isinstance(tensor.optimizer.param_groups[0]["lr"], Tensor)
    for mine, theirs in zip(number.model.parameters(), tensor.model.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)


def test_unknown_targets_leave_no_trace_in_loss_and_gradient() -> None:
    output = torch.randn(4, 2, requires_grad=True)
    mask = torch.tensor([[True, False], [True, True], [False, True], [True, True]])
    target = torch.where(mask, torch.randn(4, 2), torch.tensor(float("nan")))
    loss = multitask_loss(output, target, mask, torch.ones(2))
    loss.backward()  # type: ignore[no-untyped-call]
    assert torch.isfinite(loss)
    assert output.grad is not None
    assert (output.grad[~mask] == 0).all()


def test_loss_sum_counts_crystals(make_batch: Callable[..., GraphBatch]) -> None:
    batch = make_batch()
    step = make_step(TrainConfig(), torch.device("cpu"))
    step.set_rate(0.0)
    step.model.eval()
    loss = multitask_loss(step.model(batch), batch.target, batch.target_mask, torch.ones(2))
    step(replace(batch), 3)
    torch.testing.assert_close(step.loss_sum, 3 * loss.detach())
