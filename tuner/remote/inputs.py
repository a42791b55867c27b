"""What a user wants searched on a cluster, checked on the user's machine before anything is sent."""

import argparse
from dataclasses import dataclass
from pathlib import Path

from graphdb.command import did_you_mean, os_error_text
from tuner.errors import SearchError
from tuner.flags import add_flags
from tuner.space.toml import builtin_spaces, read_space_text

_OURS = ("--name", "--address", "--resume")  # set by `tuner.remote` itself


@dataclass(frozen=True, kw_only=True, slots=True)
class Input:
    """The files of the user's that the search needs on the head."""

    store: Path | None
    """A store on this machine; None for the sample, a URI, or as the run has it."""
    fingerprint: str | None
    """Of that store."""
    space: dict[str, str] | None
    """File name and text of a space on this machine; None for one that ships."""


def given_flags(arguments: argparse.Namespace) -> dict[str, str | None]:
    """The flags of tuner.search that were given, spelled out; None for those without a value."""
    flags: dict[str, str | None] = {}
    parser = argparse.ArgumentParser(add_help=False)
    add_flags(parser)
    for action in parser._actions:
        flag = action.option_strings[-1]
        value = getattr(arguments, action.dest, action.default)
        if flag in _OURS or value == action.default:
            continue
        flags[flag] = None if value is True else ",".join(value) if isinstance(value, list) else str(value)
    return flags


def read_input(arguments: argparse.Namespace) -> Input:
    """Read space and store, and check that they fit; what the head would refuse is a SearchError already here."""
    store, fingerprint, tasks = _read_store(arguments)
    space = None
    if arguments.space is not None:
        name, text = read_space_text(arguments.space)
        if arguments.space not in builtin_spaces():
            space = {"file": Path(arguments.space).name, "text": text}
        from tuner.trainer_factory import read_space

        read_space(text, name, tasks)
    return Input(store=store, fingerprint=fingerprint, space=space)


def _read_store(arguments: argparse.Namespace) -> tuple[Path | None, str | None, tuple[str, ...]]:
    given, tasks = arguments.store, tuple(arguments.tasks or ())
    if given is None:
        from graphdb.sample import TASKS

        # A resumed run has its own store and tasks; any two stand for them.
        return None, None, tasks or tuple(TASKS)
    if "://" in given:
        return None, None, tasks or ("first", "second")
    from graphdb.errors import GraphDBError
    from graphdb.store import Store

    try:
        with Store(Path(given)) as store:
            found, fingerprint = list(store.properties), store.fingerprint
    except (GraphDBError, OSError) as error:
        reason = os_error_text(error) if isinstance(error, OSError) else str(error)
        raise SearchError(
            f"--store {given} cannot be searched over: {reason}; "
            "it must be a store on this machine, which is then sent to the head, or a URI such as s3://bucket/my.lmdb"
        ) from error
    if unknown := [task for task in tasks if task not in found]:
        raise SearchError(
            f"--tasks must name properties of {given} ({', '.join(found)}), got {', '.join(map(repr, unknown))}"
            + did_you_mean(unknown[0], found)
        )
    return Path(given), fingerprint, tasks or tuple(found)
