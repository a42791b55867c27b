"""`python -m tuner.search`: search for the best hyperparameters, then retrain and test the finalists."""

import argparse
import contextlib
import os
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphdb.command import Parser, count, invocation, run
from graphdb.versions import versions
from model.flags import share, task_names, whole_number
from tuner.cluster.capacity import ExecutionOptions, check_machine
from tuner.cluster.ray_token import show_token
from tuner.errors import OtherCrystals, SearchError, SpaceError, TasksNotThere
from tuner.run.layout import RunFolder
from tuner.run.runs import Runs
from tuner.run.settings import (
    SearchSettings,
    check_resumed,
    default_name,
    other_store,
    parse_duration,
    resume_command,
    with_unit,
)
from tuner.space.toml import Space, builtin_spaces, parse_space, read_space_text

if TYPE_CHECKING:
    from tuner.training import Crystals

RESUME_COMMAND = "CRYSTUNE_RESUME_COMMAND"
"""Variable of the environment: what the user types to go on with the search, who is at another machine than this."""
_DEFAULTS: dict[str, int | None] = {
    "seed": 0,
    "max_epochs": 30,
    "trials": 32,
    "finalists": None,
    "finalist_seeds": None,
    "final_epochs": None,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        0 when there is a model to export; otherwise as `graphdb.command.run`.
    """
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
    split = settings.split
    say(
        f"{'Search' if old is None else 'Going on with'} {folder.address}: {count(settings.trials, 'trial')} of up to "
        f"{count(settings.max_epochs, 'epoch')} over {settings.space_name}, sampler {settings.sampler}, "
        f"{'ASHA with rungs at ' + _rungs_text(settings) if settings.asha else 'no early stopping'}\n"
        f"{count(split['train'] + split['validation'] + split['test'], 'crystal')} ({split['train']:,} train, "
        f"{split['validation']:,} validation, {split['test']:,} test), tasks: "
        + ", ".join(map(with_unit, settings.tasks, settings.units))
    )
    if arguments.address is not None:
        show_token()  # before ray is imported
    from tuner.driver import SearchDriver
    from tuner.training import evaluate_on_test, make_factory

    factory = make_factory(
        crystals,
        fixed=space.fixed,
        device=arguments.device,
        threads=max(1, int(arguments.cpus_per_trial)),
        origin={
            "run": folder.path.name,
            "store": {"source": Path(crystals.store).name, "fingerprint": settings.fingerprint},
            "split": settings.split,
            "graph": crystals.graphs.settings.as_dict(),
        },
    )
    if old is None:
        entries: dict[str, Any] = {
            "format": "crystune run 1",
            "versions": versions("python", "crystune", "torch", "ray", "optuna", "numpy"),
        }
    else:
        entries = {"resumed": [*folder.read().get("resumed", []), time.strftime("%Y-%m-%dT%H:%M:%S")]}
    campaign = SearchDriver(
        run=folder,
        entries=entries,
        settings=settings,
        space=space,
        factory=factory,
        # A cluster's GPUs are not those of the machine that this process is on.
        evaluate=lambda checkpoint: evaluate_on_test(
            crystals, checkpoint, "auto" if arguments.address else arguments.device
        ),
        options=_execution_options(arguments, crystals.num_bytes),
        console=console,
        resume_command=theirs or resume_command(folder.path.name, arguments.runs),
    )
    campaign.execute()
    address = shlex.quote(folder.address)
    commands = (
        f"\nNext:\n  {invocation('tuner.report')} {address}\n"
        f"  {invocation('tuner.export')} {address} -o {shlex.quote(f'exports/{folder.path.name}')}"
    )
    say(f"\nResults: {folder.address}" + ("" if theirs else commands))
    return 0


def _check_combination(arguments: argparse.Namespace) -> None:
    """Refuse flags that do not go together, before anything is loaded."""
    if arguments.name == "" or (
        arguments.name is not None and ("/" in arguments.name or arguments.name in (".", ".."))
    ):
        raise SearchError(
            f"--name must be a plain name such as first, got {arguments.name!r}; the folder is chosen with --runs"
        )
    for flag, value in (
        ("--space", arguments.space),
        ("--runs", arguments.runs),
        ("--store", arguments.store),
        ("--address", arguments.address),
    ):
        if value is not None and not value.strip():
            raise SearchError(f"{flag} must not be empty, got {value!r}; leave it out for the default")
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
        folder.check_free()
        return folder, SearchSettings.from_dict(folder.read()["settings"])
    name = arguments.name or default_name(arguments.space)
    if runs.is_taken(name):
        raise SearchError(
            f"a new search needs a new name, but {runs.folder(name).address} exists; go on with it by --resume, "
            "choose another --name, or remove it"
        )
    folder = runs.folder(name)
    folder.check_place()
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
    from graphdb.copies import absolute
    from tuner.training import check_device, check_setting, known_settings, load_crystals

    if arguments.address is None:
        from tuner.cluster.resources import this_machine

        check_device(arguments.device)
        check_machine(_execution_options(arguments), this_machine())
    store = arguments.store if arguments.store is not None or old is None else old.store
    tasks = arguments.tasks if arguments.tasks is not None or old is None else list(old.tasks)
    if tasks is not None:  # mistakes in the file are told before a large store is read
        parse_space(space_text, space_name, tasks, known_settings(), check_setting)
    try:
        expected = old.fingerprint if old is not None and arguments.tasks is None else None
        crystals = load_crystals(store, tasks, fractions=fractions, fingerprint=expected, say=say)
    except OtherCrystals as error:
        assert old is not None
        raise other_store(old, store, folder.path.name, "it holds other graphs or targets") from error
    except TasksNotThere as error:
        if old is None or arguments.tasks is not None:
            raise
        raise other_store(old, store, folder.path.name, f"it lacks {', '.join(old.tasks)}") from error
    names = tuple(task.name for task in crystals.graphs.tasks)
    space = parse_space(space_text, space_name, names, known_settings(), check_setting)

    def choose(name: str) -> Any:
        given = getattr(arguments, name)
        if given is not None:
            return given
        return getattr(old, name) if old is not None else _DEFAULTS[name]

    sampler = arguments.sampler or (old.sampler if old is not None else "tpe")
    endless = [parameter.name for parameter in space.parameters if parameter.grid() is None]
    if sampler == "grid" and endless:
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
        seed=choose("seed"),
        sampler=sampler,
        asha=_asha_settings(arguments, space, choose("max_epochs"), old),
        max_epochs=choose("max_epochs"),
        trials=choose("trials"),
        finalists=choose("finalists"),
        finalist_seeds=choose("finalist_seeds"),
        final_epochs=choose("final_epochs"),
    )
    if old is not None:
        check_resumed(old, settings, folder.path.name, finalists_begun=folder.finalist_epochs.exists())
    return settings, space, crystals


def _fractions(arguments: argparse.Namespace, old: SearchSettings | None) -> tuple[float, float, float]:
    from graphdb.check import shares

    kept = (None, None, None) if old is None else old.fractions
    valid = kept[1] if arguments.valid is None else arguments.valid
    test = kept[2] if arguments.test is None else arguments.test
    if test == 0:
        raise SearchError("--test must be above 0, got 0: the finalists are measured on the test split; 0.1 is usual")
    return shares(valid, test)


def _asha_settings(
    arguments: argparse.Namespace, space: Space, max_epochs: int, old: SearchSettings | None
) -> dict[str, int] | None:
    if arguments.no_asha:
        return None
    if old is not None and arguments.space is None:
        return old.asha
    reduction = space.asha.get("reduction", 3)
    # Two rungs, at 1/9 and 1/3 of the epochs with a reduction of 3; a rung shortly before the end would save nothing.
    grace = space.asha.get("grace_epochs", -(-max_epochs // reduction**2))
    if grace > max_epochs:
        raise SpaceError(
            f"grace_epochs must be at most --max-epochs ({max_epochs}), got {grace} ({space.source}, [asha]): no trial "
            "would ever be stopped; lower it, raise --max-epochs, or say --no-asha"
        )
    return {"grace_epochs": grace, "reduction": reduction}


def _rungs_text(settings: SearchSettings) -> str:
    from tuner.trials.stopping.asha import Asha, AshaSettings

    assert settings.asha is not None
    rungs = Asha(AshaSettings(**settings.asha), settings.max_epochs).rung_epochs
    return ", ".join(map(str, rungs)) or "no epoch (the trials are too short)"


def _cpus(text: str) -> float:
    return _amount(text, "above 0", lambda number: number > 0)


def _gpus(text: str) -> float:
    return _amount(text, "of at least 0", lambda number: number >= 0)


def _amount(text: str, what: str, holds: Callable[[float], bool]) -> float:
    with contextlib.suppress(ValueError):
        if holds(number := float(text)) and number < float("inf"):
            return number
    raise argparse.ArgumentTypeError(f"must be a number {what}, got {text!r}")


def _duration(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of a search."""
    add = parser.add_argument
    what = f"a TOML file, or one of {', '.join(builtin_spaces())}"
    add("--space", metavar="NAME_OR_FILE", help=f"search space: {what}")
    add(
        "--store",
        metavar="STORE",
        help="crystals, written by graphdb.build: path or URI; the sample that ships when left out",
    )
    add("--tasks", metavar="A,B,C", type=task_names, help="properties to predict; all of the store when left out")
    add(
        "--valid",
        type=share,
        metavar="SHARE",
        help="of the crystals, to choose epochs and trials by (0.1); with --resume as it was",
    )
    add("--test", type=share, metavar="SHARE", help="of the crystals, to measure the finalists on (0.1); likewise")
    add(
        "--trials",
        type=whole_number(1),
        metavar="N",
        help=f"trials to run ({_DEFAULTS['trials']}); may be raised with --resume",
    )
    add(
        "--max-epochs",
        type=whole_number(1),
        metavar="N",
        help=f"epochs of a trial that nothing stops ({_DEFAULTS['max_epochs']})",
    )
    add("--time-budget", type=_duration, metavar="2h", help="end the search after this time; finalists come on top")
    add("--name", help="name of the run; made of the space and the time when left out")
    add("--seed", type=whole_number(0, 2**63 - 1), metavar="S", help=f"of sampler and trainings ({_DEFAULTS['seed']})")
    add("--runs", default="runs", metavar="DIR", help="folder of all runs (runs), or s3://..., gs://...")
    add("--resume", action="store_true", help="go on with a run: --name, or the latest; its settings are kept")
    add(
        "--retry-failed",
        action="store_true",
        help="with --resume: run the parameters of failed trials again, as new trials",
    )
    add("--sampler", choices=("tpe", "random", "grid"), help="who proposes trials (tpe)")
    add("--no-asha", action="store_true", help="let every trial run to --max-epochs")
    add(
        "--finalists",
        type=whole_number(0),
        metavar="K",
        help="best trials to train again and test; by default 1 to 3, for a third of the epochs that trials trained",
    )
    add(
        "--finalist-seeds",
        type=whole_number(1),
        metavar="S",
        help="trainings of each finalist, with different seeds (1 to 3, likewise)",
    )
    add("--final-epochs", type=whole_number(1), metavar="N", help="epochs of each of these trainings (as --max-epochs)")
    add("--concurrent", type=whole_number(1), metavar="N", help="trials at the same time; as many as fit when left out")
    add("--cpus-per-trial", type=_cpus, default=1.0, metavar="N", help="CPU threads of a trial (1)")
    add("--gpus-per-trial", type=_gpus, metavar="N", help="share of a GPU for a trial (0.25 where there are GPUs)")
    add(
        "--epoch-timeout",
        type=_duration,
        metavar="30m",
        help="a trial silent for that long is ended and tried again (20 times the longest epoch, at least 10 min)",
    )
    add("--address", metavar="auto", help="use a Ray that runs already; started here when left out")
    add("--device", choices=("auto", "cpu", "cuda", "mps"), default="auto", help="what trials train on (auto)")


if __name__ == "__main__":
    sys.exit(main())
