"""A training that costs nothing and obeys the same interface as `model.training.Trainer`; its state is a JSON file."""

import json
import math
import os
import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuner.protocol import TrainingSpec
from tuner.run import jsonlines


@dataclass
class FakeReport:
    epoch: int
    score: float
    best_score: float
    best_epoch: int
    diverged: bool
    tasks: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        metrics = {
            task: {
                "mae": self.score * 0.5,
                "rmse": self.score,
                "r2": 1 - self.score,
                "mae_over_mad": self.score,
                "count": 9,
            }
            for task in self.tasks
        }
        return {
            "epoch": self.epoch,
            "train_loss": self.score,
            "learning_rate": 0.01,
            "score": self.score,
            "metrics": metrics,
            "best_score": self.best_score,
            "best_epoch": self.best_epoch,
            "diverged": self.diverged,
            "seconds": 0.01,
            "num_crystals": 100,
        }


class FakeTrainer:
    """Scores fall towards a floor that the parameters decide, with noise from a generator that is part of the state."""

    def __init__(self, spec: TrainingSpec, factory: "FakeFactory") -> None:
        self._job = spec
        self._factory = factory
        self._random = random.Random(spec.seed)
        self.epoch = 0
        self.best_epoch = 0
        self.best_score = math.inf

    @property
    def finished(self) -> bool:
        return self.epoch >= self._job.epochs

    def run_epoch(self) -> FakeReport:
        self.epoch += 1
        if self._factory.side_log:
            with open(self._factory.side_log, "a") as file:
                file.write(json.dumps({"key": self._job.key, "epoch": self.epoch, "pid": os.getpid()}) + "\n")
        time.sleep(self._factory.seconds_per_epoch)
        params = self._job.params
        rate = float(params.get("learning_rate", 1e-3))
        if self._factory.hangs_at_rate == rate and self.epoch == 2:
            time.sleep(1e6)
        if self._factory.gpus_needed > (self._job.gpus or 0):
            raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB")
        if self._factory.fails_at_rate == rate and self.epoch == self._factory.fails_at_epoch:
            raise RuntimeError(f"no luck with learning rate {rate:g}")
        floor = 0.2 + 0.1 * abs(math.log10(rate) + 2) + 0.02 * abs(int(params.get("num_convs", 3)) - 3)
        score = floor + 0.8 * math.exp(-self.epoch / 4) + 0.05 * self._random.random()
        diverged = self._factory.diverges_at_rate == rate and self.epoch >= self._factory.diverges_from
        if diverged:
            score = math.nan
        elif score < self.best_score:
            self.best_score, self.best_epoch = score, self.epoch
        return FakeReport(self.epoch, score, self.best_score, self.best_epoch, diverged, self._factory.tasks)

    def save_state(self, folder: Path) -> None:
        state = {
            "epoch": self.epoch,
            "best_epoch": self.best_epoch,
            "best_score": self.best_score if math.isfinite(self.best_score) else None,
            "random": self._random.getstate(),
        }
        jsonlines.write_json(folder / "state.json", state)
        if self._factory.state_bytes:
            (folder / "ballast").write_bytes(bytes(self._factory.state_bytes))

    def load_state(self, folder: Path) -> None:
        state = json.loads((folder / "state.json").read_text())
        self.epoch, self.best_epoch = state["epoch"], state["best_epoch"]
        self.best_score = math.inf if state["best_score"] is None else state["best_score"]
        version, internal, gauss = state["random"]
        self._random.setstate((version, tuple(internal), gauss))

    def save_best(self, folder: Path, extra: dict[str, Any]) -> None:
        jsonlines.write_json(
            folder / "config.json", {"best_epoch": self.best_epoch, "best_score": self.best_score, **extra}
        )


@dataclass
class FakeFactory:
    """Makes fake trainings; counts epochs in a side log that every process appends to."""

    tasks: tuple[str, ...] = ("band_gap", "fermi_energy")
    seconds_per_epoch: float = 0.0
    side_log: str = ""
    fails_at_rate: float = -1.0
    fails_at_epoch: int = 1
    hangs_at_rate: float = -1.0
    gpus_needed: float = 0.0
    state_bytes: int = 0
    diverges_at_rate: float = -1.0
    diverges_from: int = 2

    def build(self, spec: TrainingSpec) -> FakeTrainer:
        return FakeTrainer(spec, self)

    def provenance(self, spec: TrainingSpec) -> dict[str, Any]:
        return {"trial": spec.key, "params": dict(spec.params)}
