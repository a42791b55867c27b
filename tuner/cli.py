"""The command ``crystune``: every command of the three packages, whatever lies in the folder where one stands.

``python -m`` looks for packages in the current folder first, so that a ``model.py`` there would be run instead of ours.
"""

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import Any

from graphdb.command import Parser, run

COMMANDS = {
    "build": ("graphdb.build", "crystals become graphs in a store"),
    "info": ("graphdb.info", "what is in a store"),
    "search": ("tuner.search", "find the best hyperparameters"),
    "report": ("tuner.report", "what a search has found"),
    "export": ("tuner.export", "the best model of a search, ready to use"),
    "predict": ("model.predict", "properties of new crystals"),
    "train": ("model.train", "one model without a search"),
    "evaluate": ("model.evaluate", "errors of a model on a store"),
    "import-cgcnn": ("model.import_cgcnn", "weights of the original CGCNN code"),
    "preflight": ("tuner.preflight", "what would go wrong on a cluster"),
    "remote": ("tuner.remote", "a search on a cluster, from your own machine"),
}
"""Module of each command, and what it is for."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command by its name; returns its exit status."""
    given = sys.argv[1:] if argv is None else list(argv)
    parser = Parser(
        "tuner.cli",
        "Find the best model for predicting properties of crystals.",
        prog="crystune",
        examples=["build my_cifs/ my.lmdb --targets my_targets.csv", "search --space table5 --store my.lmdb"],
    )
    what = "; ".join(f"{name}: {purpose}" for name, (_, purpose) in COMMANDS.items())
    parser.add_argument("command", metavar="COMMAND", choices=COMMANDS, help=what)

    def execute(arguments: argparse.Namespace) -> int:
        return int(load_command(COMMANDS[arguments.command][0]).main(given[1:]))

    return run(parser, execute, given[:1])


def load_command(module: str) -> Any:
    """Import what ``python -m`` would run: the module itself, or ``__main__`` of a package."""
    found = importlib.import_module(module)
    return importlib.import_module(f"{module}.__main__") if hasattr(found, "__path__") else found


if __name__ == "__main__":
    sys.exit(main())
