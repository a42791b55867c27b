"""Batches to predictions and errors, on whatever device there is."""

import math
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from graphdb.batch import GraphBatch, Task
from graphdb.shapes import Float, Int
from model.errors import DeviceError
from model.metrics import TaskMetrics, task_metrics
from model.network import MTCGCNN

Given = TypeVar("Given")
Result = TypeVar("Result")


class BatchSource(Protocol):
    """What `Trainer` needs of a loader."""

    @property
    def tasks(self) -> Sequence[Task]:
        """What the target columns are."""

    @property
    def targets(self) -> Float[NDArray[np.float32], "crystals tasks"]:
        """NaN where unknown."""

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next iteration."""

    def __len__(self) -> int:
        """Batches of this epoch."""

    def __iter__(self) -> Iterator[GraphBatch]:
        """The batches of this epoch."""


def predict(
    model: MTCGCNN, batches: Iterable[GraphBatch], device: torch.device | str = "cpu"
) -> tuple[Float[NDArray[np.float32], "crystals tasks"], Int[NDArray[np.int64], " crystals"]]:
    """Predictions of all crystals of some batches.

    Returns:
        In the units of the tasks, and `GraphBatch.index` of each row.
    """
    model.eval()
    rows = [torch.empty((0, len(model.tasks)), device=device)]
    index = [torch.empty(0, dtype=torch.int64)]
    for batch in batches:
        rows.append(model.predict(batch.to(device)))  # left on the device: the next batch need not wait for it
        index.append(batch.index)
    return _join(rows), _join(index)


def _join(parts: list[Tensor]) -> NDArray[Any]:
    """The rows of all parts, on the host; the first part tells dtype and width."""
    return torch.cat([part.to(parts[-1].device) for part in parts]).cpu().numpy()


def in_order(work: Callable[[Given], Result], items: Iterable[Given], num_threads: int = 1) -> Generator[Result]:
    """What `work` makes of each item, in their order; of several at a time if there are threads for it.

    PyTorch's operations let go of the interpreter, so that threads compute side by side. Two results more than there
    are threads are made ahead of the one that is wanted.
    """
    if num_threads == 1:
        yield from map(work, items)
        return
    pool = ThreadPoolExecutor(num_threads)
    try:
        running: deque[Future[Result]] = deque()
        for item in items:
            running.append(pool.submit(work, item))
            while running and (len(running) > num_threads + 2 or running[0].done()):
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Predictions and errors of a model over some crystals, in the units of the tasks."""

    metrics: dict[str, TaskMetrics]
    """By task."""
    index: Int[NDArray[np.int64], " crystals"]
    """`GraphBatch.index`."""
    target: Float[NDArray[np.float32], "crystals tasks"]
    """NaN where unknown."""
    prediction: Float[NDArray[np.float32], "crystals tasks"]


def evaluate(model: MTCGCNN, batches: Iterable[GraphBatch], device: torch.device | str = "cpu") -> Evaluation:
    """Measure a model on all crystals of some batches: the one way to do it, in and after training.

    Args:
        model: on the device.
        batches: in any order; it is that of the rows.
        device: of the model.
    """
    targets = [torch.empty((0, len(model.tasks)))]

    def remembering() -> Iterator[GraphBatch]:
        for batch in batches:
            targets.append(batch.target.masked_fill(~batch.target_mask, math.nan))
            yield batch

    prediction, index = predict(model, remembering(), device)
    target = _join(targets)
    mad = model.scaler.mad.cpu().numpy()
    metrics = task_metrics(prediction, target, mad, [task.name for task in model.tasks])
    return Evaluation(metrics=metrics, index=index, target=target, prediction=prediction)


def choose_device(name: torch.device | str = "auto") -> torch.device:
    """The device of this name, or for "auto" the best there is.

    Raises:
        DeviceError: for a device that this machine or this build of PyTorch does not have; names those it has.
    """
    if name == "auto":
        return torch.device(_devices()[-1])
    try:
        device = torch.device(name)
        if device.type == "meta":  # computes nothing
            raise RuntimeError
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        there = ", ".join(_devices())
        raise DeviceError(f"device must be auto or one that is here, got {str(name)!r}; there are: {there}") from error
    return device


def _devices() -> list[str]:
    """Devices of this machine, the best one last."""
    found = {"cpu": True, "mps": torch.backends.mps.is_available(), "cuda": torch.cuda.is_available()}
    return [name for name, there in found.items() if there]
