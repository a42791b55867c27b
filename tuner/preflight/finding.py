"""One result of a check."""

import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import ParamSpec

from graphdb.command import did_you_mean

P = ParamSpec("P")


class Severity(StrEnum):
    """How bad it is."""

    ERROR = "error"
    """`ray up` or the search will fail, or the cluster is open to strangers."""
    WARNING = "warning"
    """It may go on, but probably not as intended; or it could not be checked."""
    OK = "ok"


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """What a check has to say."""

    severity: Severity
    what: str
    """What must hold, and what came instead."""
    where: str = ""
    """Key path in the cluster file with its line, or a host; empty if it is about the whole."""
    fix: str = ""
    """What to do; empty if nothing."""


def error(where: object, what: str, fix: str) -> Finding:
    """Something that must be fixed."""
    return Finding(severity=Severity.ERROR, where=str(where), what=what, fix=fix)


def warning(where: object, what: str, fix: str = "") -> Finding:
    """Something to look at."""
    return Finding(severity=Severity.WARNING, where=str(where), what=what, fix=fix)


def ok(what: str) -> Finding:
    """Something that holds."""
    return Finding(severity=Severity.OK, what=what)


def otherwise(what: str) -> Callable[[Callable[P, Iterator[Finding]]], Callable[P, list[Finding]]]:
    """Decorate a check: a list of what it finds; where that is nothing, that `what` holds."""

    def decorate(check: Callable[P, Iterator[Finding]]) -> Callable[P, list[Finding]]:
        @functools.wraps(check)
        def findings(*args: P.args, **kwargs: P.kwargs) -> list[Finding]:
            return list(check(*args, **kwargs)) or [ok(what)]

        return findings

    return decorate


def fix_for(name: str, known: Iterable[str]) -> str:
    """``did you mean 'ImageId'?``, or the known names if none is near."""
    names = sorted(set(known))
    alike = [other for other in names if other.lower() == name.lower()]
    near = did_you_mean(alike[0] if alike else name, names)
    if near:
        return near.removeprefix("; ")
    return f"known are {', '.join(names)}" if 0 < len(names) <= 20 else "remove it"


def gigabytes(size: float) -> str:
    """``7.0 GB``."""
    return f"{size / 1e9:.1f} GB"
