"""The worker process: one epoch of a training per step, handed to the driver with all that has to be kept of it."""

import json
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import ray
from numpy.typing import NDArray
from ray import tune

from graphdb.records import finite_or_none
from tuner.cluster.temporary import MEMORY, prefix_of
from tuner.protocol import EpochTrainer, TrainerFactory, TrainingSpec
from tuner.run import trial_folder

T = TypeVar("T")
REPORT_KEY, STATE_KEY, BEST_KEY = "report", "state", "best"
"""Of a step's result: what `EpochResult` says in JSON; its state and its best checkpoint, each an opaque array."""
STATE_BYTES_PER_SECOND = 1e6
"""What a training hands over of states: to save, send and write a megabyte takes a hundredth of a second."""
_SMALL_STATE = 100_000
"""Bytes of a state that are handed over after every epoch."""
_BUILD_SECONDS = 3600.0
"""For the first step: a node may have to fetch the crystals before."""


class Opaque(Generic[T]):
    """Holds what Tune shall neither copy nor print: it copies each configuration many times, and prints each result."""

    def __init__(self, content: T) -> None:
        """Hold it until `content` is set to something else."""
        self.content = content

    def __deepcopy__(self, memo: object) -> "Opaque[T]":
        return self

    def __repr__(self) -> str:
        return "..."


SavedState = Opaque["ray.ObjectRef[bytes] | None"]
"""A state on its way to a worker, or None for none."""


class TrainingWorker(tune.Trainable):
    """Runs one training after the other in the same process (Tune's ``reuse_actors``).

    Nothing is built before the first step: what fails there, fails as an attempt at the training, with a traceback.
    Only a temporary folder of the node is written to, so it does not matter how long a process that the driver has
    given up lives on.
    """

    def setup(self, config: dict[str, Any], factory: TrainerFactory) -> None:  # type: ignore[override]
        """Take what is needed for all trainings, and the first training."""
        self._factory = factory
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take another training; True, or else Tune would start another process."""
        self._spec = TrainingSpec.from_dict(new_config["training"])
        self._saved_state: SavedState = new_config["state"]
        self._trainer: EpochTrainer | None = None
        self._best_sent = False
        self._next_state_time = 0.0
        return True

    def step(self) -> dict[str, Any]:
        """One epoch."""
        if self._trainer is None:
            with _killed_after(max(self._spec.epoch_timeout, _BUILD_SECONDS)):
                self._trainer = self._begin()
        trainer = self._trainer
        with _killed_after(self._spec.epoch_timeout):
            body = finite_or_none(trainer.run_epoch().as_dict())
            result: dict[str, Any] = {
                REPORT_KEY: json.dumps({"epoch": trainer.epoch, "finished": trainer.finished, "body": body})
            }
            if trainer.best_epoch and (trainer.best_epoch == trainer.epoch or not self._best_sent):
                result[BEST_KEY] = _packed(
                    lambda folder: trainer.save_best(folder, self._factory.provenance(self._spec))
                )
                self._best_sent = True
            if not trainer.finished and time.monotonic() >= self._next_state_time:
                result[STATE_KEY] = _packed(trainer.save_state)
                seconds = (result[STATE_KEY].content.nbytes - _SMALL_STATE) / STATE_BYTES_PER_SECOND
                self._next_state_time = time.monotonic() + max(seconds, self._spec.state_every)
        return result

    def _begin(self) -> EpochTrainer:
        """Build the training, and load the state that came with it, if it can be loaded."""
        trainer = self._factory.build(self._spec)
        if self._saved_state.content is None:
            return trainer
        content = ray.get(self._saved_state.content)
        self._saved_state.content = None
        with tempfile.TemporaryDirectory() as folder:
            try:
                trial_folder.unpack(content, Path(folder))
                trainer.load_state(Path(folder))
            except (OSError, ValueError, KeyError):
                return self._factory.build(self._spec)  # Torn by a power cut: begin again.
        return trainer


def _packed(save: Callable[[Path], None]) -> Opaque[NDArray[np.uint8]]:
    """As an array: its bytes lie in shared memory, and the driver reads them there."""

    def packed(place: str | None) -> Opaque[NDArray[np.uint8]]:
        with tempfile.TemporaryDirectory(prefix=prefix_of("saved"), dir=place) as parent:
            folder = Path(parent) / "saved"
            save(folder)
            return Opaque(np.frombuffer(trial_folder.pack(folder), np.uint8))

    with suppress(OSError):  # there is no such folder, or it is full
        return packed(str(MEMORY))  # where it costs nothing to wait until a file is on the disk
    return packed(None)


@contextmanager
def _killed_after(seconds: float) -> Iterator[None]:
    """Have the kernel end this process if it takes longer, which works also where Python's own threads hang.

    Nobody handles SIGALRM, so its default action applies. The driver sees a lost worker, and tells by the time why.
    """
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
