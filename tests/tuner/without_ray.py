"""Stands in for Ray where a test is about what a search says and writes: trainings run one after the other, in here."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from graphdb.records import finite_or_none
from tests.tuner.faketrainer import FakeFactory
from tuner.cluster.resources import Resources
from tuner.protocol import EpochResult, Failure, TrainingQueue, TrainingSpec
from tuner.run import trial_folder
from tuner.signals import Signals


class NoCluster:
    """A machine of two CPUs without GPUs, on which no Ray is started."""

    def __init__(self, address: str | None, *, data_bytes: int) -> None:
        pass

    def __enter__(self) -> "NoCluster":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def nodes(self) -> list[Resources]:
        return [Resources(cpus=2, gpus=0)]

    def ask_for(self, spec: Resources, count: int) -> None:
        pass

    def restart(self) -> None:
        pass


def packed(save: Callable[[Path], None]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        save(Path(folder))
        return trial_folder.pack(Path(folder))


def execute(
    queue: TrainingQueue, factory: FakeFactory, *, signals: Signals, tick: Callable[[], bool], **resources: object
) -> bool:
    """As `tuner.cluster.executor.execute`."""
    while (spec := queue.next_training()) is not None:
        queue.on_start(spec.key)
        try:
            if not train(queue, factory, spec, signals, tick):
                signals.check()
                return False
        except ValueError as error:
            reason = f"ValueError: {error}"
            queue.on_failure(spec.key, Failure(kind="exception", reason=reason, details=f"Traceback ...\n{reason}"))
    return True


def train(
    queue: TrainingQueue, factory: FakeFactory, spec: TrainingSpec, signals: Signals, tick: Callable[[], bool]
) -> bool:
    trainer = factory.build(spec)
    if (state := queue.saved_state(spec.key)) is not None:
        with tempfile.TemporaryDirectory() as folder:
            trial_folder.unpack(state, Path(folder))
            trainer.load_state(Path(folder))
    goes_on = True
    while goes_on:
        if not tick():
            return False
        signals.check()
        body = finite_or_none(trainer.run_epoch().as_dict())
        best = trainer.best_epoch == trainer.epoch
        report = EpochResult(
            epoch=trainer.epoch,
            finished=trainer.finished,
            body=body,
            state=None if trainer.finished else packed(trainer.save_state),
            best=packed(lambda folder: trainer.save_best(folder, factory.provenance(spec))) if best else None,
        )
        goes_on = queue.on_result(spec.key, report)
    return True


@pytest.fixture
def without_ray(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Searches of the test run without Ray."""
    monkeypatch.setattr("tuner.driver.Cluster", NoCluster)
    monkeypatch.setattr("tuner.driver.execute", execute)
