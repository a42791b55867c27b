"""Predict properties of new crystals: ``python -m model.predict EXPORT FILES... [-o out.csv]``."""

import argparse
import contextlib
import copy
import os
import sys
from collections.abc import Generator, Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from graphdb.command import Parser, did_you_mean, load, run
from graphdb.errors import CrystuneError
from model.errors import CheckpointError
from model.flags import whole_number
from model.shipped import CONFIG, find_weights, shipped_models
from model.tally import Tally

if TYPE_CHECKING:
    import torch

    from graphdb.graphsettings import GraphSettings
    from graphdb.portions import GraphFiles, Portion
    from model.growing_table import FileTable, StreamTable
    from model.header import Header
    from model.network import MTCGCNN
    from model.seen import SeenElements

_MAX_THREADS = 8
_ROWS_FOR_LOOPS = 4_000
"""As many rows PyTorch predicts in the time in which the compiled loops are loaded and predict them."""
_LAST_COLUMNS = ("warning", "error")


class InputMissing(CrystuneError):
    """A file that was named and is not there, or nothing in those that are."""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status: 0, 1 if a crystal could not be predicted, 2 for a mistake in the call."""
    parser = Parser(
        "model.predict",
        "Predict properties of crystals. The table has one row each, with the columns material_id, one per property, "
        "warning (elements that were not in training, what is doubtful in the file) and error (why there is no "
        "prediction). Interrupted, the same command with -o goes on. Exit status: 0 when all are predicted, 1 when "
        "some or all are not, 2 for a mistake, before anything is done. Models that ship: "
        f"{', '.join(shipped_models()) or 'none'}.",
        examples=[
            "mp-e4 my.cif",
            "mp-e4 my.cif other.vasp folder_of_cifs/ -o predictions.csv",
            "exports/best new_crystals.tar.gz -o predictions.csv --device cuda",
            "exports/best my.lmdb -o predictions.csv",
        ],
    )
    parser.add_argument("model", metavar="EXPORT", help="folder that tuner.export wrote, or a model that ships")
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FILES",
        help="CIF, POSCAR, pymatgen JSON, folder, archive or CSV, or a store of graphs (nothing is built again)",
    )
    parser.add_argument("-o", "--output", metavar="CSV", help="file for the table; the screen when not given")
    parser.add_argument("--device", default="auto", help="auto (the default), cpu, cuda or mps")
    parser.add_argument(
        "--workers",
        type=whole_number(1, 1024),
        metavar="N",
        help="processes that read crystals (default: one per core)",
    )
    return run(parser, _predict, argv, interrupted="nothing was written")


def _predict(arguments: argparse.Namespace) -> int:
    from model.output import check_table, written_files

    weights = find_weights(arguments.model)
    check_inputs(arguments.files)
    check_table(arguments.output, [*arguments.files, weights, weights.with_name(CONFIG)])
    load("numpy")
    from graphdb.portions import GraphFiles
    from graphdb.progress import Progress
    from model.header import read_header

    header = read_header(weights)
    if header is None:  # loading it says why
        _load_model(arguments)
        raise _replaced(weights)
    settings = graph_settings(header.config, str(weights.parent))
    own = written_files(arguments.output)
    files = GraphFiles(arguments.files, settings, elements=header.elements, num_workers=arguments.workers, own=own)
    for store in files.stores.values():
        check_graphs(
            str(store.path), store.settings, arguments.model, settings, else_do="predict from its crystals, or "
        )
    with contextlib.ExitStack() as stack:
        table = _open_table(arguments.output, header, files, stack)
        # Rows and a bar on the same screen would write over each other.
        quiet = arguments.output is None and sys.stdout.isatty()
        progress = stack.enter_context(Progress("predicting", quiet=quiet))
        portions = _portions(files, table)
        stack.callback(portions.close)
        first = next(portions, None)  # now the workers are busy, and stay so while PyTorch loads
        if table.remark:
            print(table.remark, file=sys.stderr)
        model, info, device = _load_model(arguments)
        if info != header.config:
            raise _replaced(weights)
        files.tell = progress.update  # from now on, for what was before says nothing of the time that is left
        found = _write(table, model, info, chain([first] if first else [], portions), device, _num_threads(device))
        found.empty = files.empty
        if not found.read:
            table.discard()
            such_as = f", only such as {files.other}" if files.other else ""
            raise InputMissing(
                f"FILES must hold at least one crystal, but there is none in {', '.join(arguments.files)}{such_as}"
            )
    sys.stdout.flush()
    found.tell(arguments.output)
    return 0 if found.predicted and not found.failed and not found.empty else 1


def _open_table(
    output: str | None, header: "Header", files: "GraphFiles", stack: contextlib.ExitStack
) -> "FileTable | StreamTable":
    """The table, with what an earlier run left of it."""
    from graphdb.versions import versions
    from model.growing_table import FileTable, StreamTable
    from model.output import is_device

    labels = header.labels
    if output is None:
        return stack.enter_context(StreamTable(sys.stdout, [*labels, *_LAST_COLUMNS]))
    if is_device(Path(output)):
        file = stack.enter_context(open(output, "w", encoding="utf-8", newline=""))  # noqa: SIM115 - the stack is one
        return stack.enter_context(StreamTable(file, [*labels, *_LAST_COLUMNS]))
    places = [os.path.realpath(name) for name in files.files]
    origin = {
        "model": header.checksum,
        "set of crystals": [*places, *(store.fingerprint for store in files.stores.values())],
        "version of crystune": versions("crystune")["crystune"],
    }
    return stack.enter_context(FileTable(output, [*labels, *_LAST_COLUMNS], origin))


def _portions(files: "GraphFiles", table: "FileTable | StreamTable") -> "Generator[Portion]":
    """What is not in the table yet."""
    from graphdb.usable import SourceChanged

    try:
        yield from files.portions(table)
    except SourceChanged:  # told before the first one
        table.start_anew("set of crystals")
        yield from files.portions()


def _load_model(arguments: argparse.Namespace) -> "tuple[MTCGCNN, dict[str, Any], torch.device]":
    load("torch")
    from model.allocator import keep_freed_memory
    from model.checkpoint import load_checkpoint
    from model.inference import choose_device

    keep_freed_memory()
    device = choose_device(arguments.device)
    model, info = load_checkpoint(arguments.model, device)
    graph_settings(info)
    return model, info, device


def _num_threads(device: "torch.device") -> int:
    """Portions to predict at a time; each on one thread, so that its digits do not depend on the number of cores."""
    import torch

    from graphdb.cpus import usable_cpus

    if device.type != "cpu":
        return 1
    torch.set_num_threads(1)
    return min(usable_cpus(), _MAX_THREADS)


def _replaced(weights: Path) -> CheckpointError:
    return CheckpointError(f"{weights} must stay as it is while it is read, but it was replaced; run the command again")


def check_inputs(files: Sequence[str]) -> None:
    """Refuse files that are not there.

    Raises:
        InputMissing: for the first of them.
    """
    missing = [name for name in files if not os.path.exists(name)]
    if not missing:
        return
    path = Path(missing[0])
    if missing[0] in ("", "-"):
        raise InputMissing(
            f"FILES must be files or folders that are there, got {missing[0]!r}; nothing is read from standard input"
        )
    more = f" (and {len(missing) - 1:,} more are missing)" if len(missing) > 1 else ""
    if any(character in path.name for character in "*?["):
        raise InputMissing(f"FILES must be files or folders that are there, but nothing matches {path}{more}")
    try:
        hint = did_you_mean(path.name, os.listdir(path.parent))
    except OSError:
        hint = f"; there is no folder {path.parent}"
    raise InputMissing(f"FILES must be files or folders that are there, but there is no {path}{more}{hint}")


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


def check_graphs(store: str, found: "GraphSettings", model: str, needed: "GraphSettings", *, else_do: str = "") -> None:
    """Refuse a store whose graphs are not of the kind that a model was trained on.

    Args:
        store: its path.
        found: settings of its graphs.
        model: what the user calls it.
        needed: settings of its graphs.
        else_do: what to do, up to "build a store".

    Raises:
        SettingsMismatch: with the settings that differ.
    """
    from graphdb.errors import SettingsMismatch

    if differences := found.differences(needed):
        raise SettingsMismatch(
            f"{store} must have the graphs that {model} was trained on; it has {'; '.join(differences)}; "
            f"{else_do}build a store with these settings"
        )


def write_predictions(
    file: TextIO, model: "MTCGCNN", info: dict[str, Any], sources: Sequence[str], device: "torch.device | str" = "cpu"
) -> Tally:
    """Write a table of predictions of everything in `sources`: material_id, one column per task, warning, error.

    Args:
        file: where the CSV goes.
        model: in evaluation mode.
        info: its checkpoint's configuration; "graph" has the graph settings.
        sources: what `graphdb.build` reads, and stores.
        device: of the model.

    Returns:
        How many crystals were read, have an error in place of a prediction, or a warning beside it, and how many files
        of other kinds there were.

    Raises:
        CheckpointError: for a configuration without valid graph settings.
        SettingsMismatch: for a store with graphs of another kind.
    """
    from graphdb.portions import GraphFiles
    from model.growing_table import StreamTable

    settings = graph_settings(info)
    known = frozenset(model.elements.any(dim=1).nonzero().flatten().tolist())
    files = GraphFiles(sources, settings, elements=known, num_workers=1)  # others would import the caller's script
    for store in files.stores.values():
        check_graphs(str(store.path), store.settings, "the model", settings)
    table = StreamTable(file, [*(task.label for task in model.tasks), *_LAST_COLUMNS])
    found = _write(table, model, info, files.portions(), device)
    found.empty = files.empty
    return found


def _write(
    table: "FileTable | StreamTable",
    model: "MTCGCNN",
    info: Mapping[str, Any],
    portions: "Iterable[Portion]",
    device: "torch.device | str",
    num_threads: int = 1,
) -> Tally:
    """Predict all portions, several at a time, and write them in their order."""
    from model.inference import in_order
    from model.seen import SeenElements

    seen = SeenElements.from_info(info, [task.name for task in model.tasks])
    tally = Tally(*table.tally, elements_known=seen is not None)
    answers = in_order(
        lambda given: (given[0], *_answers(given[1], given[0], device, seen)),
        _with_model(portions, model, table.num_rows),
        num_threads,
    )
    with contextlib.closing(answers):
        for portion, text, counts in answers:
            tally.add(counts)
            table.add(text, len(portion.material_ids), tally.numbers, portion.group, portion.texts)
    return tally


def _with_model(portions: "Iterable[Portion]", model: "MTCGCNN", num_rows: int) -> "Generator[tuple[Portion, MTCGCNN]]":
    """Each portion with the model that predicts it: with compiled loops where many rows are to be expected.

    The last digits depend on it, and shall not depend on where an earlier run was interrupted.
    """
    light = copy.copy(model)
    light.compiled = False
    for portion in portions:
        num_rows += len(portion.material_ids)
        yield portion, model if num_rows >= _ROWS_FOR_LOOPS * portion.share else light


def _answers(
    model: "MTCGCNN", portion: "Portion", device: "torch.device | str", seen: "SeenElements | None"
) -> tuple[str, Tally]:
    from model.answers import rows_of

    return rows_of(model, portion, device, seen)


if __name__ == "__main__":
    raise SystemExit(main())
