"""Train one network from loaders, one report per epoch. Knows nothing of searches, stores or crystals."""

import json
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from graphdb.batch import GraphBatch
from graphdb.files import write_atomically
from graphdb.records import finite_or_none
from graphdb.shapes import Float
from model.average import Average
from model.checkpoint import digest, read_tensors, save_checkpoint, to_bytes
from model.differences import differences
from model.errors import CheckpointError
from model.graphed import GraphedStep
from model.inference import BatchSource, choose_device, evaluate
from model.metrics import TaskMetrics, score
from model.network import MTCGCNN, Architecture
from model.radii import fit_radii
from model.resident import FilledBatch, ResidentSource, on_device
from model.scaler import TargetScaler
from model.seen import KEY as SEEN
from model.seen import SeenElements
from model.shipped import STATE
from model.step import TrainingStep
from model.train_config import TrainConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochReport:
    """What one epoch did."""

    epoch: int
    """Counted from 1."""
    train_loss: float
    learning_rate: float
    """At the end of the epoch."""
    score: float
    """Mean over tasks of validation MAE over the mean absolute deviation on the training split."""
    metrics: dict[str, TaskMetrics]
    """On the validation split."""
    best_score: float
    best_epoch: int
    """0 before there is one."""
    diverged: bool
    """The loss or the score was not finite."""
    seconds: float
    num_crystals: int
    """Crystals trained on."""

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON-able values; NaN and inf become None."""
        values: dict[str, Any] = finite_or_none(asdict(self))
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The report that `as_dict` wrote."""

        def number(value: Any) -> Any:
            return math.nan if value is None else value

        metrics = {name: TaskMetrics(**{k: number(v) for k, v in m.items()}) for name, m in values["metrics"].items()}
        return cls(**{**{key: number(value) for key, value in values.items()}, "metrics": metrics})


