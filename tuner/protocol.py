"""What passes between the bookkeeping, the executor and the worker processes: plain data and three small interfaces."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, Self

from graphdb.records import Value, read_record


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingSpec:
    """One training to be done, or to be gone on with."""

    key: str
    """Unique among the trainings of a work, e.g. the trial number."""
    params: Mapping[str, Value]
    """Hyperparameters as the sampler chose them."""
    seed: int
    """Decides initial weights and the order of batches."""
    epochs: int
    """Epochs of the whole training."""
    gpus: float | None = None
    """GPUs that it occupies; None for what all trainings occupy. Grows when their memory did not suffice."""
    epoch_timeout: float = 3600.0
    """Seconds that an epoch may take before the process that trains it is taken for hung, and ended."""
    state_every: float = 0.0
    """Seconds between two states handed over, at least: more than 0 when many trainings share one driver."""

    def as_dict(self) -> dict[str, Any]:
        """Plain types, for the way to the worker."""
        return {**asdict(self), "params": dict(self.params)}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """Back from `as_dict`."""
        return read_record(cls, content, "a training")


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochResult:
    """What a worker says after an epoch, with what has to be kept; the worker itself keeps nothing."""

    epoch: int
    """1-based."""
    finished: bool
    """No further epoch will come (budget used up, or early stopping)."""
    body: Mapping[str, Any]
    """`model.training.EpochReport.as_dict()` with None for what is not finite."""
    state: bytes | None = None
    """All it takes to go on after this epoch (`tuner.run.trial_folder.pack`); None when it is not handed over."""
    best: bytes | None = None
    """The checkpoint, packed, when this epoch is the best so far."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """How an attempt at a training ended badly."""

    kind: Literal["exception", "lost worker", "out of GPU memory"]
    reason: str
    """One line: the exception and its message."""
    details: str
    """The whole traceback."""


class TrainingQueue(Protocol):
    """Trainings to be done, and what is done about their results. Called by the executor, in one thread."""

    def next_training(self) -> TrainingSpec | None:
        """A training to start now, or None if there is none at the moment."""

    def done(self) -> bool:
        """Whether no training runs and none will come."""

    def saved_state(self, key: str) -> bytes | None:
        """What a training goes on from; None for its beginning."""

    def on_start(self, key: str) -> None:
        """Take that a process works on a training; until then it waits for one."""

    def on_result(self, key: str, report: EpochResult) -> bool:
        """Take an epoch's report; return whether the training goes on."""

    def on_failure(self, key: str, failure: Failure) -> None:
        """Take a failed attempt. If the training deserves another one, `next_training` hands it out again."""


class EpochTrainer(Protocol):
    """What is asked of a training, see `model.training.Trainer`."""

    @property
    def epoch(self) -> int:
        """Epochs trained so far."""

    @property
    def best_epoch(self) -> int:
        """Epoch of the best score, 0 before the first."""

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to train."""

    def run_epoch(self) -> Any:
        """Train one epoch and return an object with ``as_dict()``."""

    def save_state(self, folder: Path) -> None:
        """Save all it takes to go on, atomically."""

    def load_state(self, folder: Path) -> None:
        """Go on from a saved state."""

    def save_best(self, folder: Path, extra: dict[str, Any]) -> None:
        """Save the checkpoint of the best epoch."""


class TrainerFactory(Protocol):
    """Makes the trainer of a training; travels to the workers once."""

    def build(self, spec: TrainingSpec) -> EpochTrainer:
        """A training at epoch 0."""

    def provenance(self, spec: TrainingSpec) -> dict[str, Any]:
        """What the checkpoint's config.json shall say of the training."""
