"""Predict properties of new crystals: ``python -m model.predict EXPORT FILES... [-o out.csv]``."""

import argparse
import contextlib
import csv
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from model.allocator import keep_freed_memory
from model.checkpoint import CheckpointError, load_checkpoint, shipped_models
from model.inference import choose_device, predict
from model.network import MTCGCNN

_CRYSTALS_AT_ONCE = 256


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status: 0, 1 if no crystal could be predicted, 2 for a mistake in the call."""
    parser = argparse.ArgumentParser(
        prog="python -m model.predict",
        description="Predict properties of crystals; one row each, with the reason for those that cannot be read.",
        epilog=f"Models that ship: {', '.join(shipped_models()) or 'none'}.",
    )
    parser.add_argument("model", metavar="EXPORT", help="folder that tuner.export wrote, or a model that ships")
    parser.add_argument("files", nargs="+", metavar="FILES", help="CIF, POSCAR, pymatgen JSON, folder, archive or CSV")
    parser.add_argument("-o", "--output", metavar="CSV", help="file for the table; the screen when not given")
    parser.add_argument("--device", default="auto", help="auto (the default), cpu, cuda or mps")
    args = parser.parse_args(argv)
    keep_freed_memory()
    try:
        device = choose_device(args.device)
        model, info = load_checkpoint(args.model, device)
        with _open(args.output) as file:
            read, failed = write_predictions(file, model, info, args.files, device)
    except (CheckpointError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader, `head` for one, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        print(f"error: the table must go to a file that can be written, got {error}", file=sys.stderr)
        return 2
    where = f", table in {args.output}" if args.output else ""
    print(f"{read - failed} of {read} crystals predicted{where}", file=sys.stderr)
    if failed:
        print(f"{failed} not: the column 'error' says why", file=sys.stderr)
    return 0 if read > failed else 1


def write_predictions(
    file: TextIO, model: MTCGCNN, info: dict[str, Any], sources: Sequence[str], device: Any = "cpu"
) -> tuple[int, int]:
    """Write a table of predictions of everything in `sources`: material_id, one column per task, error.

    Args:
        file: where the CSV goes.
        model: in evaluation mode.
        info: its checkpoint's configuration; "graph" has the graph settings.
        sources: what `graphdb.build` reads.
        device: of the model.

    Returns:
        Crystals read, and how many of them have an error in place of a prediction.

    Raises:
        CheckpointError: for a configuration without valid graph settings.
    """
    from graphdb.graph import GraphSettings

    try:
        settings = GraphSettings.from_dict(info["graph"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"the checkpoint must say how its graphs are made: {error}; export it again") from error
    known = frozenset(model.elements.any(dim=1).nonzero().flatten().tolist())
    table = csv.writer(file, lineterminator="\n")
    table.writerow(["material_id", *(task.label for task in model.tasks), "error"])
    read = failed = 0
    pending: list[tuple[str, Any]] = []
    for item in _graphs(sources, settings, known):
        pending.append(item)
        read += 1
        failed += isinstance(item[1], str)
        if len(pending) == _CRYSTALS_AT_ONCE:
            table.writerows(_rows(model, pending, settings, device))
            pending = []
    table.writerows(_rows(model, pending, settings, device))
    return read, failed


def _graphs(sources: Sequence[str], settings: Any, known: frozenset[int]) -> Iterator[tuple[str, Any]]:
    """Id and graph, or id and what is wrong with it; `known` are the elements of the model's table."""
    from graphdb.errors import SkippedCrystal, SourceError
    from graphdb.graph import GraphError, build_graph
    from graphdb.sources import iter_structures

    for source in sources:
        try:
            for material_id, crystal in iter_structures(source, keep_order=settings.neighbors == "cgcnn"):
                if isinstance(crystal, SkippedCrystal):
                    yield material_id or crystal.where, f"{crystal.reason}: {crystal.message}"
                    continue
                strange = sorted(set(crystal.atomic_numbers.tolist()) - known)
                if strange:
                    yield material_id, f"element without features: this model knows no atomic number {strange}"
                    continue
                try:
                    graph = build_graph(crystal.atomic_numbers, crystal.lattice, crystal.frac_coords, settings)
                    yield material_id, graph
                except GraphError as error:
                    yield material_id, f"{error.reason}: {error}"
        except SourceError as error:
            yield Path(source).stem, str(error)


def _rows(model: MTCGCNN, items: list[tuple[str, Any]], settings: Any, device: Any) -> Iterator[list[str]]:
    """The rows of some crystals, in order."""
    from graphdb.graph import FlatGraphs
    from graphdb.loader import InMemoryGraphs, Loader

    usable = [(material_id, graph) for material_id, graph in items if not isinstance(graph, str)]
    values: Iterator[Any] = iter(())
    if usable:
        graphs = InMemoryGraphs(
            FlatGraphs.from_graphs([graph for _, graph in usable]),
            material_ids=[material_id for material_id, _ in usable],
            tasks=model.tasks,
            targets=np.full((len(usable), len(model.tasks)), np.nan, np.float32),
            settings=settings,
        )
        values = iter(predict(model, Loader(graphs, batch_size=_CRYSTALS_AT_ONCE, max_atoms=20_000), device)[0])
    for material_id, graph in items:
        if isinstance(graph, str):
            yield [material_id, *[""] * len(model.tasks), graph]
        else:
            yield [material_id, *(f"{value:.6g}" for value in next(values)), ""]


@contextlib.contextmanager
def _open(path: str | None) -> Iterator[TextIO]:
    if path is None:
        yield sys.stdout
        sys.stdout.flush()
    else:
        with open(path, "w", encoding="utf-8", newline="") as file:
            yield file


if __name__ == "__main__":
    raise SystemExit(main())
