"""The flags of `tuner.search`, which `tuner.remote` takes as well."""

import argparse
import contextlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from model.flags import share, task_names, whole_number
from tuner.run.settings import parse_duration
from tuner.space.toml import builtin_spaces
from tuner.study.samplers import SAMPLERS

RESUME_COMMAND = "CRYSTUNE_RESUME_COMMAND"
"""Variable of the environment: what the user types to go on with the search, who is at another machine than this."""
DEFAULTS: Mapping[str, Any] = {
    "seed": 0,
    "sampler": "tpe",
    "max_epochs": 30,
    "trials": 32,
    "finalists": None,
    "finalist_seeds": None,
    "final_epochs": None,
}
"""Of settings that a resumed search takes from its run instead: the flags themselves default to None."""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of a search."""

    def add(flag: str, kind: Callable[[str], object], metavar: str, text: str, default: object = None) -> None:
        parser.add_argument(flag, type=kind, metavar=metavar, help=text, default=default)

    spaces = ", ".join(builtin_spaces())
    store = "crystals, written by graphdb.build: path or URI; the sample that ships when left out"
    valid = "of the crystals, to choose epochs and trials by (0.1); with --resume as it was"
    finalists = "best trials to train again and test; by default 1 to 3, for a third of the epochs that trials trained"
    timeout = "a trial silent for that long is ended and tried again (20 times the longest epoch, at least 10 min)"
    add("--space", str, "NAME_OR_FILE", f"search space: a TOML file, or one of {spaces}")
    add("--store", str, "STORE", store)
    add("--tasks", task_names, "A,B,C", "properties to predict; all of the store when left out")
    add("--valid", share, "SHARE", valid)
    add("--test", share, "SHARE", "of the crystals, to measure the finalists on (0.1); likewise")
    add("--trials", whole_number(1), "N", f"trials to run ({DEFAULTS['trials']}); may be raised with --resume")
    add("--max-epochs", whole_number(1), "N", f"epochs of a trial that nothing stops ({DEFAULTS['max_epochs']})")
    add("--time-budget", _duration, "2h", "end the search after this time; finalists come on top")
    add("--name", str, "NAME", "name of the run; made of the space and the time when left out")
    add("--seed", whole_number(0, 2**63 - 1), "S", f"of sampler and trainings ({DEFAULTS['seed']})")
    add("--runs", str, "DIR", "folder of all runs (runs), or s3://..., gs://...", "runs")
    add_switch = partial(parser.add_argument, action="store_true")
    add_switch("--resume", help="go on with a run: --name, or the latest; its settings are kept")
    add_switch("--retry-failed", help="with --resume: run the parameters of failed trials again, as new trials")
    parser.add_argument("--sampler", choices=SAMPLERS, help="who proposes trials (tpe)")
    add_switch("--no-asha", help="let every trial run to --max-epochs")
    add("--finalists", whole_number(0), "K", finalists)
    add("--finalist-seeds", whole_number(1), "S", "trainings of each finalist, with different seeds (1 to 3, likewise)")
    add("--final-epochs", whole_number(1), "N", "epochs of each of these trainings (as --max-epochs)")
    add("--concurrent", whole_number(1), "N", "trials at the same time; as many as fit when left out")
    add("--cpus-per-trial", _cpus, "N", "CPU threads of a trial (1)", 1.0)
    add("--gpus-per-trial", _gpus, "N", "share of a GPU for a trial (0.25 where there are GPUs)")
    add("--epoch-timeout", _duration, "30m", timeout)
    add("--address", str, "auto", "use a Ray that runs already; started here when left out")
    devices = ("auto", "cpu", "cuda", "mps")
    parser.add_argument("--device", choices=devices, default="auto", help="what trials train on (auto)")


def _cpus(text: str) -> float:
    return _number(text, "above 0", lambda number: number > 0)


def _gpus(text: str) -> float:
    return _number(text, "of at least 0", lambda number: number >= 0)


def _number(text: str, what: str, holds: Callable[[float], bool]) -> float:
    with contextlib.suppress(ValueError):
        if holds(number := float(text)) and number < float("inf"):
            return number
    raise argparse.ArgumentTypeError(f"must be a number {what}, got {text!r}")


def _duration(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
