"""Predict properties of new crystals: ``python -m model.predict EXPORT FILES... [-o out.csv]``."""

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from graphdb.command import Parser, count, did_you_mean, load, run
from graphdb.errors import CrystuneError, Reason
from model.shipped import CONFIG, find_weights, shipped_models

if TYPE_CHECKING:
    import torch

    from graphdb.graph import CrystalGraph
    from graphdb.graphsettings import GraphSettings
    from model.network import MTCGCNN
    from model.seen import SeenElements

_CRYSTALS_AT_ONCE = 256
_NO_CRYSTAL = (Reason.NOT_A_STRUCTURE, Reason.DUPLICATE_ID)


class InputMissing(CrystuneError):
    """A file that was named and is not there, or nothing in those that are."""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status: 0, 1 if a crystal could not be predicted, 2 for a mistake in the call."""
    parser = Parser(
        "model.predict",
        "Predict properties of crystals. The table has one row each, with the columns material_id, one per property, "
        "warning (elements that were not in training, what is doubtful in the file) and error (why there is no "
        "prediction). Exit status: 0 when all are predicted, 1 when some or all are not, 2 for a mistake, before "
        f"anything is done. Models that ship: {', '.join(shipped_models()) or 'none'}.",
        examples=[
            "mp-e4 my.cif",
            "mp-e4 my.cif other.vasp folder_of_cifs/ -o predictions.csv",
            "exports/best new_crystals.tar.gz -o predictions.csv --device cuda",
        ],
    )
    parser.add_argument("model", metavar="EXPORT", help="folder that tuner.export wrote, or a model that ships")
    parser.add_argument("files", nargs="+", metavar="FILES", help="CIF, POSCAR, pymatgen JSON, folder, archive or CSV")
    parser.add_argument("-o", "--output", metavar="CSV", help="file for the table; the screen when not given")
    parser.add_argument("--device", default="auto", help="auto (the default), cpu, cuda or mps")
    return run(parser, _predict, argv, interrupted="nothing was written")


def _predict(arguments: argparse.Namespace) -> int:
    from model.output import check_table, open_table, written_files

    weights = find_weights(arguments.model)
    check_inputs(arguments.files)
    check_table(arguments.output, [*arguments.files, weights, weights.with_name(CONFIG)])

    load("torch")
    from graphdb.progress import Progress
    from model.allocator import keep_freed_memory
    from model.checkpoint import load_checkpoint
    from model.inference import choose_device

    keep_freed_memory()
    device = choose_device(arguments.device)
    model, info = load_checkpoint(arguments.model, device)
    with contextlib.ExitStack() as stack:
        # Rows and a bar on the same screen would write over each other.
        quiet = arguments.output is None and sys.stdout.isatty()
        file: TextIO = sys.stdout
        if arguments.output is not None:
            file = stack.enter_context(open_table(arguments.output, "predictions"))
        progress = stack.enter_context(Progress("predicting", quiet=quiet))
        own = written_files(arguments.output)
        found = write_predictions(file, model, info, arguments.files, device, own=own, tell=progress.update)
        if not found.read:
            raise InputMissing(
                f"FILES must hold at least one crystal, but there is none in {', '.join(arguments.files)}"
            )
    where = f", table in {arguments.output}" if arguments.output else ""
    sys.stdout.flush()
    print(f"{found.predicted:,} of {found.read:,} crystals predicted{where}", file=sys.stderr)
    if found.failed:
        print(f"{found.failed:,} not: the column 'error' says why", file=sys.stderr)
    if found.others:
        print(
            f"{count(found.others, 'file')} beside them: of another kind, or of a crystal that is there already; the "
            "column 'error' says what each is",
            file=sys.stderr,
        )
    if found.empty:
        print(f"no crystal in {', '.join(found.empty)}", file=sys.stderr)
    if found.warned:
        print(
            f"{count(found.warned, 'crystal')} with elements that the model has not seen in training: the column "
            "'warning' names them, their predictions are guesses",
            file=sys.stderr,
        )
    if found.noted:
        print(
            f"{count(found.noted, 'crystal')} may not be what the file means: the column 'warning' says why",
            file=sys.stderr,
        )
    if not found.elements_known:
        print(
            "note: this model does not say which elements it was trained on, so nothing warns of others",
            file=sys.stderr,
        )
    return 0 if found.predicted and not found.failed and not found.empty else 1


def check_inputs(files: Sequence[str]) -> None:
    """Refuse files that are not there.

    Raises:
        InputMissing: for the first of them.
    """
    missing = [name for name in files if not os.path.exists(name)]
    if not missing:
        return
    path = Path(missing[0])
    more = f" (and {len(missing) - 1:,} more are missing)" if len(missing) > 1 else ""
    if any(character in path.name for character in "*?["):
        raise InputMissing(f"FILES must be files or folders that are there, but nothing matches {path}{more}")
    try:
        hint = did_you_mean(path.name, os.listdir(path.parent))
    except OSError:
        hint = f"; there is no folder {path.parent}"
    raise InputMissing(f"FILES must be files or folders that are there, but there is no {path}{more}{hint}")


@dataclass(frozen=True, slots=True)
class _Refused:
    """Why there is no prediction."""

    reason: str
    is_crystal: bool = True
    """False for a file of another kind in a folder or archive, or a second one of a crystal: no mistakes."""


@dataclass(frozen=True, slots=True)
class _Item:
    """A crystal: its graph, or why there is no prediction, and what is to be known about it."""

    material_id: str
    graph: "CrystalGraph | _Refused"
    notes: str = ""


class Tally:
    """What became of the crystals that were read."""

    def __init__(self, *, elements_known: bool) -> None:
        """Nothing was read yet."""
        self.elements_known = elements_known
        """Whether the model tells what it was trained on."""
        self.read = self.failed = self.warned = self.noted = self.others = 0
        self.empty: list[str] = []
        """Sources without a crystal."""

    @property
    def predicted(self) -> int:
        """Crystals with predictions."""
        return self.read - self.failed


def write_predictions(
    file: TextIO,
    model: "MTCGCNN",
    info: dict[str, Any],
    sources: Sequence[str],
    device: "torch.device | str" = "cpu",
    *,
    own: frozenset[str] = frozenset(),
    tell: Callable[[float, str], None] = lambda share, note: None,
) -> Tally:
    """Write a table of predictions of everything in `sources`: material_id, one column per task, warning, error.

    Args:
        file: where the CSV goes.
        model: in evaluation mode.
        info: its checkpoint's configuration; "graph" has the graph settings.
        sources: what `graphdb.build` reads.
        device: of the model.
        own: real paths of this table, which may lie in a folder of `sources` and gets no row.
        tell: told the share that is done, and a note.

    Returns:
        How many crystals were read, have an error in place of a prediction, or a warning beside it, and how many files
        of other kinds there were.

    Raises:
        CheckpointError: for a configuration without valid graph settings.
    """
    from model.output import PredictionTable
    from model.seen import SeenElements

    settings = graph_settings(info)
    seen = SeenElements.from_info(info, [task.name for task in model.tasks])
    known = frozenset(model.elements.any(dim=1).nonzero().flatten().tolist())
    tally = Tally(elements_known=seen is not None)
    table = PredictionTable(file, [*(task.label for task in model.tasks), "warning", "error"])
    pending: list[_Item] = []

    def write() -> None:
        for item, (values, unseen, error) in zip(
            pending, _answers(model, pending, settings, device, seen), strict=True
        ):
            tally.warned += bool(unseen)
            warning = "" if error else "; ".join(filter(None, (unseen, item.notes)))
            table.add(item.material_id, [*values, warning, error])
        pending.clear()
        file.flush()

    def note(share: float) -> None:
        if tally.read:  # the first one waits for the parser's packages, and tells nothing of the time of the others
            tell(share, count(tally.read, "crystal"))

    for item in _graphs(sources, settings, known, own, note, tally):
        pending.append(item)
        refused = item.graph if isinstance(item.graph, _Refused) else None
        if refused is not None and not refused.is_crystal:
            tally.others += 1
        else:
            tally.read += 1
            tally.failed += refused is not None
            tally.noted += refused is None and bool(item.notes)
        if len(pending) == _CRYSTALS_AT_ONCE:
            write()
    write()
    return tally


def graph_settings(info: Mapping[str, Any], checkpoint: str = "the checkpoint") -> "GraphSettings":
    """How the graphs of a checkpoint are made, from its configuration.

    Raises:
        CheckpointError: if it does not say so.
    """
    from graphdb.graphsettings import GraphSettings
    from model.errors import CheckpointError

    try:
        return GraphSettings.from_dict(info["graph"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{checkpoint} must say how its graphs are made: {error}; export it again") from error


def _graphs(
    sources: Sequence[str],
    settings: "GraphSettings",
    known: frozenset[int],
    own: frozenset[str],
    tell: Callable[[float], None],
    tally: Tally,
) -> Iterator[_Item]:
    """Every crystal of the sources; `known` are the elements of the model's table, `own` our files.

    Sources without a crystal are noted in `tally`, which its reader keeps up to date.
    """
    from graphdb.convert import to_graph
    from graphdb.errors import SkippedCrystal, SourceError
    from graphdb.usable import iter_usable

    convert = partial(to_graph, settings=settings, elements=known)
    for number, source in enumerate(sources):
        num_before = tally.read

        def tell_all(share: float, before: int = number) -> None:
            tell((before + share) / len(sources))

        try:
            for material_id, found in iter_usable(source, convert, tell=tell_all):
                if not isinstance(found, SkippedCrystal):
                    notes = "; ".join(f"{note.reason}: {note.message}" for note in found.notes)
                    yield _Item(material_id, found.graph, notes)
                elif os.path.realpath(os.path.join(source, found.where)) not in own:
                    refused = _Refused(f"{found.reason}: {found.message}", found.reason not in _NO_CRYSTAL)
                    yield _Item(material_id or found.where, refused)
        except SourceError as error:
            yield _Item(Path(source).stem, _Refused(str(error)))
        if tally.read == num_before:
            tally.empty.append(source)


def _answers(
    model: "MTCGCNN",
    items: Sequence[_Item],
    settings: "GraphSettings",
    device: "torch.device | str",
    seen: "SeenElements | None",
) -> Iterator[tuple[Sequence[float | None], str, str]]:
    """For each crystal in order: its predictions, a warning of elements that were not in training, or else an error."""
    import numpy as np

    from graphdb.graph import FlatGraphs
    from graphdb.loader import InMemoryGraphs, Loader
    from model.inference import predict

    usable = [(item.material_id, item.graph) for item in items if not isinstance(item.graph, _Refused)]
    predictions: Iterator[Any] = iter(())
    if usable:
        graphs = InMemoryGraphs(
            FlatGraphs.from_graphs([graph for _, graph in usable]),
            material_ids=[material_id for material_id, _ in usable],
            tasks=model.tasks,
            targets=np.full((len(usable), len(model.tasks)), np.nan, np.float32),
            settings=settings,
        )
        predictions = iter(predict(model, Loader(graphs, batch_size=_CRYSTALS_AT_ONCE, max_atoms=20_000), device)[0])
    for item in items:
        if isinstance(item.graph, _Refused):
            yield [None] * len(model.tasks), "", item.graph.reason
        else:
            yield next(predictions), seen.warning(item.graph.atomic_numbers) if seen is not None else "", ""


if __name__ == "__main__":
    raise SystemExit(main())
