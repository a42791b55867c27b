"""Recorded steps: with a recorder that only runs them again, they train as the steps themselves do."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from graphdb.device import FilledRows
from graphdb.loader import InMemoryGraphs, Loader
from model.graphed import EagerRecorder, GraphedStep
from model.network import MTCGCNN, Architecture
from model.step import TrainingStep
from model.train_config import TrainConfig
from model.training import Trainer

SMALL = Architecture(num_convs=1, atom_dim=6, head_dim=5, num_rbf=8)
CONFIG = TrainConfig(epochs=6, batch_size=4, learning_rate=0.01, seed=3)


@pytest.fixture(autouse=True)
def _whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """All crystals at a time, as a GPU takes them."""
    monkeypatch.setattr("model.gated_sum.by_torch.CHUNK_NUMBERS", 2**30)


def loader(graphs: InMemoryGraphs, rows: Sequence[int], *, shuffle: bool = False) -> Loader:
    return Loader(graphs, np.asarray(rows), batch_size=4, shuffle=shuffle, seed=1)


def make_trainer(graphs: InMemoryGraphs, *, resident: bool = True, cuda_graphs: bool = False) -> Trainer:
    train, validation = loader(graphs, range(14), shuffle=True), loader(graphs, range(14, 21))
    sources = [source.on("cpu") if resident else source for source in (train, validation)]
    assert sources[0] is not None
    assert sources[1] is not None
    return Trainer(
        architecture=SMALL,
        config=CONFIG,
        train=sources[0],
        validation=sources[1],
        device="cpu",
        cuda_graphs=cuda_graphs,
    )


def run(trainer: Trainer, epochs: int = 99) -> Trainer:
    while not trainer.finished and trainer.epoch < epochs:
        trainer.run_epoch()
    return trainer


def assert_same(trainer: Trainer, other: Trainer, *, exactly: bool) -> None:
    for mine, theirs in zip(trainer.history, other.history, strict=True):
        assert mine.train_loss == pytest.approx(theirs.train_loss, rel=0 if exactly else 1e-3)
        assert mine.score == pytest.approx(theirs.score, rel=0 if exactly else 1e-3)
        assert (mine.learning_rate, mine.num_crystals) == (theirs.learning_rate, theirs.num_crystals)
    assert trainer._seen.as_info() == other._seen.as_info()


def test_training_on_resident_graphs_is_the_training_on_those_of_the_host(graphs: InMemoryGraphs) -> None:
    assert_same(run(make_trainer(graphs)), run(make_trainer(graphs, resident=False)), exactly=True)


def test_recorded_training_is_the_training_step_by_step(graphs: InMemoryGraphs) -> None:
    recorded = run(make_trainer(graphs, cuda_graphs=True))
    assert recorded._graphed_step is not None
    assert recorded._graphed_step.num_recorded > 0
    assert_same(recorded, run(make_trainer(graphs)), exactly=False)


def test_recorded_training_goes_on_from_its_state(graphs: InMemoryGraphs, tmp_path: Path) -> None:
    whole = run(make_trainer(graphs, cuda_graphs=True))
    run(make_trainer(graphs, cuda_graphs=True), 3).save_state(tmp_path)
    resumed = make_trainer(graphs, cuda_graphs=True)
    resumed.load_state(tmp_path)
    assert_same(whole, run(resumed), exactly=True)


def test_recording_is_refused_for_graphs_that_are_not_on_the_device(graphs: InMemoryGraphs) -> None:
    with pytest.raises(ValueError, match="cuda_graphs needs graphs that lie on the device, got Loader on cpu; leave"):
        make_trainer(graphs, resident=False, cuda_graphs=True)


class _Counting(EagerRecorder):
    def __init__(self) -> None:
        self.warmed_up = 0
        self.recorded: list[Callable[[], None]] = []

    def warm_up(self, run: Callable[[], None]) -> None:
        self.warmed_up += 1
        super().warm_up(run)

    def record(self, run: Callable[[], None]) -> Callable[[], object]:
        self.recorded.append(run)
        return super().record(run)


def test_each_size_is_recorded_once_after_two_steps_and_serves_any_crystals(graphs: InMemoryGraphs) -> None:
    source = loader(graphs, range(21), shuffle=True).on("cpu")
    assert source is not None
    torch.manual_seed(0)
    step = TrainingStep(MTCGCNN(SMALL, graphs.tasks), CONFIG)
    recorder = _Counting()
    graphed = GraphedStep(step, source.graphs, recorder)
    batches = [batch for batch in source.filled() if isinstance(batch, FilledRows)]
    same_size = [replace(batch, size=batches[0].size) for batch in batches if batch.size == batches[0].size]
    for number, batch in enumerate([*same_size, *same_size, *same_size, *same_size], 1):
        before = float(step.loss_sum)
        graphed(batch)
        assert float(step.loss_sum) != before, "every call is a step, the recorded one too"
        assert (recorder.warmed_up, len(recorder.recorded)) == (min(number, 2), int(number > 2))
    assert graphed.num_recorded == 1


@pytest.mark.gpu
def test_cuda_graphs_train_as_the_steps_do(graphs: InMemoryGraphs) -> None:
    def trained(*, cuda_graphs: bool) -> Trainer:
        train, validation = loader(graphs, range(14), shuffle=True), loader(graphs, range(14, 21))
        source = train.on("cuda")
        assert source is not None
        return run(
            Trainer(
                architecture=SMALL,
                config=CONFIG,
                train=source,
                validation=validation,
                device="cuda",
                cuda_graphs=cuda_graphs,
            )
        )

    recorded = trained(cuda_graphs=True)
    assert recorded._graphed_step is not None
    assert recorded._graphed_step.num_recorded > 0
    assert_same(recorded, trained(cuda_graphs=False), exactly=False)
