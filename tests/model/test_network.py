"""The network as a whole: batching, merging, masking and the sizes of its parts."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from graphdb.batch import GraphBatch, Task
from graphdb.graphsettings import SoftNeighbors
from model.elements import element_features
from model.gated_sum.radial import expand_lengths
from model.network import MTCGCNN, Architecture
from model.step import multitask_loss

SMALL = Architecture(num_convs=2, atom_dim=8, head_dim=6, num_head_layers=2, num_rbf=12)
TASKS = (Task("energy", "eV"), Task("gap", "eV"))


def network(architecture: Architecture = SMALL, tasks: tuple[Task, ...] = TASKS) -> MTCGCNN:
    """Random weights and running statistics that are not the initial ones."""
    torch.manual_seed(1)
    model = MTCGCNN(architecture, tasks)
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.uniform_(-0.5, 0.5)
        if name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
    return model.eval()


def test_a_batch_predicts_what_its_crystals_predict_one_by_one(
    crystals: list[Any], make_batch: Callable[..., GraphBatch]
) -> None:
    model = network()
    together = model(make_batch())
    alone = torch.cat([model(make_batch([crystal])) for crystal in crystals])
    torch.testing.assert_close(together, alone, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_order_of_crystals_orders_the_outputs(
    training: bool, crystals: list[Any], make_batch: Callable[..., GraphBatch]
) -> None:
    model = network().train(training)
    order = [3, 0, 6, 5, 2, 4, 1]
    straight = model(make_batch())
    torch.testing.assert_close(model(make_batch([crystals[i] for i in order])), straight[order], atol=5e-6, rtol=1e-5)


def double(batch: GraphBatch) -> GraphBatch:
    names = ("multiplicity", "neighbor_distance", "neighbor_weight")
    return replace(batch, **{name: getattr(batch, name).double() for name in names})


def test_merged_atoms_change_no_prediction(make_batch: Callable[..., GraphBatch]) -> None:
    model = network()
    merged, plain = make_batch(), make_batch(settings=SoftNeighbors(merge_tolerance=0.0))
    assert len(merged.atomic_numbers) < len(plain.atomic_numbers)
    torch.testing.assert_close(model(merged), model(plain), atol=1e-5, rtol=1e-5)


def test_merged_atoms_change_no_loss_gradient_or_running_statistic(make_batch: Callable[..., GraphBatch]) -> None:
    results = []
    for settings in (SoftNeighbors(), SoftNeighbors(merge_tolerance=0.0)):
        model = network().double().train()
        batch = double(make_batch(settings=settings))
        target = batch.target.double()
        loss = multitask_loss(model(batch), target, batch.target_mask, torch.ones(2, dtype=torch.float64))
        loss.backward()  # type: ignore[no-untyped-call]
        gradients = {name: p.grad for name, p in model.named_parameters()}
        results.append({"loss": loss.detach(), **gradients, **dict(model.named_buffers())})
    for name in results[0]:  # weights and distances are stored as float32
        torch.testing.assert_close(results[0][name], results[1][name], atol=1e-6, rtol=2e-5, msg=name)


def test_masked_target_equals_removed_target_gradient_included(make_batch: Callable[..., GraphBatch]) -> None:
    """A crystal without targets changes what batch normalisation sees, so the statistics are fixed here."""
    known = np.random.default_rng(0).normal(size=(7, 2))
    masked = known.copy()
    masked[2:5, 1] = np.nan
    gradients = []
    for removed in (False, True):
        model = network()
        batch = make_batch(targets=masked)
        output = model(batch)
        if removed:
            kept = torch.tensor([0, 1, 5, 6])
            loss = (
                (output[:, 0] - batch.target[:, 0]).square().mean()
                + 3 * (output[kept, 1] - batch.target[kept, 1]).square().mean()
            ) / 2
        else:
            nonsense = torch.where(batch.target_mask, batch.target, torch.nan)
            loss = multitask_loss(output, nonsense, batch.target_mask, torch.tensor([1.0, 3.0]))
        loss.backward()
        gradients.append([p.grad for p in model.parameters()])
    torch.testing.assert_close(gradients[0], gradients[1])


def test_task_without_any_target_in_the_batch_leaves_its_head_alone(make_batch: Callable[..., GraphBatch]) -> None:
    targets = np.random.default_rng(0).normal(size=(7, 2))
    targets[:, 1] = np.nan
    model, batch = network().train(), make_batch(targets=targets)
    multitask_loss(model(batch), batch.target, batch.target_mask, torch.ones(2)).backward()  # type: ignore[no-untyped-call]
    assert all(float(p.grad.abs().max()) == 0 for p in model.heads[1].parameters() if p.grad is not None)
    assert any(float(p.grad.abs().max()) > 0 for p in model.heads[0].parameters() if p.grad is not None)


@pytest.mark.parametrize("num_convs", [0, 1, 4])
@pytest.mark.parametrize("num_head_layers", [1, 3])
@pytest.mark.parametrize("num_tasks", [1, 2])
def test_number_of_parameters_is_that_of_the_formula(num_convs: int, num_head_layers: int, num_tasks: int) -> None:
    f, h, r, d = 10, 7, 9, element_features().shape[1]
    architecture = Architecture(num_convs=num_convs, atom_dim=f, head_dim=h, num_head_layers=num_head_layers, num_rbf=r)
    conv = (2 * f + r) * 2 * f + 2 * (2 * f) + 2 * f  # without the bias, which the normalisation takes away
    head = (f + 1) * h + (num_head_layers - 1) * (h + 1) * h + h + 1
    model = MTCGCNN(architecture, TASKS[:num_tasks])
    assert model.num_parameters == (d + 1) * f + num_convs * conv + num_tasks * head


def test_network_without_convolutions_sees_the_composition_alone(
    crystals: list[Any], make_batch: Callable[..., GraphBatch]
) -> None:
    model = network(replace(SMALL, num_convs=0))
    numbers, cell, frac = crystals[2]
    stretched = (numbers, cell * 1.2, frac)
    torch.testing.assert_close(model(make_batch([crystals[2]])), model(make_batch([stretched])))


def test_heads_are_independent(make_batch: Callable[..., GraphBatch]) -> None:
    model, batch = network(), make_batch()
    before = model(batch)
    with torch.no_grad():
        for parameter in model.heads[0].parameters():
            parameter.add_(1.0)
    after = model(batch)
    torch.testing.assert_close(after[:, 1], before[:, 1], atol=0, rtol=0)
    assert not torch.allclose(after[:, 0], before[:, 0])


def test_lengths_expand_to_the_gaussians_of_a_loop() -> None:
    lengths, centers, width = torch.tensor([0.7, 2.0, 19.9]), torch.linspace(0, 8, 5), 2.0
    expected = [[np.exp(-(((float(d) - float(c)) / width) ** 2)) for c in centers] for d in lengths]
    result = expand_lengths(lengths, centers, width)
    torch.testing.assert_close(result, torch.tensor(expected, dtype=torch.float32), atol=1e-7, rtol=1e-5)
    assert float(result.min()) > torch.finfo(torch.float32).tiny, "denormal numbers are slow"


def test_pooling_is_the_mean_over_atoms(crystals: list[Any], make_batch: Callable[..., GraphBatch]) -> None:
    model = network(replace(SMALL, num_convs=0))
    vectors: Tensor = model.embedding(model.elements)
    expected = torch.stack([vectors[torch.as_tensor(numbers)].mean(dim=0) for numbers, _, _ in crystals])
    torch.testing.assert_close(model.crystal_vectors(make_batch()), expected)


def test_predictions_are_in_physical_units(make_batch: Callable[..., GraphBatch]) -> None:
    model, batch = network(), make_batch()
    model.scaler.mean.copy_(torch.tensor([10.0, -3.0]))
    model.scaler.std.copy_(torch.tensor([2.0, 0.5]))
    torch.testing.assert_close(
        model.predict(batch), model(batch).detach() * torch.tensor([2.0, 0.5]) + torch.tensor([10.0, -3.0])
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"num_convs": -1}, "num_convs must be an integer in 0 to 20, got -1"),
        ({"atom_dim": 0}, "atom_dim .* got 0"),
        ({"head_dim": 2.5}, "head_dim .* got 2.5"),
        ({"num_head_layers": 0}, "num_head_layers .* got 0"),
        ({"num_rbf": 1}, "num_rbf .* got 1"),
        ({"rbf_cutoff": float("nan")}, "rbf_cutoff .* got nan"),
    ],
)
def test_sizes_out_of_range_are_refused_with_name_and_value(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Architecture(**values)


def test_unknown_architecture_key_is_named() -> None:
    with pytest.raises(ValueError, match="n_conv"):
        Architecture.from_dict({"n_conv": 3})


def test_every_element_has_nine_categories_at_most_and_one_at_least() -> None:
    features = element_features()
    assert features.shape == (101, 93)
    assert float(features[0].sum()) == 0
    assert set(features[1:].flatten().tolist()) == {0.0, 1.0}
    assert features[1:].sum(dim=1).min() >= 5
    assert features[1:].sum(dim=1).max() == 9
