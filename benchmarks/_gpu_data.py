"""What `benchmarks.gpu` trains on: one compressed file that travels with the code, or crystals made up on the spot."""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphdb.batch import Task
from graphdb.graph import FlatGraphs
from graphdb.graphsettings import SoftNeighbors
from graphdb.loader import InMemoryGraphs

SPLITS = ("train", "validation", "test")
_COMPACT = {"multiplicity": np.int16, "neighbor_count": np.int16, "neighbor_index": np.int16}
_NODES = (1, 3, 3, 3, 4, 5, 7, 9, 13, 21, 166)
"""Deciles of the nodes of a crystal among 29,432 of the Materials Project."""
_DEGREE = (1.0, 2.3, 3.3, 4.4, 5.8, 7.5, 8.8, 10.3, 12.0, 12.3, 18.2)
"""Deciles of a crystal's edges per node there."""
_MULTIPLICITY = (1, 1, 1, 1, 2, 2, 2, 4, 4, 4, 48)
_LENGTH = (0.75, 1.97, 2.27, 2.56, 2.76, 2.9, 3.03, 3.2, 3.39, 3.68, 6.6)
"""Deciles of edge lengths there, Å."""


@dataclass(frozen=True, slots=True)
class Data:
    """Crystals with their split."""

    graphs: InMemoryGraphs
    split: Mapping[str, NDArray[np.int64]]
    """Positions, by name of the part."""
    origin: str
    """In words."""


def pack(source: Path, target: Path, tasks: tuple[str, ...]) -> int:
    """Write all graphs of a source with targets and split to one file; returns its bytes.

    Args:
        source: a store, or a folder with ``cifs.tar.gz`` and ``targets.csv``.
        target: NumPy archive to write.
        tasks: properties to keep.
    """
    from graphdb.split import split_by_id

    if source.is_dir():
        from graphdb.build import build_store

        with tempfile.TemporaryDirectory() as folder:
            store = Path(folder) / "graphs.lmdb"
            build_store(source / "cifs.tar.gz", store, targets=[source / "targets.csv"])
            return pack(store, target, tasks)
    graphs = InMemoryGraphs.from_store(source, tasks)
    split = split_by_id(graphs.material_ids)
    arrays: dict[str, NDArray[Any]] = {}
    for field in fields(graphs.flat):
        array = getattr(graphs.flat, field.name)
        arrays[field.name] = compact(array, _COMPACT.get(field.name, array.dtype))
    about = {"tasks": [[task.name, task.unit] for task in graphs.tasks], "fingerprint": graphs.fingerprint}
    np.savez_compressed(
        target,
        about=np.array(json.dumps(about)),
        targets=graphs.targets,
        **{f"split_{name}": getattr(split, name) for name in SPLITS},
        **arrays,  # type: ignore[arg-type]
    )
    return target.stat().st_size


def compact(array: NDArray[Any], dtype: Any) -> NDArray[Any]:
    """The same numbers in fewer bytes, as they are if they do not fit."""
    narrow = array.astype(dtype)
    return narrow if np.array_equal(narrow, array) else array


def load(path: Path | None, synthetic: int) -> Data:
    """The crystals of a packed file, or so many that are made up when there is none."""
    if path is None or not path.exists():
        return _made_up(synthetic)
    with np.load(path) as archive:
        about = json.loads(str(archive["about"]))
        flat = {field.name: archive[field.name].astype(_dtype(field.name)) for field in fields(FlatGraphs)}
        targets = archive["targets"]
        split = {name: archive[f"split_{name}"].astype(np.int64) for name in SPLITS}
    graphs = InMemoryGraphs(
        FlatGraphs(**flat),
        material_ids=[str(i) for i in range(len(targets))],
        tasks=[Task(name, unit) for name, unit in about["tasks"]],
        targets=targets,
        settings=SoftNeighbors(),
        fingerprint=about["fingerprint"],
    )
    return Data(graphs, split, f"{len(targets)} crystals of {path.name}")


def _dtype(name: str) -> type[np.generic]:
    if name.endswith("_ptr"):
        return np.int64
    if name == "atomic_numbers":
        return np.uint8
    return np.float32 if name in ("neighbor_distance", "neighbor_weight") else np.int32


def _made_up(count: int) -> Data:
    """Random graphs with the sizes of real ones; targets follow from the elements, so there is something to learn."""
    rng = np.random.default_rng(0)

    def draw(deciles: tuple[float, ...], size: int) -> NDArray[np.float64]:
        return np.interp(rng.random(size), np.linspace(0, 1, len(deciles)), deciles)

    nodes = draw(_NODES, count).astype(np.int64)
    degree = np.repeat(draw(_DEGREE, count), nodes)
    received = np.maximum(1, (degree + rng.random(len(degree))).astype(np.int32))
    atom_ptr = np.concatenate([[0], np.cumsum(nodes)])
    edge_ptr = np.concatenate([[0], np.cumsum(received)])[atom_ptr]
    num_edges = int(edge_ptr[-1])
    multiplicity = draw(_MULTIPLICITY, len(degree)).astype(np.int32)
    numbers = rng.integers(1, 90, len(degree)).astype(np.uint8)
    sizes = np.repeat(np.repeat(nodes, nodes), received)
    flat = FlatGraphs(
        num_atoms=np.add.reduceat(multiplicity, atom_ptr[:-1]).astype(np.int32),
        atom_ptr=atom_ptr,
        edge_ptr=edge_ptr,
        atomic_numbers=numbers,
        multiplicity=multiplicity,
        neighbor_count=received,
        neighbor_index=(rng.random(num_edges) * sizes).astype(np.int32),
        neighbor_distance=draw(_LENGTH, num_edges).astype(np.float32),
        neighbor_weight=np.repeat(12.0 / received, received).astype(np.float32),
    )
    electrons = np.add.reduceat(numbers * multiplicity, atom_ptr[:-1]) / flat.num_atoms
    targets = np.stack([electrons, np.sqrt(electrons), np.log(electrons)], axis=1)
    targets += 0.05 * targets.std(0) * rng.standard_normal(targets.shape)
    graphs = InMemoryGraphs(
        flat,
        material_ids=[str(i) for i in range(len(targets))],
        tasks=[Task("mean_number"), Task("its_root"), Task("its_logarithm")],
        targets=targets,
        settings=SoftNeighbors(),
    )
    order = rng.permutation(count)
    bounds = (int(0.8 * count), int(0.9 * count))
    split = dict(zip(SPLITS, np.split(order, bounds), strict=True))
    return Data(graphs, split, f"{count} made-up crystals with the sizes of real ones: their errors mean nothing")
