"""Bring weights of the original CGCNN or MT-CGCNN code over.

``python -m model.import_cgcnn CKPT --atom-init atom_init.json -o DIR``
"""

import argparse
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphdb.command import Parser, invocation, load, run
from model.flags import folder, task_names

if TYPE_CHECKING:
    from graphdb.batch import Task

_ORIGIN = "origin"
"""Key of ``config.json`` that tells an imported model."""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = Parser(
        "model.import_cgcnn",
        "Bring weights of the original CGCNN or MT-CGCNN code over. The file is a pickle; it is read without running "
        "anything in it.",
        examples=[
            "formation-energy-per-atom.pth.tar --atom-init atom_init.json -o cgcnn_model",
            "model_best.pth.tar --atom-init atom_init.json -o my_model --tasks 'band_gap [eV]'",
        ],
    )
    parser.add_argument(
        "checkpoint", metavar="CKPT", help="file that the original code saved (model_best.pth.tar and the like)"
    )
    parser.add_argument(
        "--atom-init", metavar="JSON", required=True, help="the atom_init.json that it was trained with"
    )
    parser.add_argument("-o", "--output", metavar="DIR", type=folder, required=True, help="folder for the checkpoint")
    parser.add_argument(
        "--tasks",
        metavar="NAMES",
        type=task_names,
        help="names of the outputs, separated by commas; a unit may follow: 'band_gap [eV]'",
    )
    return run(parser, _import, argv, interrupted="nothing was written")


def _import(arguments: argparse.Namespace) -> int:
    from model.output import check_folder, written_with

    check_folder(arguments.output, lambda folder: written_with(folder, _ORIGIN), "an earlier import")
    load("torch")
    from graphdb.graphsettings import HardNeighbors
    from model.cgcnn_weights import convert, read_atom_init, read_original
    from model.checkpoint import save_checkpoint

    content = read_original(arguments.checkpoint)
    elements = read_atom_init(arguments.atom_init)
    tasks = _tasks(arguments.tasks, content)
    model = convert(content, elements, tasks)
    graph = HardNeighbors(cutoff=model.architecture.rbf_cutoff).as_dict()
    origin = {"imported_from": Path(arguments.checkpoint).name, "epoch": content.get("epoch")}
    save_checkpoint(arguments.output, model, {"graph": graph, _ORIGIN: origin})
    sizes = model.architecture
    print(
        f"imported {', '.join(task.label for task in model.tasks)}: {sizes.num_convs} convolutions of width "
        f"{sizes.atom_dim}, {model.num_parameters:,} parameters, graphs by the original neighbor choice\n"
        f"next: {invocation('model.predict')} {shlex.quote(str(arguments.output))} YOUR.cif"
    )
    return 0


def _tasks(names: Sequence[str] | None, content: Mapping[str, Any]) -> "list[Task]":
    """The tasks the user named, or what the file tells of them."""
    from graphdb.batch import Task
    from graphdb.units import split_header
    from model.cgcnn_weights import ImportFailed, is_classifier, num_outputs

    count = num_outputs(content)
    if names is None:
        options = dict(content.get("args") or {}).get("data_options") or []
        named = str(options[2]) if count == 1 and len(options) > 2 else None
        chosen = [named] if named else [f"target_{i}" for i in range(count)]
        if is_classifier(content):
            chosen = [f"{name}_logit" for name in chosen]
    else:
        chosen = list(names)
    if len(chosen) != count:
        raise ImportFailed(
            f"--tasks must name the {count} outputs of the checkpoint, got {len(chosen)}: {', '.join(chosen)}"
        )
    return [Task(*split_header(name)) for name in chosen]


if __name__ == "__main__":
    raise SystemExit(main())
