"""Batches of graphs, from memory or streamed from LMDB: the same ones for the same seed either way."""

import copy
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray

from graphdb.batch import GraphBatch, Task, collate, sender_order
from graphdb.command import did_you_mean
from graphdb.device import DeviceGraphs, DeviceLoader, fits
from graphdb.errors import CorruptRecord, StoreError, TaskError
from graphdb.graph import FlatGraphs
from graphdb.graphsettings import GraphSettings
from graphdb.shapes import Float, Int


class GraphSource(Protocol):
    """Graphs with their targets, by position."""

    tasks: tuple[Task, ...]
    targets: Float[NDArray[np.float32], "crystals tasks"]
    """NaN where unknown."""
    num_nodes: Int[NDArray[np.int64], " crystals"]
    """Nodes of each graph."""
    settings: GraphSettings
    fingerprint: str

    @property
    def material_ids(self) -> Sequence[str]:
        """Of the crystals."""

    def __len__(self) -> int:
        """Number of crystals."""

    def collate(self, indices: Int[NDArray[np.int64], " crystals"]) -> GraphBatch:
        """The crystals at these positions, in this order."""


class InMemoryGraphs:
    """All graphs as flat arrays: a batch is a gather. 60 MB hold 100,000 crystals of the Materials Project.

    Its arrays pickle out of band (protocol 5): from Ray's object store, every process of a node maps the same pages.
    """

    def __init__(
        self,
        flat: FlatGraphs,
        *,
        material_ids: Sequence[str],
        tasks: Sequence[Task],
        targets: Float[NDArray[Any], "crystals tasks"],
        settings: GraphSettings,
        fingerprint: str = "",
    ) -> None:
        """See `GraphSource`.

        Raises:
            ValueError: if the lengths of graphs, ids and targets disagree.
        """
        self.flat = flat
        self.tasks = tuple(tasks)
        self.material_ids = material_ids
        self.targets = np.asarray(targets, np.float32)
        self.settings = settings
        self.fingerprint = fingerprint
        self.num_nodes: NDArray[np.int64] = np.diff(flat.atom_ptr)
        self._order = sender_order(flat)
        self._on_devices: dict[torch.device, DeviceGraphs] = {}
        if self.targets.shape != (len(self), len(self.tasks)) or len(material_ids) != len(self):
            raise ValueError(
                f"targets must be ({len(self)}, {len(self.tasks)}) and ids {len(self)} for {len(self)} graphs, "
                f"got {self.targets.shape} and {len(material_ids)}"
            )

    @classmethod
    def from_store(cls, path: str | Path, tasks: Sequence[str] | None = None) -> Self:
        """Read a whole store.

        Args:
            path: a store that `graphdb.build` wrote.
            tasks: names of the properties wanted, in this order; all of the store when None.

        Raises:
            ValueError: for a property that the store does not have.
        """
        from graphdb.store import Store

        with Store(path) as store:
            chosen = choose_tasks(store.properties, tasks, str(store.path))
            return cls(
                store.flat(),
                material_ids=store.material_ids,
                tasks=chosen,
                targets=store.targets([task.name for task in chosen]),
                settings=store.settings,
                fingerprint=store.fingerprint,
            )

    @property
    def nbytes(self) -> int:
        """Memory of the arrays."""
        arrays = [getattr(self.flat, field.name) for field in fields(self.flat)]
        return sum(
            array.nbytes for array in (*arrays, self.targets, self.num_nodes, self._order.edge, self._order.count)
        )

    def without_ids(self) -> Self:
        """The same arrays, for processes that need no ids: as text they would be copied into each of them."""
        other = copy.copy(self)
        other.material_ids = ()
        return other

    def on(self, device: torch.device | str) -> DeviceGraphs:
        """The same graphs on a device, copied there once."""
        device = torch.device(device)
        if device not in self._on_devices:
            self._on_devices[device] = DeviceGraphs(self.flat, self.targets, device)
        return self._on_devices[device]

    def is_on(self, device: torch.device | str) -> bool:
        """Whether they were copied there."""
        return torch.device(device) in self._on_devices

    def __getstate__(self) -> dict[str, Any]:
        """Everything but what lies on devices."""
        return {**self.__dict__, "_on_devices": {}}

    def __len__(self) -> int:
        """Number of graphs."""
        return len(self.flat.num_atoms)

    def collate(self, indices: Int[NDArray[np.int64], " crystals"]) -> GraphBatch:
        """The crystals at these positions, in this order."""
        return collate(self.flat, indices, self.targets, order=self._order)


