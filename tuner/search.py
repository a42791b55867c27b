"""`python -m tuner.search`: search for the best hyperparameters, then retrain and test the finalists."""

import argparse
import os
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from graphdb.command import Parser, count, invocation, load, run
from graphdb.versions import versions
from tuner.cluster.capacity import ExecutionOptions, check_machine
from tuner.cluster.ray_token import show_token
from tuner.errors import OtherCrystals, SearchError, SpaceError, TasksNotThere
from tuner.flags import DEFAULTS, RESUME_COMMAND, add_flags
from tuner.run.lock import check_free, check_place
from tuner.run.run_folder import RunFolder
from tuner.run.runs import Runs
from tuner.run.settings import (
    SearchSettings,
    check_resumed,
    default_name,
    export_command,
    other_store,
    resume_command,
    with_unit,
)
from tuner.space.space import Space
from tuner.space.toml import builtin_spaces, read_space_text

if TYPE_CHECKING:
    from tuner.data import Crystals


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 0 when there is a model to export, otherwise as `graphdb.command.run`."""
    parser = Parser(
        "tuner.search",
        "Search for the best hyperparameters, train the finalists again and measure them on the test split.",
        examples=[
            "--space table5",
            "--space table5 --store my.lmdb --tasks band_gap --trials 100 --max-epochs 60 --name first",
            "--resume --name first --trials 200",
        ],
    )
    add_flags(parser)
    return run(parser, _search, argv, interrupted="nothing was begun")


def _search(arguments: argparse.Namespace) -> int:
    _check_combination(arguments)
    from tuner.report.live import make_console, say_on

    console = make_console()
    say = say_on(console)
    folder, old = _open_run(arguments, Runs(arguments.runs), say)
    settings, space, crystals = _resolve(arguments, folder, old, say)
    theirs = os.environ.get(RESUME_COMMAND)
    say(f"{'Search' if old is None else 'Going on with'} {folder.address}: {_description(settings)}")
    if arguments.address is not None:
        show_token()  # before ray is imported
    from tuner.driver import SearchDriver
    from tuner.trainer_factory import evaluate_on_test, make_factory

    threads = max(1, int(arguments.cpus_per_trial))
    factory = make_factory(crystals, run=folder.path.name, fixed=space.fixed, device=arguments.device, threads=threads)
    if old is None:
        entries: dict[str, Any] = {
            "format": "crystune run 1",
            "versions": versions("python", "crystune", "torch", "ray", "optuna", "numpy"),
        }
    else:
        entries = {"resumed": [*folder.read().get("resumed", []), time.strftime("%Y-%m-%dT%H:%M:%S")]}
    # A cluster's GPUs are not those of the machine that this process is on.
    test_device = "auto" if arguments.address else arguments.device
    driver = SearchDriver(
        run=folder,
        entries=entries,
        settings=settings,
        space=space,
        factory=factory,
        evaluate=lambda checkpoint: evaluate_on_test(crystals, checkpoint, test_device),
        options=_execution_options(arguments, crystals.graphs.nbytes),
        console=console,
        resume_command=theirs or resume_command(folder.path.name, arguments.runs),
    )
    driver.execute()
    say(f"\nResults: {folder.address}")
    if not theirs:
        report = f"{invocation('tuner.report')} {shlex.quote(folder.address)}"
        commands = [report, export_command(folder.address, folder.path.name)]
        say("\n  ".join(["Next:", *commands]))
    return 0


def _description(settings: SearchSettings) -> str:
    """What is searched over, in two lines."""
    from tuner.trials.stopping import make_rule

    stopping = make_rule(settings.stopping, settings.max_epochs).describe()
    sizes = {name: settings.split[name] for name in ("train", "validation", "test")}
    return (
        f"{count(settings.trials, 'trial')} of up to {count(settings.max_epochs, 'epoch')} over "
        f"{settings.space_name}, sampler {settings.sampler}, {stopping}\n"
        f"{count(sum(sizes.values()), 'crystal')} ({', '.join(f'{size:,} {name}' for name, size in sizes.items())}), "
        f"tasks: {', '.join(map(with_unit, settings.tasks, settings.units))}"
    )


def _check_combination(arguments: argparse.Namespace) -> None:
    """Refuse flags that do not go together, before anything is loaded."""
    name = arguments.name
    if name is not None and (name in ("", ".", "..") or "/" in name):
        raise SearchError(f"--name must be a plain name such as first, got {name!r}; the folder is chosen with --runs")
    for flag in ("space", "runs", "store", "address"):
        value = getattr(arguments, flag)
        if value is not None and not value.strip():
            raise SearchError(f"--{flag} must not be empty, got {value!r}; leave it out for the default")
    if arguments.resume:
        return
    if arguments.retry_failed:
        raise SearchError("--retry-failed must come with --resume: a new search has no failed trials; add --resume")
    if arguments.space is None:
        raise SearchError(
            f"--space must be given: a TOML file or one of {', '.join(builtin_spaces())}; "
            "to go on with a search, add --resume"
        )


def _execution_options(arguments: argparse.Namespace, data_bytes: int = 0) -> ExecutionOptions:
    return ExecutionOptions(
        address=arguments.address,
        concurrency=arguments.concurrent,
        cpus_per_trial=arguments.cpus_per_trial,
        gpus_per_trial=arguments.gpus_per_trial,
        epoch_timeout=arguments.epoch_timeout,
        time_budget=arguments.time_budget,
        retry_failed=arguments.retry_failed,
        data_bytes=data_bytes,
    )


def _open_run(
    arguments: argparse.Namespace, runs: Runs, say: Callable[[str], None]
) -> tuple[RunFolder, SearchSettings | None]:
    if arguments.resume:
        name = arguments.name or runs.latest()
        if name is None:
            raise SearchError(f"--resume needs a run, but there is none in {runs}; leave --resume out to start one")
        folder = runs.open(name, say)
        check_free(folder)
        return folder, SearchSettings.from_dict(folder.read()["settings"])
    name = arguments.name or default_name(arguments.space)
    if runs.is_taken(name):
        raise SearchError(
            f"a new search needs a new name, but {runs.folder(name).address} exists; go on with it by --resume, "
            "choose another --name, or remove it"
        )
    folder = runs.folder(name)
    check_place(folder)
    return folder, None


def _resolve(
    arguments: argparse.Namespace, folder: RunFolder, old: SearchSettings | None, say: Callable[[str], None]
) -> "tuple[SearchSettings, Space, Crystals]":
    """Flags given, else what the run had, else defaults; checked against crystals and model."""
    if arguments.space is not None:
        space_name, space_text = read_space_text(arguments.space)
    else:
        assert old is not None
        space_name, space_text = old.space_name, old.space_text
    fractions = _fractions(arguments, old)
    load("torch")
    from graphdb.copies import absolute
    from tuner.trainer_factory import check_device, read_space

    if arguments.address is None:
        from tuner.cluster.resources import this_machine

        check_device(arguments.device)
        check_machine(_execution_options(arguments), this_machine())
    store = arguments.store if arguments.store is not None or old is None else old.store
    tasks = arguments.tasks if arguments.tasks is not None or old is None else list(old.tasks)
    if tasks is not None:  # mistakes in the file are told before a large store is read
        read_space(space_text, space_name, tasks)
    begun = old if arguments.tasks is None else None
    crystals = _load(store, tasks, fractions, begun, folder.path.name, say)
    names = tuple(task.name for task in crystals.graphs.tasks)
    space = read_space(space_text, space_name, names)
    kept = DEFAULTS if old is None else old.as_dict()
    chosen = {name: kept[name] if getattr(arguments, name) is None else getattr(arguments, name) for name in DEFAULTS}
    endless = [parameter.name for parameter in space.parameters if parameter.grid() is None]
    if chosen["sampler"] == "grid" and endless:
        raise SearchError(
            f"--sampler grid needs values that can be counted, but {endless[0]} in {space.source} has a continuous "
            "range; list its values or give a step, or choose another --sampler"
        )
    settings = SearchSettings(
        space_name=space_name,
        space_text=space_text,
        store=absolute(store) if store is not None else None,
        fingerprint=crystals.graphs.fingerprint,
        tasks=names,
        units=tuple(task.unit for task in crystals.graphs.tasks),
        split=crystals.split.as_dict(),
        stopping=_stopping(arguments, space, chosen["max_epochs"], old),
        **chosen,
    )
    if old is not None:
        check_resumed(old, settings, folder.path.name, finalists_begun=folder.finalists_begun())
    return settings, space, crystals


def _load(
    store: str | None,
    tasks: list[str] | None,
    fractions: tuple[float, float, float],
    begun: SearchSettings | None,
    name: str,
    say: Callable[[str], None],
) -> "Crystals":
    """The crystals; they must be those that a search of this name was begun with, where there is one."""
    from tuner.data import load_crystals

    try:
        expected = None if begun is None else begun.fingerprint
        return load_crystals(store, tasks, fractions=fractions, fingerprint=expected, say=say)
    except (OtherCrystals, TasksNotThere) as error:
        if begun is None:
            raise
        other = isinstance(error, OtherCrystals)
        why = "it holds other graphs or targets" if other else f"it lacks {', '.join(begun.tasks)}"
        raise other_store(begun, store, name, why) from error


def _fractions(arguments: argparse.Namespace, old: SearchSettings | None) -> tuple[float, float, float]:
    from graphdb.check import shares

    kept = (None, None, None) if old is None else old.fractions
    valid = kept[1] if arguments.valid is None else arguments.valid
    test = kept[2] if arguments.test is None else arguments.test
    if test == 0:
        raise SearchError("--test must be above 0, got 0: the finalists are measured on the test split; 0.1 is usual")
    return shares(valid, test)


def _stopping(
    arguments: argparse.Namespace, space: Space, max_epochs: int, old: SearchSettings | None
) -> dict[str, Any]:
    if arguments.no_asha:
        return {"rule": "none"}
    if old is not None and arguments.space is None:
        return old.stopping
    from tuner.trials.stopping import RULES

    rule, options = next(iter(space.stopping.items()), ("asha", {}))
    try:
        return {"rule": rule, **RULES[rule].resolved(options, max_epochs)}
    except ValueError as error:
        raise SpaceError(
            f"{error} ({space.source}, [{rule}]): no trial would ever be stopped; lower it, raise --max-epochs, or say "
            "--no-asha"
        ) from error


if __name__ == "__main__":
    sys.exit(main())
