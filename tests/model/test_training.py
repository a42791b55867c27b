"""Training runs: reproducible, resumable bit for bit, honest about divergence and about what they refuse."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from graphdb.loader import InMemoryGraphs, Loader
from model.checkpoint import load_checkpoint
from model.errors import CheckpointError
from model.inference import evaluate
from model.network import Architecture
from model.shipped import STATE
from model.train_config import TrainConfig
from model.training import EpochReport, Trainer

SMALL = Architecture(num_convs=1, atom_dim=6, head_dim=5, num_rbf=8)
CONFIG = TrainConfig(epochs=6, batch_size=4, learning_rate=0.01, seed=3)


def make_trainer(
    graphs: InMemoryGraphs, config: TrainConfig = CONFIG, architecture: Architecture = SMALL, seed: int = 1
) -> Trainer:
    train = Loader(graphs, np.arange(14), batch_size=config.batch_size, shuffle=True, seed=seed)
    validation = Loader(graphs, np.arange(14, 21), batch_size=5)
    return Trainer(architecture=architecture, config=config, train=train, validation=validation, device="cpu")


def run(trainer: Trainer, epochs: int = 99) -> Trainer:
    while not trainer.finished and trainer.epoch < epochs:
        trainer.run_epoch()
    return trainer


def history(trainer: Trainer) -> list[dict[str, Any]]:
    return [{**report.as_dict(), "seconds": 0} for report in trainer.history]


def assert_same_run(trainer: Trainer, other: Trainer) -> None:
    assert history(trainer) == history(other)
    for mine, theirs in ((trainer.model, other.model), (trainer.best_model(), other.best_model())):
        for name, tensor in mine.state_dict().items():
            assert torch.equal(tensor, theirs.state_dict()[name]), name


def with_targets(graphs: InMemoryGraphs, targets: NDArray[Any]) -> InMemoryGraphs:
    return InMemoryGraphs(
        graphs.flat,
        material_ids=graphs.material_ids,
        tasks=graphs.tasks[: targets.shape[1]],
        targets=targets,
        settings=graphs.settings,
    )


def test_same_seed_gives_the_same_run(graphs: InMemoryGraphs) -> None:
    first = run(make_trainer(graphs))
    torch.manual_seed(99)  # the global generator has no part in it
    assert_same_run(first, run(make_trainer(graphs)))


def test_another_seed_gives_another_run(graphs: InMemoryGraphs) -> None:
    first = history(run(make_trainer(graphs), 1))
    assert history(run(make_trainer(graphs, replace(CONFIG, seed=4)), 1)) != first
    assert history(run(make_trainer(graphs, seed=2), 1)) != first


@pytest.mark.parametrize("interrupted_after", [0, 1, 4])
def test_resumed_run_equals_the_uninterrupted_one_bit_for_bit(
    interrupted_after: int, graphs: InMemoryGraphs, tmp_path: Path
) -> None:
    whole = run(make_trainer(graphs))
    run(make_trainer(graphs), interrupted_after).save_state(tmp_path)
    resumed = make_trainer(graphs)
    resumed.load_state(tmp_path)
    assert resumed.epoch == interrupted_after
    assert_same_run(whole, run(resumed))


def test_training_learns(graphs: InMemoryGraphs) -> None:
    trainer = run(make_trainer(graphs, replace(CONFIG, epochs=40, learning_rate=0.03)))
    assert trainer.history[-1].train_loss < 0.5 * trainer.history[0].train_loss


def test_best_model_is_that_of_the_best_epoch(graphs: InMemoryGraphs, tmp_path: Path) -> None:
    trainer = run(make_trainer(graphs, replace(CONFIG, epochs=12, learning_rate=0.1, schedule="constant")))
    scores = [report.score for report in trainer.history]
    assert trainer.best_score == min(scores)
    assert trainer.best_epoch == 1 + scores.index(min(scores))
    assert trainer.best_epoch < trainer.epoch, "the test needs a run whose last epoch is not its best"
    metrics = evaluate(trainer.best_model(), Loader(graphs, np.arange(14, 21), batch_size=5)).metrics
    assert metrics == trainer.history[trainer.best_epoch - 1].metrics
    trainer.save_best(tmp_path / "best", {"note": "kept"})
    model, info = load_checkpoint(tmp_path / "best")
    assert torch.equal(model.convs[0].node_weight, trainer.best_model().convs[0].node_weight)  # type: ignore[arg-type]
    assert (info["best_epoch"], info["epochs"], info["note"]) == (trainer.best_epoch, 12, "kept")
    assert info["metrics"]["validation"]["gap"]["mae"] == metrics["gap"].mae
    assert TrainConfig.from_dict(info["train"]) == trainer.config


def test_patience_ends_a_run_that_no_longer_improves(graphs: InMemoryGraphs) -> None:
    config = replace(CONFIG, epochs=200, learning_rate=0.1, schedule="constant", patience=3)
    trainer = run(make_trainer(graphs, config))
    assert trainer.epoch == trainer.best_epoch + 3 < 200
    with pytest.raises(RuntimeError, match=f"finished after {trainer.epoch} epochs"):
        trainer.run_epoch()


def test_learning_rate_rises_and_falls_along_the_schedule(graphs: InMemoryGraphs) -> None:
    config = replace(CONFIG, epochs=10, warmup=0.2)
    rates = [report.learning_rate for report in run(make_trainer(graphs, config)).history]
    assert rates[1] == pytest.approx(config.learning_rate)
    assert rates[0] == pytest.approx(config.learning_rate / 2, rel=0.05)
    assert rates[1:] == sorted(rates[1:], reverse=True)
    assert rates[-1] == pytest.approx(config.learning_rate / 1000)
    constant = run(make_trainer(graphs, replace(config, schedule="constant", warmup=0.0)), 3)
    assert [report.learning_rate for report in constant.history] == [config.learning_rate] * 3


@pytest.mark.parametrize("after", [0, 2])
def test_divergence_is_reported_and_ends_the_run(after: int, graphs: InMemoryGraphs, tmp_path: Path) -> None:
    trainer = run(make_trainer(graphs), after)
    with torch.no_grad():
        next(trainer.model.parameters()).fill_(math.nan)
    report = trainer.run_epoch()
    assert report.diverged
    assert trainer.finished
    assert trainer.best_epoch == (0 if after == 0 else trainer.history[1].best_epoch)
    assert report.as_dict()["score"] is None
    trainer.save_state(tmp_path)
    again = make_trainer(graphs)
    again.load_state(tmp_path)
    assert again.finished
    if after == 0:
        with pytest.raises(RuntimeError, match="no best model"):
            again.best_model()


def test_absurd_learning_rate_ends_in_a_report_and_not_in_a_traceback(graphs: InMemoryGraphs) -> None:
    config = replace(CONFIG, learning_rate=10.0, grad_clip=None, epochs=30, schedule="constant", warmup=0.0)
    trainer = run(make_trainer(graphs, config))
    last = trainer.history[-1]
    assert last.diverged or last.train_loss > 100
    assert last.diverged == (trainer.epoch < 30) or trainer.epoch == 30


def test_report_survives_json(graphs: InMemoryGraphs) -> None:
    report = run(make_trainer(graphs), 1).history[0]
    assert EpochReport.from_dict(report.as_dict()) == report


def test_best_of_a_run_without_an_epoch_is_refused(graphs: InMemoryGraphs, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="no best model"):
        make_trainer(graphs).save_best(tmp_path / "best")


def refuse(trainer: Trainer, folder: Path, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        trainer.load_state(folder)


def test_state_of_another_run_is_refused(graphs: InMemoryGraphs, tmp_path: Path) -> None:
    run(make_trainer(graphs), 1).save_state(tmp_path)
    refuse(
        make_trainer(graphs, replace(CONFIG, epochs=7)),
        tmp_path,
        "same settings, but config.epochs was 6 and is now 7; .*",
    )
    refuse(
        make_trainer(graphs, architecture=replace(SMALL, atom_dim=7)),
        tmp_path,
        "architecture.atom_dim was 6 and is now 7",
    )
    renamed = with_targets(graphs, graphs.targets)
    renamed.tasks = tuple(reversed(graphs.tasks))
    refuse(make_trainer(renamed), tmp_path, "tasks was .*energy.* and is now")
    refuse(make_trainer(with_targets(graphs, graphs.targets + 1)), tmp_path, "same training targets")


@pytest.mark.parametrize("keep", [0, 5, 100, 0.5, -1])
def test_truncated_state_is_refused(keep: float, graphs: InMemoryGraphs, tmp_path: Path) -> None:
    run(make_trainer(graphs), 1).save_state(tmp_path)
    content = (tmp_path / STATE).read_bytes()
    length = int(keep * len(content)) if isinstance(keep, float) else keep
    (tmp_path / STATE).write_bytes(content[:length])
    refuse(make_trainer(graphs), tmp_path, f"{STATE} is truncated .* remove it")


def test_missing_and_foreign_states_are_refused(graphs: InMemoryGraphs, tmp_path: Path) -> None:
    import safetensors.torch

    refuse(make_trainer(graphs), tmp_path, STATE)
    safetensors.torch.save_file({"x": torch.ones(2)}, tmp_path / STATE)
    refuse(make_trainer(graphs), tmp_path, "not a training state")
    safetensors.torch.save_file({"x": torch.ones(2)}, tmp_path / STATE, metadata={"config": "{"})
    refuse(make_trainer(graphs), tmp_path, "not a training state")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"learning_rate": 0.0}, "learning_rate must be above 0 .* got 0.0"),
        ({"learning_rate": math.nan}, "got nan"),
        ({"learning_rate": 11.0}, "got 11.0"),
        ({"weight_decay": -1.0}, "weight_decay must be .* got -1.0"),
        ({"batch_size": 0}, "batch_size must be an integer .* got 0"),
        ({"epochs": 1.5}, "epochs must be an integer .* got 1.5"),
        ({"schedule": "step"}, "schedule must be .* got 'step'"),
        ({"warmup": 1.0}, "warmup must be .* got 1.0"),
        ({"loss": "hinge"}, "loss must be .* got 'hinge'"),
        ({"grad_clip": 0.0}, "grad_clip must be .* got 0.0"),
        ({"patience": 0}, "patience must be .* got 0"),
        ({"loss_weights": ()}, "loss_weights must be positive numbers"),
        ({"loss_weights": (1.0, -1.0)}, "loss_weights must be positive numbers"),
        ({"loss_weights": (1.0, math.nan)}, "loss_weights must be positive numbers"),
        ({"loss_weights": (math.inf, 1.0)}, "loss_weights must be positive numbers"),
        ({"loss_weights": 3}, "loss_weights must be positive numbers"),
        ({"loss_weights": ["much", "little"]}, "loss_weights must be positive numbers"),
        ({"learning_rate": "fast"}, "learning_rate must be above 0 .* got 'fast'"),
    ],
)
def test_settings_out_of_range_are_refused_with_name_and_value(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainConfig(**values)


def test_loss_weights_are_one_per_task_and_their_scale_does_not_matter(graphs: InMemoryGraphs) -> None:
    with pytest.raises(ValueError, match=r"loss_weights must be one per task \(2\), got 3"):
        make_trainer(graphs, replace(CONFIG, loss_weights=(1.0, 2.0, 3.0)))
    reports = [history(run(make_trainer(graphs, replace(CONFIG, loss_weights=w)), 2)) for w in ((1, 3), (2, 6))]
    assert reports[0] == reports[1]


@pytest.mark.parametrize(
    ("rows", "value", "message"),
    [
        (slice(None), 2.0, "values of gap that are all equal"),
        (slice(0, 14), np.nan, "0 values of gap"),
        (slice(14, 21), np.nan, "known value in the validation split, got none of gap"),
    ],
    ids=["without spread", "unknown in training", "unknown in validation"],
)
def test_task_that_cannot_be_learned_or_scored_is_refused_by_name(
    rows: slice, value: float, message: str, graphs: InMemoryGraphs
) -> None:
    targets = graphs.targets.copy()
    targets[rows, 1] = value
    with pytest.raises(ValueError, match=message):
        make_trainer(with_targets(graphs, targets))
