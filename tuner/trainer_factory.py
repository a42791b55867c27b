"""What a training trains: `model`'s trainer over `graphdb`'s crystals, set up from a sampler's parameters.

A hyperparameter is a field of one of the dataclasses in `_SETTINGS`, which also checks its values. Spaces may name
whatever is a field there, and `CrystalTrainerFactory.settings` hands it on to where it acts.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from graphdb.copies import Server, node_copy
from graphdb.loader import InMemoryGraphs, Loader, StreamedGraphs
from graphdb.records import Value
from model.allocator import keep_freed_memory
from model.checkpoint import load_checkpoint
from model.eager import leave_out_compiler
from model.gated_sum.choice import warm_up
from model.inference import choose_device, evaluate
from model.network import Architecture
from model.radii import fit_radii
from model.threads import compute_with
from model.train_config import TrainConfig
from model.training import Trainer
from tuner.data import Crystals
from tuner.errors import SearchError
from tuner.protocol import TrainingSpec
from tuner.space.parameter import PER_TASK
from tuner.space.space import Space
from tuner.space.toml import parse_space
from tuner.trials.stopping import SECTIONS


@dataclass(frozen=True, kw_only=True, slots=True)
class LoaderSettings:
    """How batches are made, beside their size, on which the learning rate depends."""

    max_atoms: int | None = None
    """Nodes in a batch, at most; None for no bound."""

    def __post_init__(self) -> None:
        if self.max_atoms is not None:
            _check_positive("max_atoms", self.max_atoms)


_SETTINGS = (Architecture, TrainConfig, LoaderSettings)
_Settings = TypeVar("_Settings", Architecture, TrainConfig, LoaderSettings)


def read_space(text: str, source: str, tasks: Sequence[str]) -> Space:
    """A space over the settings that a training has; see `parse_space`."""
    known = [field.name for kind in _SETTINGS for field in fields(kind)]
    return parse_space(text, source, tasks, known, _check_setting, SECTIONS)


def _check_setting(name: str, value: Value) -> None:
    if name == PER_TASK:
        _check_positive(name, value)
    for kind in _SETTINGS:
        if name in {field.name for field in fields(kind)}:
            kind(**{name: value})  # type: ignore[arg-type]


def _check_positive(name: str, value: Value) -> None:
    if isinstance(value, (bool, str)) or value <= 0:
        raise ValueError(f"{name} must be a positive number")


def pick(kind: type[_Settings], chosen: Mapping[str, Any]) -> _Settings:
    """The settings of one kind among all that were chosen, the others being its defaults."""
    return kind(**{field.name: chosen[field.name] for field in fields(kind) if field.name in chosen})


def check_device(name: str) -> None:
    """Refuse a device that this machine does not have.

    Raises:
        SearchError: naming it.
    """
    try:
        choose_device(name)
    except ValueError as error:
        raise SearchError(f"--{error}; choose another, or leave it out") from error


_CRYSTALS_AT_ONCE = 256
_radii: dict[tuple[str, bytes], Tensor] = {}
"""Of the crystals that this process trains on last: fitted in a second, which is long for a short training."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CrystalTrainerFactory:
    """Builds trainings. Ray carries it to each node once, and all trials there share the pages of its arrays.

    Crystals in memory are among them. Those that are streamed are read from a file on each node's own disk, which the
    first trial there fetches.
    """

    graphs: InMemoryGraphs | StreamedGraphs
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
    server: Server | None = None
    """Gives the store's file to nodes that have none; None where all trials run on the driver's machine."""

    @property
    def file(self) -> Path | None:
        """What nodes need of the driver's disk."""
        return self.graphs.path if isinstance(self.graphs, StreamedGraphs) else None

    def served_by(self, server: Server) -> "CrystalTrainerFactory":
        """The same factory for a cluster."""
        return replace(self, server=server)

    def build(self, spec: TrainingSpec) -> Trainer:
        """A training at epoch 0."""
        keep_freed_memory()
        leave_out_compiler()
        compute_with(self.threads)
        if choose_device(self.device).type == "cpu":
            warm_up()  # or the first epoch of a machine would take the time that the loops take to compile
        architecture, config, batches = self.settings(spec)
        graphs = self._graphs()
        options: dict[str, Any] = {"batch_size": config.batch_size, "seed": spec.seed, **asdict(batches)}
        return Trainer(
            architecture=architecture,
            config=config,
            train=Loader(graphs, self.train, shuffle=True, **options),
            radii=self._radii(graphs) if architecture.num_ratio_rbf else None,
            validation=Loader(graphs, self.validation, **options),
            device=self.device,
        )

    def _radii(self, graphs: InMemoryGraphs | StreamedGraphs) -> Tensor:
        """Those of the training crystals, which all trainings share: in one order, so that they do to the last bit."""
        key = graphs.fingerprint, self.train.tobytes()
        if key not in _radii:
            _radii.clear()
            _radii[key] = fit_radii(Loader(graphs, self.train, batch_size=_CRYSTALS_AT_ONCE))
        return _radii[key]

    def _graphs(self) -> InMemoryGraphs | StreamedGraphs:
        graphs, say = self.graphs, logging.getLogger(__name__).info
        if self.server is None or not isinstance(graphs, StreamedGraphs):
            return graphs
        source, fingerprint = self.source, graphs.fingerprint
        return graphs.at(node_copy(graphs.path, source=source, fingerprint=fingerprint, server=self.server, say=say))

    def settings(self, spec: TrainingSpec) -> tuple[Architecture, TrainConfig, LoaderSettings]:
        """Sort a training's parameters into those of the network, of the training and of the loader."""
        chosen: dict[str, Any] = {**self.fixed, **spec.params, "epochs": spec.epochs, "seed": spec.seed}
        if len(self.graphs.tasks) > 1:
            chosen["loss_weights"] = tuple(
                float(chosen.get(f"{PER_TASK}.{task.name}", 1.0)) for task in self.graphs.tasks
            )
        return pick(Architecture, chosen), pick(TrainConfig, chosen), pick(LoaderSettings, chosen)

    def provenance(self, spec: TrainingSpec) -> dict[str, Any]:
        """What the checkpoint's config.json says of the training."""
        return {**self.origin, "trial": {"key": spec.key, "params": dict(spec.params), "seed": spec.seed}}


def make_factory(
    crystals: Crystals, *, run: str, fixed: Mapping[str, Value], device: str, threads: int
) -> CrystalTrainerFactory:
    """The factory for a search of this name over these crystals; see `CrystalTrainerFactory` for the arguments."""
    graphs = crystals.graphs
    origin = {
        "run": run,
        "store": {"source": Path(crystals.store).name, "fingerprint": graphs.fingerprint},
        "split": crystals.split.as_dict(),
        "graph": graphs.settings.as_dict(),
    }
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
    chosen = choose_device(device)
    model, _ = load_checkpoint(folder, chosen)
    found = evaluate(model, crystals.test_batches(), chosen)
    return {task: metrics.as_dict() for task, metrics in found.metrics.items()}