class StreamedGraphs:
    """Graphs read from LMDB when a batch asks for them: for stores larger than memory.

    Each process opens the store for itself, and all of a node share its pages through the page cache. Pickling carries
    the path and the two arrays, which come out of band as those of `InMemoryGraphs` do: 20 bytes a crystal for three
    tasks. The ids stay in the store.
    """

    def __init__(self, path: str | Path, tasks: Sequence[str] | None = None) -> None:
        """As `InMemoryGraphs.from_store`."""
        from graphdb.store import Store

        self.path = Path(path)
        with Store(path) as store:
            self.tasks = choose_tasks(store.properties, tasks, str(store.path))
            names = [task.name for task in self.tasks]
            self.targets: NDArray[np.float32] = store.targets(names).astype(np.float32)
            self.num_nodes: NDArray[np.int64] = store.sizes[:, 1].astype(np.int64)
            self.settings = store.settings
            self.fingerprint = store.fingerprint
        self._store: Any = None  # LMDB refuses a file that was open when the process forked
        self._disposable = False

    @property
    def nbytes(self) -> int:
        """Memory of the arrays."""
        return self.targets.nbytes + self.num_nodes.nbytes

    @property
    def material_ids(self) -> tuple[str, ...]:
        """Of the crystals, read anew each time."""
        from graphdb.store import Store

        with Store(self.path) as store:
            return store.material_ids

    def at(self, path: Path) -> Self:
        """The same graphs from a copy of the store that is deleted when it proves damaged, so that it is fetched anew.

        Raises:
            StoreError: if there is another store at that path.
        """
        other = copy.copy(self)
        other.path, other._store, other._disposable = path, None, path != self.path
        other._open()
        return other

    def __len__(self) -> int:
        """Number of graphs."""
        return len(self.num_nodes)

    def collate(self, indices: Int[NDArray[np.int64], " crystals"]) -> GraphBatch:
        """The crystals at these positions, in this order."""
        try:
            flat = self._open().flat(indices)
        except CorruptRecord:
            if self._disposable:
                self.path.unlink(missing_ok=True)
            raise
        return collate(flat, np.arange(len(indices)), self.targets[indices], index=indices)

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the open store."""
        return {**self.__dict__, "_store": None}

    def _open(self) -> Any:
        from graphdb.store import Store

        if self._store is None:
            store = Store(self.path)
            if store.fingerprint != self.fingerprint:
                raise StoreError(
                    f"{self.path} was replaced meanwhile: fingerprint {self.fingerprint[:16]} became "
                    f"{store.fingerprint[:16]}"
                )
            self._store = store
        return self._store


def choose_tasks(properties: Any, names: Sequence[str] | None, store: str = "the store") -> tuple[Task, ...]:
    """The tasks of these names with the store's units.

    Args:
        properties: a store's ``properties``, name -> object with a ``unit``.
        names: in the order wanted; all when None.
        store: what it is called, for messages.

    Raises:
        TaskError: for no task, an unknown one or one named twice.
    """
    chosen = list(properties) if names is None else list(names)
    known = ", ".join(properties)
    if not properties:
        raise TaskError(f"a model needs at least one task, but {store} has no properties; build it with --targets")
    if not chosen:
        raise TaskError(f"a model needs at least one task, got none; the store has {known}")
    for name in chosen:
        if name not in properties:
            hint = did_you_mean(name, properties) or ";"
            raise TaskError(f"tasks must be properties of the store, got {name!r}{hint} it has {known}")
    if len(set(chosen)) < len(chosen):
        raise TaskError(f"each task must be named once, got {', '.join(chosen)}")
    return tuple(Task(name, properties[name].unit) for name in chosen)


class Loader:
    """An iterable of batches; iterating it again after `set_epoch` gives another order.

    The batches depend on (seed, epoch) and the bounds alone, not on the number of workers.
    """

    def __init__(
        self,
        graphs: GraphSource,
        indices: Int[NDArray[Any], " crystals"] | None = None,
        *,
        batch_size: int,
        shuffle: bool = False,
        seed: int = 0,
        max_atoms: int | None = None,
        num_workers: int = 0,
    ) -> None:
        """Batches over some crystals of a source.

        Args:
            graphs: where crystals come from.
            indices: positions of the crystals to go over; all when None.
            batch_size: crystals in a batch, at most. Batches of an epoch differ by one crystal at most.
            shuffle: a new order each epoch.
            seed: of the order.
            max_atoms: nodes (classes of equivalent atoms) in a batch, at most; a larger crystal comes alone.
            num_workers: processes that read ahead; 0 reads in this one. Worth it for `StreamedGraphs` only.

        Raises:
            ValueError: for an empty selection or a bound below 1.
        """
        self.graphs = graphs
        self.indices: NDArray[np.int64] = np.asarray(np.arange(len(graphs)) if indices is None else indices, np.int64)
        for name, value in (("batch_size", batch_size), ("max_atoms", max_atoms), ("crystals", len(self.indices))):
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.max_atoms = max_atoms
        self.epoch = 0
        self._loader: Any = None
        if num_workers:
            self._loader = torch.utils.data.DataLoader(
                _ByPositions(graphs),
                batch_size=None,
                # No cycle of references: the garbage collector would close the queues before the workers were told to
                # end, and each of them would be waited for five seconds.
                sampler=_Plan(weakref.proxy(self)),
                num_workers=num_workers,
                persistent_workers=True,
                prefetch_factor=4,
            )

    @property
    def targets(self) -> Float[NDArray[np.float32], "crystals tasks"]:
        """Targets of the crystals of this loader, NaN where unknown."""
        return self.graphs.targets[self.indices]

    @property
    def tasks(self) -> tuple[Task, ...]:
        """What the columns are."""
        return self.graphs.tasks

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next iteration."""
        self.epoch = epoch

    def plan(self) -> list[Int[NDArray[np.int64], " crystals"]]:
        """The positions in each batch of this epoch."""
        order = self.indices
        if self.shuffle:
            order = np.random.default_rng([self.seed, self.epoch]).permutation(order)
        if self.max_atoms is None:
            return np.array_split(order, -(-len(order) // self.batch_size))
        batches, start, atoms = [], 0, 0
        for stop, nodes in enumerate(self.graphs.num_nodes[order]):
            if stop > start and (stop - start == self.batch_size or atoms + nodes > self.max_atoms):
                batches.append(order[start:stop])
                start, atoms = stop, 0
            atoms += nodes
        return [*batches, order[start:]]

    def on(self, device: torch.device | str) -> DeviceLoader | None:
        """The same batches, gathered on a device.

        Returns:
            None if the graphs are read from disk or would take more than half of the device's free memory.
        """
        if isinstance(self.graphs, InMemoryGraphs) and (self.graphs.is_on(device) or fits(self.graphs.nbytes, device)):
            return DeviceLoader(self, self.graphs.on(device))
        return None

    def __len__(self) -> int:
        """Batches in this epoch."""
        return len(self.plan())

    def __iter__(self) -> Iterator[GraphBatch]:
        """The batches of this epoch."""
        if self._loader is not None:
            yield from self._loader
        else:
            for indices in self.plan():
                yield self.graphs.collate(indices)


class _ByPositions(torch.utils.data.Dataset[GraphBatch]):
    def __init__(self, graphs: GraphSource) -> None:
        self.graphs = graphs

    def __getitem__(self, indices: Any) -> GraphBatch:
        return self.graphs.collate(indices)


class _Plan(torch.utils.data.Sampler[Any]):
    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[NDArray[np.int64]]:
        yield from self.loader.plan()
