"""What a training needs of batches that are put together on its device."""

from collections.abc import Hashable, Iterator
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from graphdb.batch import GraphBatch
from graphdb.shapes import Bool, Int
from model.inference import BatchSource


class FilledBatch(Protocol):
    """A batch before it is gathered, to be filled up to one of a few sizes."""

    @property
    def rows(self) -> Int[Tensor, " crystals"]:
        """Its crystals and fillers, on the device."""

    @property
    def size(self) -> Hashable:
        """Sizes of its arrays."""

    @property
    def num_crystals(self) -> int:
        """Without the fillers."""


class Gatherer(Protocol):
    """Puts batches together on a device."""

    def gather(self, rows: Int[Tensor, " crystals"], size: Any) -> GraphBatch:
        """The crystals at these positions, which have this size."""


@runtime_checkable
class ResidentSource(BatchSource, Protocol):
    """Batches of graphs that lie on the device."""

    graphs: Gatherer

    def filled(self) -> Iterator[FilledBatch | GraphBatch]:
        """The batches of this epoch, to be filled up; as it is one that cannot be."""

    def known_elements(self) -> Bool[NDArray[np.bool_], "tasks numbers"]:
        """The elements, by atomic number, of crystals with a known target, on the host."""


@runtime_checkable
class _Movable(Protocol):
    def on(self, device: torch.device | str) -> BatchSource | None:
        """The same batches, put together on a device; None if the graphs cannot lie there."""


def on_device(source: BatchSource, device: torch.device) -> BatchSource:
    """The source itself, or on a CUDA device the same batches put together there if their graphs have room."""
    if device.type == "cuda" and isinstance(source, _Movable):
        return source.on(device) or source
    return source
