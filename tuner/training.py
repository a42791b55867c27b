"""What a training trains: `model`'s trainer over `graphdb`'s crystals, set up from a sampler's parameters.

torch is loaded inside functions, so that the command line answers mistakes at once.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from graphdb.command import os_error_text
from graphdb.split import DEFAULT_FRACTIONS
from tuner.errors import OtherCrystals, SearchError, TasksNotThere
from tuner.space.parameter import Value
from tuner.space.toml import PER_TASK
from tuner.trials.interfaces import TrainingSpec

if TYPE_CHECKING:
    from graphdb.copies import Server
    from graphdb.loader import InMemoryGraphs, StreamedGraphs
    from graphdb.split import Split
    from model.config import TrainConfig
    from model.network import Architecture
    from model.training import Trainer

_LOADER_SETTINGS = ("max_atoms",)

IN_MEMORY_BYTES = 2**30
"""Crystals that take more in memory (about half a million of the Materials Project's) are streamed from the store."""


def known_settings() -> tuple[str, ...]:
    """Names that a space may set."""
    from model.config import TrainConfig
    from model.network import Architecture

    names = (field.name for settings in (Architecture, TrainConfig) for field in fields(settings))
    return (*names, *_LOADER_SETTINGS)


def check_setting(name: str, value: Value) -> None:
    """Refuse a value that no training can have.

    Raises:
        ValueError: with the rule that it breaks.
    """
    from model.config import TrainConfig
    from model.network import Architecture

    if name in _LOADER_SETTINGS or name == PER_TASK:
        if isinstance(value, (bool, str)) or value <= 0:
            raise ValueError(f"{name} must be a positive number")
        return
    for settings in (Architecture, TrainConfig):
        if name in {field.name for field in fields(settings)}:
            settings(**{name: value})  # type: ignore[arg-type]


def check_device(name: str) -> None:
    """Refuse a device that this machine does not have.

    Raises:
        SearchError: naming it.
    """
    from model.inference import choose_device

    try:
        choose_device(name)
    except ValueError as error:
        raise SearchError(f"--{error}; choose another, or leave it out") from error


@dataclass(frozen=True, kw_only=True, slots=True)
class CrystalTrainerFactory:
    """Builds trainings. Ray carries it to each node once, and all trials there share the pages of its arrays.

    Crystals in memory are among them. Those that are streamed are read from a file on each node's own disk, which the
    first trial there fetches.
    """

    graphs: "InMemoryGraphs | StreamedGraphs"
    train: NDArray[np.int64]
    """Positions of the training crystals."""
    validation: NDArray[np.int64]
    """Positions of the validation crystals."""
    fixed: Mapping[str, Value]
    """Settings that all trainings share."""
    device: str
    """"auto", "cpu", "cuda" or "mps"."""
    threads: int
    """CPU threads of one training."""
    origin: Mapping[str, Any]
    """What every checkpoint's config.json says of the run: name, store, split, graph settings."""
    source: str = ""
    """Where the driver has the store from: a path or a URI."""
    server: "Server | None" = None
    """Gives the store's file to nodes that have none; None where all trials run on the driver's machine."""

    @property
    def file(self) -> Path | None:
        """What nodes need of the driver's disk."""
        from graphdb.loader import StreamedGraphs

        return self.graphs.path if isinstance(self.graphs, StreamedGraphs) else None

    def served_by(self, server: "Server") -> "CrystalTrainerFactory":
        """The same factory for a cluster."""
        return replace(self, server=server)

    def build(self, spec: TrainingSpec) -> "Trainer":
        """A training at epoch 0."""
        import torch

        from graphdb.loader import Loader
        from model.allocator import keep_freed_memory
        from model.training import Trainer

        keep_freed_memory()
        torch.set_num_threads(self.threads)
        architecture, config, max_atoms = self.settings(spec)
        graphs = self._graphs()

        def loader(indices: NDArray[np.int64], *, shuffle: bool) -> Loader:
            return Loader(
                graphs,
                indices,
                batch_size=config.batch_size,
                shuffle=shuffle,
                seed=spec.seed,
                max_atoms=max_atoms,
            )

        return Trainer(
            architecture=architecture,
            config=config,
            train=loader(self.train, shuffle=True),
            validation=loader(self.validation, shuffle=False),
            device=self.device,
        )

    def _graphs(self) -> "InMemoryGraphs | StreamedGraphs":
        from graphdb.copies import node_copy
        from graphdb.loader import StreamedGraphs

        if self.server is None or not isinstance(self.graphs, StreamedGraphs):
            return self.graphs
        path = node_copy(
            self.graphs.path,
            source=self.source,
            fingerprint=self.graphs.fingerprint,
            server=self.server,
            say=logging.getLogger(__name__).info,
        )
        return self.graphs.at(path)

    def settings(self, spec: TrainingSpec) -> "tuple[Architecture, TrainConfig, int | None]":
        """Sort a training's parameters into those of the network, of the training and of the loader."""
        from model.config import TrainConfig
        from model.network import Architecture

        chosen: dict[str, Any] = {**self.fixed, **spec.params}
        weights = [chosen.pop(f"{PER_TASK}.{task.name}", 1.0) for task in self.graphs.tasks]
        max_atoms = chosen.pop("max_atoms", None)
        sizes = {field.name: chosen.pop(field.name) for field in fields(Architecture) if field.name in chosen}
        config = TrainConfig(
            epochs=spec.epochs,
            seed=spec.seed,
            loss_weights=tuple(float(weight) for weight in weights) if len(weights) > 1 else None,
            **chosen,
        )
        return Architecture(**sizes), config, max_atoms

    def provenance(self, spec: TrainingSpec) -> dict[str, Any]:
        """What the checkpoint's config.json says of the training."""
        return {**self.origin, "trial": {"key": spec.key, "params": dict(spec.params), "seed": spec.seed}}


@dataclass(frozen=True, kw_only=True, slots=True)
class Crystals:
    """The crystals of a search, with their fixed split."""

    graphs: "InMemoryGraphs | StreamedGraphs"
    split: "Split"
    store: str
    """Where they came from."""

    @property
    def num_bytes(self) -> int:
        """Memory of the arrays that trials share through Ray's object store."""
        return self.graphs.nbytes

    def known(self, part: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those of a part that have at least one target."""
        kept: NDArray[np.int64] = part[~np.isnan(self.graphs.targets[part]).all(axis=1)]
        return kept


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
    from graphdb.check import TargetsError, checked_split
    from graphdb.copies import local_copy
    from graphdb.errors import CorruptRecord, GraphDBError, TaskError

    what = "the sample that ships" if store is None else f"--store {store}"
    try:
        if store is None:
            from graphdb.sample import TASKS, sample_store

            path, tasks = sample_store(), list(TASKS) if tasks is None else tasks
        else:
            path = local_copy(store, say=say)
        try:
            graphs = _open(path, tasks)
        except CorruptRecord:
            if store is None or path == Path(store):
                raise
            path.unlink()  # a copy is not kept for its own sake
            graphs = _open(local_copy(store, say=say), tasks)
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
    except OSError as error:
        raise SearchError(f"{what} cannot be searched over: {os_error_text(error)}") from error
    except (GraphDBError, ValueError) as error:
        raise SearchError(f"{what} cannot be searched over: {error}") from error
    return Crystals(graphs=graphs, split=split, store=store if store is not None else "sample")


def _open(path: Path, tasks: list[str] | None) -> "InMemoryGraphs | StreamedGraphs":
    from graphdb.loader import InMemoryGraphs, StreamedGraphs
    from graphdb.store import Store

    with Store(path) as store:
        small = store.bytes_in_memory <= IN_MEMORY_BYTES
    return InMemoryGraphs.from_store(path, tasks) if small else StreamedGraphs(path, tasks)


def make_factory(
    crystals: Crystals, *, fixed: Mapping[str, Value], device: str, threads: int, origin: Mapping[str, Any]
) -> CrystalTrainerFactory:
    """The factory for a search over these crystals; see `CrystalTrainerFactory` for the arguments."""
    from graphdb.loader import InMemoryGraphs

    graphs = crystals.graphs
    return CrystalTrainerFactory(
        graphs=graphs.without_ids() if isinstance(graphs, InMemoryGraphs) else graphs,
        train=crystals.known(crystals.split.train),
        validation=crystals.known(crystals.split.validation),
        fixed=fixed,
        device=device,
        threads=threads,
        origin=origin,
        source=crystals.store,
    )


def evaluate_on_test(crystals: Crystals, folder: Path, device: str) -> Mapping[str, Mapping[str, float | None]]:
    """Metrics by task of a checkpoint on the test split."""
    from graphdb.loader import Loader
    from model.checkpoint import load_checkpoint
    from model.inference import choose_device, evaluate

    chosen = choose_device(device)
    model, info = load_checkpoint(folder, chosen)
    batch_size = info.get("train", {}).get("batch_size", 256)
    loader = Loader(crystals.graphs, crystals.known(crystals.split.test), batch_size=batch_size)
    return {task: metrics.as_dict() for task, metrics in evaluate(model, loader, chosen).items()}
