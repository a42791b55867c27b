"""Beyond the papers: radii, deviations in the pooling, no edge normalisation, two losses, averaged weights."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from graphdb.batch import GraphBatch, Task
from graphdb.graphsettings import SoftNeighbors
from graphdb.loader import InMemoryGraphs, Loader
from model import Architecture, TrainConfig, Trainer
from model.average import Average
from model.checkpoint import load_checkpoint, read_tensors, to_bytes
from model.hyperparameter_file import Hyperparameters
from model.network import MTCGCNN
from model.radii import NEAREST, covalent_radii, fit_radii
from model.scaler import TargetScaler
from model.shipped import STATE
from model.step import multitask_loss
from model.training import _digest
from tests.model.conftest import Crystal

TASKS = [Task("energy", "eV"), Task("gap", "eV")]
BETTER = Architecture(num_convs=2, atom_dim=8, head_dim=8, num_ratio_rbf=12, pooling="mean_std")


def rock_salt(numbers: tuple[int, int], length: float) -> Crystal:
    """A crystal in which each atom has the other kind at half the length of its cell."""
    fcc = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    return np.repeat(numbers, 4), length * np.eye(3), np.concatenate([fcc, fcc + 0.5])


def test_radii_explain_the_shortest_edges(make_batch: Callable[..., GraphBatch]) -> None:
    true = {11: 1.5, 17: 1.3, 19: 1.9, 35: 1.4}
    pairs = [(11, 17), (19, 17), (11, 35), (19, 35)]
    batch = make_batch([rock_salt(pair, 2 * (true[pair[0]] + true[pair[1]])) for pair in pairs] * 500)
    radii = fit_radii([batch])
    for one, other in pairs:
        assert float(radii[one] + radii[other]) == pytest.approx(true[one] + true[other], abs=0.01)
    others = [number for number in range(1, 101) if number not in true]
    torch.testing.assert_close(radii[others], covalent_radii()[others])


def test_radii_do_not_depend_on_batches_or_merging(
    crystals: list[Crystal], make_batch: Callable[..., GraphBatch]
) -> None:
    whole = fit_radii([make_batch(crystals)])
    torch.testing.assert_close(fit_radii([make_batch([crystal]) for crystal in crystals]), whole)
    unmerged = fit_radii([make_batch(crystals, settings=SoftNeighbors(merge_tolerance=0.0))])
    torch.testing.assert_close(unmerged, whole, rtol=1e-3, atol=1e-3)
    assert NEAREST > 1


def test_ratio_tells_a_long_bond_from_a_short_one(make_batch: Callable[..., GraphBatch]) -> None:
    torch.manual_seed(0)
    model = MTCGCNN(BETTER, TASKS).eval()
    batch = make_batch([rock_salt((11, 17), 5.6)])
    with torch.no_grad():
        before = model(batch)
        model.radii[11] *= 1.2
        assert not torch.allclose(model(batch), before)


@pytest.mark.parametrize(
    "change", [{}, {"edge_norm": "none"}, {"pooling": "mean"}, {"num_ratio_rbf": 0}], ids=lambda c: str(c) or "all"
)
@pytest.mark.parametrize("compiled", [True, False])
def test_merged_and_unmerged_graphs_give_the_same(
    change: dict[str, object], compiled: bool, crystals: list[Crystal], make_batch: Callable[..., GraphBatch]
) -> None:
    torch.manual_seed(1)
    model = MTCGCNN(dataclasses.replace(BETTER, **change), TASKS).train()  # type: ignore[arg-type]
    model.compiled = compiled
    merged, unmerged = make_batch(crystals), make_batch(crystals, settings=SoftNeighbors(merge_tolerance=0.0))
    assert len(merged.multiplicity) < len(unmerged.multiplicity)
    torch.testing.assert_close(model(merged), model(unmerged), rtol=2e-4, atol=2e-4)


def test_deviation_is_that_over_atoms(make_batch: Callable[..., GraphBatch]) -> None:
    batch = make_batch()
    model = MTCGCNN(dataclasses.replace(BETTER, num_convs=0), TASKS)
    vectors = model.crystal_vectors(batch)
    atoms = model.embedding(model.elements)[batch.atomic_numbers]
    for crystal in range(batch.num_crystals):
        mine = batch.crystal == crystal
        every = atoms[mine].repeat_interleave(batch.multiplicity[mine].long(), dim=0)
        expected = torch.cat([every.mean(0), (every.var(0, unbiased=False) + 1e-4).sqrt()])
        torch.testing.assert_close(vectors[crystal], expected, rtol=1e-4, atol=1e-5)


def test_huber_is_squared_near_zero_and_straight_beyond() -> None:
    output, target = torch.tensor([[0.1], [0.5], [-3.0]]), torch.zeros(3, 1)
    loss = multitask_loss(output, target, torch.ones(3, 1, dtype=torch.bool), torch.ones(1), "huber", huber_delta=0.5)
    assert float(loss) == pytest.approx((0.01 + 0.25 + (2 * 3.0 - 0.5) * 0.5) / 3)


def test_censored_targets_punish_predictions_above_only() -> None:
    targets = np.array([[0.0, -1.0], [0.0, 0.0], [2.0, 3.0], [1.0, np.nan]])
    scaler = TargetScaler.fit(targets, ["gap", "energy"], censored=True)
    assert torch.isfinite(scaler.floor).tolist() == [True, False]
    zero = float(scaler.scale(torch.zeros(1, 2))[0, 0])
    assert scaler.floor[0] == 0
    output = torch.tensor([[zero - 5.0, 0.0], [zero + 1.0, 0.0]])
    target = torch.tensor([[zero, 0.0], [zero, 0.0]])
    known = torch.ones(2, 2, dtype=torch.bool)
    loss = multitask_loss(output, target, known, torch.ones(2), floor=scaler.scaled_floor)
    assert float(loss) == pytest.approx(0.25)
    assert scaler.unscale(torch.tensor([[-100.0, -100.0]]))[0, 0] == 0
    assert scaler.unscale(torch.tensor([[-100.0, -100.0]]))[0, 1] < -50


def test_targets_that_are_seldom_zero_are_not_censored() -> None:
    targets = np.concatenate([np.zeros((1, 1)), np.ones((50, 1)), 2 * np.ones((50, 1))])
    assert not torch.isfinite(TargetScaler.fit(targets, ["gap"], censored=True).floor).any()
    assert not torch.isfinite(TargetScaler.fit(targets[:3], ["gap"]).floor).any()


def trainer(graphs: InMemoryGraphs, **settings: object) -> Trainer:
    rows = np.arange(len(graphs))
    return Trainer(
        architecture=BETTER,
        config=TrainConfig(epochs=4, batch_size=4, loss="huber", censored=True, **settings),  # type: ignore[arg-type]
        train=Loader(graphs, rows[:12], batch_size=4, shuffle=True),
        validation=Loader(graphs, rows[12:], batch_size=8),
        device="cpu",
    )


def test_average_follows_the_weights_from_some_point_on(graphs: InMemoryGraphs) -> None:
    model = MTCGCNN(BETTER, TASKS)
    average = Average(model, TrainConfig(average=0.75, average_from=0.5))
    average.update(0.4)
    assert not average.begun
    average.update(0.5)
    before = model.embedding.bias[0].item()
    with torch.no_grad():
        model.embedding.bias.add_(1.0)
    average.update(0.6)
    assert average.model.embedding.bias[0].item() == pytest.approx(before + 0.25)
    assert torch.equal(average.model.scaler.floor, model.scaler.floor)


def test_averaged_training_resumes_as_if_nothing_had_happened(graphs: InMemoryGraphs, tmp_path: Path) -> None:
    whole = trainer(graphs, average=0.9)
    for _ in range(4):
        whole.run_epoch()
    for stop in (1, 3):
        first = trainer(graphs, average=0.9)
        for _ in range(stop):
            first.run_epoch()
        first.save_state(tmp_path / str(stop))
        second = trainer(graphs, average=0.9)
        second.load_state(tmp_path / str(stop))
        while not second.finished:
            second.run_epoch()
        assert [r.score for r in second.history] == [r.score for r in whole.history]
    plain = trainer(graphs)
    for _ in range(4):
        plain.run_epoch()
    assert [r.score for r in plain.history[:1]] == [r.score for r in whole.history[:1]]
    assert plain.history[-1].score != whole.history[-1].score


def test_state_of_a_version_with_fewer_settings_goes_on(graphs: InMemoryGraphs, tmp_path: Path) -> None:
    def plain() -> Trainer:
        rows = np.arange(len(graphs))
        return Trainer(
            architecture=Architecture(num_convs=1, atom_dim=4),
            config=TrainConfig(epochs=2),
            train=Loader(graphs, rows[:12], batch_size=4, shuffle=True),
            validation=Loader(graphs, rows[12:], batch_size=8),
            device="cpu",
        )

    first = plain()
    first.run_epoch()
    first.save_state(tmp_path)
    tensors, metadata = read_tensors(tmp_path / STATE, advice="")
    del tensors["model.scaler.floor"]
    for name, keys in {"architecture": ("pooling", "num_ratio_rbf"), "config": ("censored", "average")}.items():
        metadata[name] = json.dumps({k: v for k, v in json.loads(metadata[name]).items() if k not in keys})
    metadata["sha256"] = _digest(tensors, metadata)
    (tmp_path / STATE).write_bytes(to_bytes(tensors, metadata))
    second = plain()
    second.load_state(tmp_path)
    assert second.run_epoch().score == first.run_epoch().score


def test_checkpoint_keeps_radii_and_censoring(graphs: InMemoryGraphs, tmp_path: Path) -> None:
    trained = trainer(graphs)
    trained.run_epoch()
    trained.save_best(tmp_path / "model")
    model, _ = load_checkpoint(tmp_path / "model")
    assert torch.equal(model.radii, trained.model.radii)
    assert not torch.equal(model.radii, covalent_radii())
    assert torch.equal(model.scaler.floor, trained.model.scaler.floor)


def test_recipe_that_is_shipped_can_be_read() -> None:
    read = Hyperparameters.read(str(Path(__file__).parents[2] / "docs" / "recipe.toml"))
    assert read.architecture.num_ratio_rbf == 30
    assert read.train.censored