class Trainer:
    """Trains a network epoch by epoch and remembers the weights of the best one."""

    def __init__(
        self,
        *,
        architecture: Architecture,
        config: TrainConfig,
        train: BatchSource,
        validation: BatchSource,
        device: torch.device | str = "auto",
        cuda_graphs: bool = False,
        radii: Float[Tensor, " numbers"] | None = None,
    ) -> None:
        """A network with random weights drawn from ``config.seed``, scaled to the training split.

        Args:
            architecture: sizes of the network.
            config: how to train it.
            train: its tasks are the network's.
            validation: what the score is measured on.
            device: "cpu", "cuda", "mps" or "auto" for the best there is.
            cuda_graphs: record a step for each size of batch and replay it, on batches that are filled up to a few
                sizes (`model.graphed`); needs graphs that lie on the device.
            radii: what `fit_radii` gives for `train`, if it is known; an architecture that needs none ignores it.

        Raises:
            ValueError: for loss weights that are not one per task, a task without spread or without a known value
                in the validation split, or `cuda_graphs` with graphs that are not on the device.
        """
        self.config = config
        self.device = choose_device(device)
        self.tasks = tuple(train.tasks)
        self._train, self._validation = on_device(train, self.device), on_device(validation, self.device)
        self._cuda_graphs = cuda_graphs
        if cuda_graphs and not isinstance(self._train, ResidentSource):
            raise ValueError(
                f"cuda_graphs needs graphs that lie on the device, got {type(train).__name__} on {self.device}; "
                "leave it out, or give a loader over InMemoryGraphs that the device has room for"
            )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.model = MTCGCNN(architecture, self.tasks)
        names = [task.name for task in self.tasks]
        self.model.scaler = TargetScaler.fit(train.targets, names, censored=config.censored)
        if architecture.num_ratio_rbf:
            self.model.radii = fit_radii(train, len(self.model.elements)) if radii is None else radii.clone()
        for column, task in enumerate(self.tasks):
            if np.isnan(validation.targets[:, column]).all():
                raise ValueError(f"a task needs a known value in the validation split, got none of {task.name}")
        self.model.to(self.device)
        self._training_step = TrainingStep(self.model, config)
        self._average = Average(self.model, config) if config.average else None
        self._graphed_step: GraphedStep | None = None
        self.history: list[EpochReport] = []
        self._best: dict[str, Tensor] = {}
        self._seen = SeenElements.nothing([task.name for task in self.tasks])
        self._seen_all = False

    @property
    def epoch(self) -> int:
        """Epochs done."""
        return len(self.history)

    @property
    def best_score(self) -> float:
        """Lowest validation score so far; inf before the first."""
        return self.history[-1].best_score if self.history else math.inf

    @property
    def best_epoch(self) -> int:
        """Its epoch, counted from 1; 0 before the first."""
        return self.history[-1].best_epoch if self.history else 0

    @property
    def finished(self) -> bool:
        """All epochs are done, or patience is at an end, or the run diverged."""
        if not self.history:
            return False
        patience = self.config.patience
        return (
            self.epoch >= self.config.epochs
            or self.history[-1].diverged
            or (patience is not None and self.epoch - self.best_epoch >= patience)
        )

    def run_epoch(self) -> EpochReport:
        """Train over the training split once and measure on the validation split.

        Raises:
            RuntimeError: when the run has finished.
        """
        if self.finished:
            raise RuntimeError(f"this run has finished after {self.epoch} epochs")
        start = time.perf_counter()
        self._train.set_epoch(self.epoch)
        self.model.train()
        steps = len(self._train)
        self._training_step.loss_sum.zero_()
        num_crystals = 0
        rate = 0.0
        for step, batch in enumerate(self._batches()):
            progress = (self.epoch + (step + 1) / steps) / self.config.epochs
            rate = self._learning_rate(progress)
            self._step(batch, rate)
            if self._average is not None:
                self._average.update(progress)
            num_crystals += batch.num_crystals
        self._seen_all = True
        train_loss = float(self._training_step.loss_sum) / num_crystals
        judged = self._average.model if self._average is not None and self._average.begun else self.model
        metrics = evaluate(judged, self._validation, self.device).metrics
        value = score(metrics)
        diverged = not (math.isfinite(train_loss) and math.isfinite(value))
        better = not diverged and value < self.best_score
        if better:
            self._best = {name: tensor.detach().cpu().clone() for name, tensor in judged.state_dict().items()}
        report = EpochReport(
            epoch=self.epoch + 1,
            train_loss=train_loss,
            learning_rate=rate,
            score=value,
            metrics=metrics,
            best_score=value if better else self.best_score,
            best_epoch=self.epoch + 1 if better else self.best_epoch,
            diverged=diverged,
            seconds=time.perf_counter() - start,
            num_crystals=num_crystals,
        )
        self.history.append(report)
        return report

    def _batches(self) -> Iterator[GraphBatch | FilledBatch]:
        """The batches of the epoch on the device; the first epoch tells which elements there are."""
        if isinstance(self._train, ResidentSource):
            if not self._seen_all:
                self._seen.add_known(self._train.known_elements())
            yield from self._train.filled() if self._cuda_graphs else self._train
            return
        for batch in self._train:
            if not self._seen_all:
                self._seen.add(batch)
            yield batch.to(self.device)

    def _step(self, batch: GraphBatch | FilledBatch, rate: float) -> None:
        """One step of Adam."""
        self._training_step.set_rate(rate)
        if isinstance(batch, GraphBatch):
            self._training_step(batch, batch.num_crystals)
            return
        if self._graphed_step is None:
            assert isinstance(self._train, ResidentSource)
            self._graphed_step = GraphedStep(self._training_step, self._train.graphs)
        self._graphed_step(batch)

    def _learning_rate(self, progress: float) -> float:
        """Step size when this share of all steps is done."""
        config = self.config
        rise = min(progress / config.warmup, 1.0) if config.warmup else 1.0
        if config.schedule == "constant":
            return config.learning_rate * rise
        fall = max(progress - config.warmup, 0.0) / (1.0 - config.warmup)
        return config.learning_rate * rise * (0.001 + 0.999 * (1 + math.cos(math.pi * fall)) / 2)

    def best_model(self) -> MTCGCNN:
        """The network at its best epoch, in evaluation mode, on the CPU.

        Raises:
            RuntimeError: when no epoch had a finite score.
        """
        self._check_best()
        model = MTCGCNN(self.model.architecture, self.tasks, self._best["elements"])
        model.load_state_dict(self._best)
        return model.eval()

    def save_best(self, folder: str | Path, info: Mapping[str, Any] | None = None) -> None:
        """Write the checkpoint of the best epoch (`model.checkpoint`), its metrics and configuration included.

        Raises:
            RuntimeError: when no epoch had a finite score.
        """
        self._check_best()
        best = self.history[self.best_epoch - 1]
        found = {
            "train": self.config.as_dict(),
            "best_epoch": self.best_epoch,
            "epochs": self.epoch,
            "score": best.score,
            "metrics": {"validation": best.as_dict()["metrics"]},
            **({SEEN: self._seen.as_info()} if self._seen_all else {}),
            **(info or {}),
        }
        save_checkpoint(folder, self.model, found, self._best)

    def _check_best(self) -> None:
        if not self._best:
            raise RuntimeError("no epoch had a finite validation score: there is no best model")

    def save_state(self, folder: str | Path, origin: Mapping[str, Any] | None = None) -> None:
        """Write everything needed to go on after a kill as if nothing had happened: one file, replaced at once.

        Args:
            folder: made if it is not there.
            origin: JSON-able values that tell what is trained on; `load_state` compares them.
        """
        tensors = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        tensors |= {f"best.{name}": tensor for name, tensor in self._best.items()}
        if self._average is not None and self._average.begun:
            tensors |= {f"average.{name}": tensor for name, tensor in self._average.model.state_dict().items()}
        for index, slot in self._training_step.optimizer.state_dict()["state"].items():
            tensors |= {f"adam.{index}.{name}": torch.as_tensor(value) for name, value in slot.items()}
        if self._seen_all:
            tensors["seen"] = torch.from_numpy(self._seen.seen)
        metadata = {
            "architecture": json.dumps(self.model.architecture.as_dict()),
            "config": json.dumps(self.config.as_dict()),
            "tasks": json.dumps([task.label for task in self.tasks]),
            "history": json.dumps([report.as_dict() for report in self.history]),
            "origin": json.dumps(dict(origin or {})),
        }
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        metadata["sha256"] = _digest(tensors, metadata)
        write_atomically(Path(folder) / STATE, to_bytes(tensors, metadata))

    def load_state(self, folder: str | Path, origin: Mapping[str, Any] | None = None) -> None:
        """Go on from `save_state`.

        Args:
            folder: that holds the state.
            origin: what is trained on now.

        Raises:
            CheckpointError: for a damaged file or one of another network, configuration or origin.
        """
        path = Path(folder) / STATE
        tensors, metadata = read_tensors(path, advice="remove it to start again")
        expected = {
            "architecture": self.model.architecture.as_dict(),
            "config": self.config.as_dict(),
            "tasks": [task.label for task in self.tasks],
        }
        advice = "give the same settings as before, take another folder, or remove this file to start again"
        try:
            damaged = metadata["sha256"] != _digest(tensors, metadata)
            found = {name: json.loads(metadata[name]) for name in expected}
            # An older version had fewer settings: what it lacks was as it is by default.
            found["architecture"] = {**Architecture().as_dict(), **found["architecture"]}
            found["config"] = {**TrainConfig().as_dict(), **found["config"]}
            found_origin = json.loads(metadata.get("origin", "{}"))
            history = [EpochReport.from_dict(report) for report in json.loads(metadata["history"])]
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"{path} is not a training state ({type(error).__name__}: {error}); remove it to start again"
            ) from error
        if damaged:
            raise CheckpointError(f"{path} is damaged, its checksum does not match; remove it to start again")
        if origin is not None and found_origin:
            expected, found = {**expected, **origin}, {**found, **found_origin}
        if changed := differences(json.loads(json.dumps(expected)), found):
            raise CheckpointError(f"{path} must be of a run with the same settings, but {changed}; {advice}")
        self._check_targets(path, tensors, advice)

        def part(prefix: str) -> dict[str, Tensor]:
            return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}

        self.model.load_state_dict({"scaler.floor": self.model.scaler.floor, **part("model.")})
        self._best = part("best.")
        if self._average is not None:
            self._average.load(part("average."))
        if "seen" in tensors:  # an older state has none; the next epoch meets all training crystals again
            self._seen.seen[:] = tensors["seen"].numpy()
            self._seen_all = True
        slots: dict[int, dict[str, Tensor]] = {}
        for name, tensor in part("adam.").items():
            index, key = name.split(".", 1)
            slots.setdefault(int(index), {})[key] = tensor
        self._graphed_step = None  # what it recorded works on the tensors that are replaced here
        self._training_step.optimizer.load_state_dict({**self._training_step.optimizer.state_dict(), "state": slots})
        self.history = history

    def _check_targets(self, path: Path, tensors: Mapping[str, Tensor], advice: str) -> None:
        """Refuse the state of a training on other targets."""
        for name in ("mean", "std"):
            mine, theirs = self.model.scaler.state_dict()[name].cpu(), tensors[f"model.scaler.{name}"]
            if not torch.allclose(mine, theirs, rtol=1e-4):
                raise CheckpointError(
                    f"{path} must be of a run with the same training targets, but their {name} was {theirs.tolist()} "
                    f"and is now {mine.tolist()}; {advice}"
                )


def _digest(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """Of all tensors and of the metadata but the checksum itself."""
    return digest(tensors, json.dumps({k: metadata[k] for k in sorted(metadata) if k != "sha256"}))
