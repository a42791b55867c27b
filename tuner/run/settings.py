"""The resolved settings of a search: what run.json holds, and what may change when it is resumed."""

import re
import shlex
import time
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from graphdb.command import invocation
from graphdb.records import read_record
from tuner.errors import SearchError, SettingsMismatch


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchSettings:
    """Everything that decides which trials a search runs and how each ends."""

    space_name: str
    """Name or path as given."""
    space_text: str
    """The TOML itself: a resumed search does not depend on the file."""
    store: str | None
    """Path; None for the sample that ships."""
    fingerprint: str
    """Of the store's graphs and targets."""
    tasks: tuple[str, ...]
    """Names of the tasks, in the model's order."""
    units: tuple[str, ...]
    """Their units."""
    split: dict[str, Any]
    """Rule and sizes."""
    seed: int
    """Of the sampler and, through it, of all trainings."""
    sampler: str
    """Name of who proposes trials."""
    stopping: dict[str, Any]
    """Name of the ``rule`` that stops trials, and its options."""
    max_epochs: int
    """Epochs of a trial that nothing stops."""
    trials: int
    """Trials to run; may change on resume."""
    finalists: int | None
    """Best trials that are retrained; None for what a third of the trials' epochs pays for. May change on resume."""
    finalist_seeds: int | None
    """Trainings of each finalist; None as above. May change on resume."""
    final_epochs: int | None = None
    """Epochs of each of them; None for max_epochs. May change on resume until the first of them begins."""

    @property
    def fractions(self) -> tuple[float, float, float]:
        """Shares of training, validation and test split."""
        from graphdb.split import DEFAULT_FRACTIONS  # numpy

        train, validation, test = self.split.get("fractions", DEFAULT_FRACTIONS)
        return train, validation, test

    def as_dict(self) -> dict[str, Any]:
        """JSON-able values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Self:
        """Back from `as_dict`.

        Raises:
            SearchError: if the run was written by a version with other settings.
        """
        content = dict(content)
        if "asha" in content:  # as it was before December 2026
            options = content.pop("asha")
            content["stopping"] = {"rule": "none"} if options is None else {"rule": "asha", **options}
        try:
            return read_record(cls, content, "run.json")
        except ValueError as error:
            raise SearchError(f"{error}; start a new run") from error


_FREE = ("trials", "finalists", "finalist_seeds", "space_name", "store", "split", "units")
_FLAGS = {"space_text": "--space", "stopping": "early stopping (--no-asha, [asha])"}


def check_resumed(old: SearchSettings, new: SearchSettings, name: str, *, finalists_begun: bool = True) -> None:
    """Refuse a resume under other rules.

    Args:
        old: of the run.
        new: of this command.
        name: of the run.
        finalists_begun: whether some finalist has trained an epoch.

    Raises:
        SettingsMismatch: naming the setting and both values.
    """
    if old.fingerprint != new.fingerprint:
        raise other_store(old, new.store, name, "it holds other graphs or targets")
    values: list[tuple[str, Any, Any]] = [
        *zip(("--valid", "--test"), old.fractions[1:], new.fractions[1:], strict=True)
    ]
    for field in fields(SearchSettings):
        if field.name not in _FREE and (finalists_begun or field.name != "final_epochs"):
            flag = _FLAGS.get(field.name, f"--{field.name.replace('_', '-')}")
            values.append((flag, getattr(old, field.name), getattr(new, field.name)))
    for flag, before, now in values:
        if before != now:
            if flag == "--space":
                before, now = f"the space as it was ({old.space_name})", f"another text ({new.space_name})"
            raise SettingsMismatch(
                f"a resumed search must keep its settings, but {flag} was {_text(before)} and is now {_text(now)} (run "
                f"{name}); leave the flag out, or start a new search with another --name"
            )


def other_store(old: SearchSettings, store: str | None, name: str, why: str) -> SettingsMismatch:
    """The refusal of crystals that are not those that a search began with."""
    now, before = (f"--store {path}" if path else "the sample that ships" for path in (store, old.store))
    what = f"{now} has changed since" if now == before else f"{now} is not {before}, with which"
    return SettingsMismatch(
        f"a resumed search must keep its crystals, but {what} the search began: {why} (run {name}); "
        f"{'' if now == before else 'leave --store out, or '}start a new search with another --name"
    )


def _text(value: Any) -> str:
    if isinstance(value, dict):  # of a rule that stops trials
        return ", ".join(f"{name} {number}" for name, number in value.items() if name != "rule") or "none"
    if isinstance(value, tuple):
        return ",".join(value)
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def resume_command(name: str, runs: str) -> str:
    """What is typed to go on with a search."""
    where = "" if runs == "runs" else f" --runs {shlex.quote(runs)}"
    return f"{invocation('tuner.search')} --resume --name {shlex.quote(name)}{where}"


def export_command(run: str, name: str) -> str:
    """What is typed to export the best model of a run."""
    return f"{invocation('tuner.export')} {shlex.quote(run)} -o {shlex.quote(f'exports/{name}')}"


def parse_duration(text: str) -> float:
    """Seconds of "90s", "30m", "2h", "1.5h", "1h30m" or a plain number of seconds.

    Raises:
        ValueError: if it is none of these.
    """
    number = r"(\d+(?:\.\d+)?)"
    parts = re.fullmatch(rf"(?:{number}h)?(?:{number}m)?(?:{number}s?)?", text.strip())
    if not text.strip() or parts is None:
        raise ValueError(f"a duration must look like 2h, 30m, 90s or 1h30m, got {text!r}")
    total = sum(float(part or 0) * unit for part, unit in zip(parts.groups(), (3600, 60, 1), strict=True))
    if total <= 0:
        raise ValueError(f"a duration must be > 0, got {text!r}")
    return total


def with_unit(name: str, unit: str) -> str:
    """``band_gap MAE [eV]``; the name alone where there is no unit."""
    return f"{name} [{unit}]" if unit else name


def default_name(space_name: str) -> str:
    """Name of a new run: the space's and the time."""
    stem = re.sub(r"[^A-Za-z0-9_-]+", "-", re.sub(r"\.toml$", "", space_name.replace("\\", "/").split("/")[-1]))
    return f"{stem or 'search'}-{time.strftime('%Y%m%d-%H%M%S')}"
