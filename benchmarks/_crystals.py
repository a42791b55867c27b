"""The crystals of the Materials Project that the benchmarks take, from the archive beside the repository."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphdb.batch import Task
from graphdb.crystal import Crystal
from graphdb.errors import SkippedCrystal, Unusable
from graphdb.graph import CrystalGraph, FlatGraphs
from graphdb.graphsettings import GraphSettings
from graphdb.loader import InMemoryGraphs, Loader
from graphdb.neighbors import build_graph
from graphdb.parse import parse_crystal
from graphdb.sources import open_source
from model.inference import predict
from model.network import MTCGCNN

TASKS = ("formation_energy_per_atom", "band_gap", "fermi_energy")


def archive(shared: Path) -> Path:
    """Where the crystals lie."""
    return shared / "data" / "mp29k" / "cifs.tar.gz"


def random_crystals(shared: Path, count: int, seed: int) -> list[tuple[str, Crystal]]:
    """Some crystals of mp29k with their ids, in random order.

    Raises:
        FileNotFoundError: says what is missing.
    """
    table = archive(shared).with_name("targets.csv")
    for path in (table, archive(shared)):
        if not path.is_file():
            raise FileNotFoundError(
                f"the Materials Project data must lie in {path.parent.parent}, {path.name} does not"
            )
    with open(table, encoding="utf-8", newline="") as file:
        known = sorted(row["material_id"] for row in csv.DictReader(file))
    chosen = np.random.default_rng(seed).permutation(known)[:count].tolist()
    found = read_crystals(archive(shared), set(chosen))
    return [(material_id, found[material_id]) for material_id in chosen]


def read_crystals(source: Path, wanted: set[str], *, keep_order: bool = False) -> dict[str, Crystal]:
    """The crystals of these ids; reading stops when all were found. `keep_order` as for `parse_crystal`."""
    found: dict[str, Crystal] = {}
    for entry in open_source(source).entries():
        if len(found) == len(wanted):
            break
        if not isinstance(entry, SkippedCrystal) and entry.material_id in wanted:
            found[entry.material_id] = parse_crystal(entry.content, entry.format, keep_order=keep_order)
    return found


def graph_of(crystal: Crystal, settings: GraphSettings) -> CrystalGraph | None:
    """The crystal's graph, None if these settings allow none."""
    try:
        return build_graph(crystal.atomic_numbers, crystal.lattice, crystal.frac_coords, settings)
    except Unusable:
        return None


def in_memory(graphs: Sequence[CrystalGraph], tasks: Sequence[Task], settings: GraphSettings) -> InMemoryGraphs:
    """Graphs as a source of batches, with random targets."""
    return InMemoryGraphs(
        FlatGraphs.from_graphs(list(graphs)),
        material_ids=[str(i) for i in range(len(graphs))],
        tasks=tasks,
        targets=np.random.default_rng(0).standard_normal((len(graphs), len(tasks))),
        settings=settings,
    )


def predictions(model: MTCGCNN, graphs: Sequence[CrystalGraph], settings: GraphSettings) -> NDArray[Any]:
    """(N, T) in the units of the tasks."""
    loader = Loader(in_memory(graphs, model.tasks, settings), batch_size=256, max_atoms=20_000)
    return predict(model, loader)[0].astype(np.float64)
