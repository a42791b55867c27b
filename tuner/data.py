"""Which crystals a search trains on, chooses by and is measured on."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from graphdb.check import TargetsError, checked_split
from graphdb.command import os_error_text
from graphdb.copies import local_copy
from graphdb.errors import CorruptRecord, GraphDBError, TaskError
from graphdb.sample import TASKS, sample_store
from graphdb.split import DEFAULT_FRACTIONS, Split
from graphdb.store import Store
from tuner.errors import OtherCrystals, SearchError, TasksNotThere

if TYPE_CHECKING:
    from graphdb.loader import InMemoryGraphs, Loader, StreamedGraphs

IN_MEMORY_BYTES = 2**30
"""Crystals that take more in memory (about half a million of the Materials Project's) are streamed from the store."""
_BATCH = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class Crystals:
    """The crystals of a search, with their fixed split."""

    graphs: "InMemoryGraphs | StreamedGraphs"
    split: Split
    store: str
    """Where they came from."""

    def known(self, part: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those of a part that have at least one target."""
        kept: NDArray[np.int64] = part[~np.isnan(self.graphs.targets[part]).all(axis=1)]
        return kept

    def test_batches(self) -> "Loader":
        """The test split, which every measurement of a finished model goes over."""
        from graphdb.loader import Loader  # torch

        return Loader(self.graphs, self.known(self.split.test), batch_size=_BATCH)


def load_crystals(
    store: str | None,
    tasks: list[str] | None,
    *,
    fractions: tuple[float, float, float] = DEFAULT_FRACTIONS,
    fingerprint: str | None = None,
    say: Callable[[str], None] | None = None,
) -> Crystals:
    """Read a store, or the sample that ships, and split it.

    Args:
        store: path or URI; None for the sample.
        tasks: properties wanted; all when None.
        fractions: shares of training, validation and test split.
        fingerprint: of the store that is expected; any when None.
        say: told what is waited for.

    Raises:
        TasksNotThere: if the store lacks a task.
        OtherCrystals: if the store has another fingerprint.
        SearchError: if the store cannot be read, or its crystals cannot be trained on.
    """
    what = "the sample that ships" if store is None else f"--store {store}"
    try:
        if store is None:
            graphs = _open(sample_store(), list(TASKS) if tasks is None else tasks)
        else:
            graphs = _open_copy(store, tasks, say)
        if fingerprint is not None and graphs.fingerprint != fingerprint:
            raise OtherCrystals(
                f"the store must be the one that was searched over (fingerprint {fingerprint[:12]}), but {what} has "
                f"{graphs.fingerprint[:12]}: its crystals or targets have changed; search over it anew"
            )
        names = [task.name for task in graphs.tasks]
        split = checked_split(graphs.material_ids, graphs.targets, names, fractions=fractions, what=what)
    except TaskError as error:
        raise TasksNotThere(f"--tasks cannot be had from {what}: {error}") from error
    except TargetsError as error:
        raise SearchError(str(error)) from error
    except (GraphDBError, OSError, ValueError) as error:
        reason = os_error_text(error) if isinstance(error, OSError) else str(error)
        raise SearchError(f"{what} cannot be searched over: {reason}") from error
    return Crystals(graphs=graphs, split=split, store=store if store is not None else "sample")


def _open_copy(
    store: str, tasks: list[str] | None, say: Callable[[str], None] | None
) -> "InMemoryGraphs | StreamedGraphs":
    path = local_copy(store, say=say)
    try:
        return _open(path, tasks)
    except CorruptRecord:
        if path == Path(store):
            raise
        path.unlink()  # a copy is not kept for its own sake
        return _open(local_copy(store, say=say), tasks)


def _open(path: Path, tasks: list[str] | None) -> "InMemoryGraphs | StreamedGraphs":
    from graphdb.loader import InMemoryGraphs, StreamedGraphs  # torch

    with Store(path) as store:
        small = store.bytes_in_memory <= IN_MEMORY_BYTES
    return InMemoryGraphs.from_store(path, tasks) if small else StreamedGraphs(path, tasks)
