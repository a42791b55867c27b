"""The worker process: one epoch of a training per step, handed to the driver with all that has to be kept of it."""

import json
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray
from ray import tune

from tuner.run import jsonlines, trial_folder
from tuner.trials.interfaces import EpochTrainer, TrainerFactory, TrainingSpec

PAYLOAD, STATE, BEST = "payload", "state", "best"
_BUILD_SECONDS = 3600.0
"""For the first step: a node may have to fetch the crystals before."""


class StateHandle:
    """A state on its way to a worker. Tune copies configurations many times and keeps them; this is never copied."""

    def __init__(self, reference: "ray.ObjectRef[bytes] | None") -> None:
        """Carry an object of Ray's; set `reference` to None to let it go."""
        self.reference = reference

    def __deepcopy__(self, memo: Any) -> "StateHandle":
        """The same one."""
        return self

    def __repr__(self) -> str:
        return "state" if self.reference is not None else "no state"


class PackedFolder:
    """Bytes on their way to the driver. Tune puts each result into words, four times; these are few."""

    def __init__(self, content: NDArray[np.uint8]) -> None:
        """Carry an array: that travels without being copied."""
        self.content = content

    def __repr__(self) -> str:
        return f"{self.content.size} bytes"


class TrainingWorker(tune.Trainable):
    """Runs one training after the other in the same process (Tune's ``reuse_actors``).

    Nothing is built before the first step: what fails there, fails as an attempt at the training, with a traceback.
    Nothing is written but to a temporary folder of the node, so it does not matter how long a process that the driver
    has given up lives on.
    """

    def setup(self, config: dict[str, Any], factory: TrainerFactory) -> None:  # type: ignore[override]
        """Take what is needed for all trainings, and the first training."""
        self._factory = factory
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take another training."""
        self._job = TrainingSpec.from_dict(new_config["training"])
        self._start_from: StateHandle = new_config["state"]
        self._trainer: EpochTrainer | None = None
        self._kept_best = False
        self._next_state = 0.0
        return True

    def step(self) -> dict[str, Any]:
        """One epoch."""
        if self._trainer is None:
            with _ended_after(max(self._job.epoch_timeout, _BUILD_SECONDS)):
                self._trainer = self._begin()
        trainer = self._trainer
        with _ended_after(self._job.epoch_timeout):
            body = jsonlines.finite_or_none(trainer.run_epoch().as_dict())
            result: dict[str, Any] = {
                PAYLOAD: json.dumps({"epoch": trainer.epoch, "finished": trainer.finished, "body": body})
            }
            # As arrays the bytes lie in shared memory, and the driver reads them there.
            if trainer.best_epoch and (trainer.best_epoch == trainer.epoch or not self._kept_best):
                result[BEST] = _packed(lambda folder: trainer.save_best(folder, self._factory.provenance(self._job)))
                self._kept_best = True
            if not trainer.finished and time.monotonic() >= self._next_state:
                result[STATE] = _packed(trainer.save_state)
                self._next_state = time.monotonic() + self._job.state_every
        return result

    def _begin(self) -> EpochTrainer:
        """Build the training, and go on from the state that came along, if it loads."""
        trainer = self._factory.build(self._job)
        if self._start_from.reference is None:
            return trainer
        content = ray.get(self._start_from.reference)
        self._start_from.reference = None
        with tempfile.TemporaryDirectory() as folder:
            try:
                trial_folder.unpack(content, Path(folder))
                trainer.load_state(Path(folder))
            except (OSError, ValueError, KeyError):
                return self._factory.build(self._job)  # Torn by a power cut: the beginning is the next best.
        return trainer


def _packed(save: Callable[[Path], None]) -> PackedFolder:
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "saved"
        save(folder)
        return PackedFolder(np.frombuffer(trial_folder.pack(folder), np.uint8))


@contextmanager
def _ended_after(seconds: float) -> Iterator[None]:
    """Have the kernel end this process if it takes longer: that works also where Python's own threads hang.

    Nobody handles SIGALRM, so its default action applies. The driver sees a lost worker, and knows by the time.
    """
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
