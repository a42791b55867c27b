"""`python -m tuner.search`: search for the best hyperparameters, then retrain and test the finalists."""

import argparse
import contextlib
import os
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.text import Text

from tuner.errors import SearchError
from tuner.live import make_console
from tuner.raytoken import show_token
from tuner.runfolder import RunFolder, Runs
from tuner.settings import SearchSettings, check_resumed, default_name, parse_duration, versions
from tuner.space import Space, builtin_spaces, parse_space, read_space_text

if TYPE_CHECKING:
    from tuner.objective import Crystals

RESUME_COMMAND = "CRYSTUNE_RESUME_COMMAND"
"""Variable of the environment: what the user types to go on with the search, who is at another machine than this."""
_DEFAULTS: dict[str, int | None] = {
    "seed": 0,
    "max_epochs": 30,
    "trials": 32,
    "finalists": 3,
    "finalist_seeds": 3,
    "final_epochs": None,
}


def main(argv: list[str] | None = None) -> int:
    """Run the command.

    Returns:
        0 when there is a model to export, 2 for what the user has to mend, 130 after Ctrl-C.
    """
    arguments = _parser().parse_args(argv)
    try:
        return _search(arguments)
    except (SearchError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _search(arguments: argparse.Namespace) -> int:
    console = make_console()
    run, old = _open_run(arguments, Runs(arguments.runs), lambda text: console.print(Text(text), soft_wrap=True))
    settings, space, crystals = _resolve(arguments, run, old)
    theirs = os.environ.get(RESUME_COMMAND)
    resume_command = theirs or f"python -m tuner.search --resume --name {shlex.quote(run.path.name)}" + (
        f" --runs {shlex.quote(arguments.runs)}" if arguments.runs != "runs" else ""
    )
    split = settings.split
    console.print(
        Text(
            f"{'Search' if old is None else 'Going on with'} {run.address}: {settings.trials} trials of up to "
            f"{settings.max_epochs} epochs over {settings.space_name}, sampler {settings.sampler}, "
            f"{'ASHA with rungs at ' + _rungs_text(settings) if settings.asha else 'no early stopping'}\n"
            f"{split['train'] + split['validation'] + split['test']:,} crystals ({split['train']:,} train, "
            f"{split['validation']:,} validation, {split['test']:,} test), tasks: "
            + ", ".join(f"{t} [{u}]" if u else t for t, u in zip(settings.tasks, settings.units, strict=True))
        ),
        soft_wrap=True,
    )
    if arguments.address is not None:
        show_token()  # before ray is imported
    from tuner.campaign import Campaign
    from tuner.objective import evaluate_on_test, make_factory
    from tuner.room import Means

    factory = make_factory(
        crystals,
        fixed=space.fixed,
        device=arguments.device,
        threads=max(1, int(arguments.cpus_per_trial)),
        origin={
            "run": run.path.name,
            "store": {"source": Path(crystals.store).name, "fingerprint": settings.fingerprint},
            "split": settings.split,
            "graph": crystals.graphs.settings.as_dict(),
        },
    )
    if old is None:
        entries: dict[str, Any] = {"format": "crystune run 1", "versions": versions()}
    else:
        entries = {"resumed": [*run.read().get("resumed", []), time.strftime("%Y-%m-%dT%H:%M:%S")]}
    campaign = Campaign(
        run=run,
        entries=entries,
        settings=settings,
        space=space,
        factory=factory,
        # A cluster's GPUs are not those of the machine that this process is on.
        evaluate=lambda folder: evaluate_on_test(crystals, folder, "auto" if arguments.address else arguments.device),
        means=Means(
            address=arguments.address,
            concurrency=arguments.concurrent,
            cpus_per_trial=arguments.cpus_per_trial,
            gpus_per_trial=arguments.gpus_per_trial,
            silence=arguments.epoch_timeout,
            time_budget=arguments.time_budget,
            retry_failed=arguments.retry_failed,
            data_bytes=crystals.num_bytes,
        ),
        console=console,
        resume_command=resume_command,
    )
    campaign.execute()
    commands = (
        f"\nNext:\n  python -m tuner.report {shlex.quote(run.address)}\n"
        f"  python -m tuner.export {shlex.quote(run.address)} -o exports/{run.path.name}"
    )
    console.print(Text(f"\nResults: {run.address}" + ("" if theirs else commands)), soft_wrap=True)
    return 0


def _open_run(
    arguments: argparse.Namespace, runs: Runs, say: Callable[[str], None]
) -> tuple[RunFolder, SearchSettings | None]:
    if arguments.resume:
        name = arguments.name or runs.latest()
        if name is None:
            raise SearchError(f"--resume needs a run, but there is none in {runs}; leave --resume out to start one")
        run = runs.open(name, say)
        return run, SearchSettings.from_dict(run.read()["settings"])
    if arguments.space is None:
        raise SearchError(f"--space must be given: a TOML file or one of {', '.join(builtin_spaces())}")
    name = arguments.name or default_name(arguments.space)
    if "/" in name or name in ("", ".", ".."):
        raise SearchError(f"--name must be a plain name, got {name!r}; the folder is chosen with --runs")
    if runs.is_taken(name):
        raise SearchError(
            f"a new search needs a new name, but {runs.folder(name).address} exists; go on with it by --resume, "
            "choose another --name, or remove it"
        )
    return runs.folder(name), None


def _resolve(
    arguments: argparse.Namespace, run: RunFolder, old: SearchSettings | None
) -> "tuple[SearchSettings, Space, Crystals]":
    """Flags given, else what the run had, else defaults; checked against crystals and model."""
    if arguments.space is not None:
        space_name, space_text = read_space_text(arguments.space)
    else:
        assert old is not None
        space_name, space_text = old.space_name, old.space_text
    from graphdb.copies import absolute
    from tuner.objective import check_device, check_setting, known_settings, load_crystals

    if arguments.address is None:
        check_device(arguments.device)
    store = arguments.store if arguments.store is not None or old is None else old.store
    tasks = arguments.tasks if arguments.tasks is not None or old is None else list(old.tasks)
    crystals = load_crystals(store, tasks, say=lambda text: make_console().print(Text(text), soft_wrap=True))
    task_names = tuple(task.name for task in crystals.graphs.tasks)
    space = parse_space(space_text, space_name, task_names, known_settings(), check_setting)

    def choose(name: str) -> Any:
        given = getattr(arguments, name)
        if given is not None:
            return given
        return getattr(old, name) if old is not None else _DEFAULTS[name]

    sampler = arguments.sampler or (old.sampler if old is not None else "tpe")
    if sampler == "grid" and space.size() is None:
        raise SearchError(f"--sampler grid needs values that can be counted, but {space.source} has a continuous range")
    settings = SearchSettings(
        space_name=space_name,
        space_text=space_text,
        store=absolute(store) if store is not None else None,
        fingerprint=crystals.graphs.fingerprint,
        tasks=task_names,
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
        check_resumed(old, settings, run.path.name, finalists_begun=run.finalist_epochs.exists())
    return settings, space, crystals


def _asha_settings(
    arguments: argparse.Namespace, space: Space, max_epochs: int, old: SearchSettings | None
) -> dict[str, int] | None:
    if arguments.no_asha:
        return None
    if old is not None and arguments.space is None:
        return old.asha
    reduction = space.asha.get("reduction", 3)
    # Two rungs, at 1/9 and 1/3 of the epochs with a reduction of 3; a rung shortly before the end would save nothing.
    return {"grace_epochs": space.asha.get("grace_epochs", -(-max_epochs // reduction**2)), "reduction": reduction}


def _rungs_text(settings: SearchSettings) -> str:
    from tuner.asha import Asha, AshaSettings

    assert settings.asha is not None
    rungs = Asha(AshaSettings(**settings.asha), settings.max_epochs).rung_epochs
    return ", ".join(map(str, rungs)) or "no epoch (the trials are too short)"


def _positive(text: str) -> int:
    return _at_least(1, text)


def _not_negative(text: str) -> int:
    return _at_least(0, text)


def _at_least(minimum: int, text: str) -> int:
    with contextlib.suppress(ValueError):
        if (number := int(text)) >= minimum:
            return number
    raise argparse.ArgumentTypeError(f"must be a whole number of at least {minimum}, got {text!r}")


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


def _tasks(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise argparse.ArgumentTypeError(
            f"must name properties, separated by commas, got {text!r}; leave it out for all of the store"
        )
    return names


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tuner.search", description=__doc__)
    add = parser.add_argument
    what = f"a TOML file, or one of {', '.join(builtin_spaces())}"
    add("--space", metavar="NAME_OR_FILE", help=f"search space: {what}")
    add(
        "--store",
        metavar="STORE",
        help="crystals, written by graphdb.build: path or URI; the sample that ships when left out",
    )
    add("--tasks", metavar="A,B,C", type=_tasks, help="properties to predict; all of the store when left out")
    add(
        "--trials",
        type=_positive,
        metavar="N",
        help=f"trials to run ({_DEFAULTS['trials']}); may be raised with --resume",
    )
    add(
        "--max-epochs",
        type=_positive,
        metavar="N",
        help=f"epochs of a trial that nothing stops ({_DEFAULTS['max_epochs']})",
    )
    add("--time-budget", type=_duration, metavar="2h", help="end the search after this time; finalists come on top")
    add("--name", help="name of the run; made of the space and the time when left out")
    add("--seed", type=_not_negative, metavar="S", help=f"of sampler and trainings ({_DEFAULTS['seed']})")
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
        type=_not_negative,
        metavar="K",
        help=f"best trials to train again and test ({_DEFAULTS['finalists']})",
    )
    add(
        "--finalist-seeds",
        type=_positive,
        metavar="S",
        help=f"trainings of each finalist ({_DEFAULTS['finalist_seeds']})",
    )
    add("--final-epochs", type=_positive, metavar="N", help="epochs of each of these trainings (as --max-epochs)")
    add("--concurrent", type=_positive, metavar="N", help="trials at the same time; as many as fit when left out")
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
    return parser


if __name__ == "__main__":
    sys.exit(main())
