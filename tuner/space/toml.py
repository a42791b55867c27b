"""A search space: what is varied, what is fixed, what is tried first. Read from TOML, strictly."""

import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

from graphdb.command import did_you_mean, os_error_text
from tuner.errors import SpaceError
from tuner.space.parameter import Parameter, Value

PER_TASK = "loss_weight"
"""The one parameter that exists once per task."""

_MOST_BYTES = 1_000_000
_SECTIONS = ("parameters", "fixed", "baseline", "asha")
_FORMS = ("values", "low", "high", "step", "log", "per_task", "when")
_OWN_FLAG = {
    "epochs": "--max-epochs",
    "seed": "--seed",
    "loss_weights": "the parameter loss_weight with per_task = true",
}

Check = Callable[[str, Value], None]
"""Raises ValueError or TypeError if a setting of this name cannot have this value."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Space:
    """A search space for a given list of tasks."""

    source: str
    """File it came from, for messages."""
    parameters: tuple[Parameter, ...]
    """In the order in which they are drawn: a condition names only earlier ones."""
    fixed: Mapping[str, Value]
    """Settings that every trial shares."""
    baseline: Mapping[str, Value] | None
    """A point to try first; parameters that it leaves out are drawn."""
    asha: Mapping[str, int]
    """grace_epochs and reduction, where the file sets them."""

    def is_whole(self, point: Mapping[str, Value]) -> bool:
        """Whether a point has all parameters that exist for it."""
        return all(parameter.name in point for parameter in self.parameters if parameter.is_active(point))

    def size(self) -> int | None:
        """Number of different points if all parameters are discrete, else None."""
        counts: Counter[frozenset[tuple[str, str]]] = Counter({frozenset(): 1})
        # Points of the parameters so far, by the conditions that they fulfil: pairs of (parent, who depends on it).
        for parameter in self.parameters:
            grid = parameter.grid()
            if grid is None:
                return None
            later = Counter[frozenset[tuple[str, str]]]()
            for fulfilled, count in counts.items():
                if all((parent, parameter.name) in fulfilled for parent in parameter.when):
                    for opened, values in self._opened_by(parameter, len(grid)).items():
                        later[fulfilled | opened] += count * values
                else:
                    later[fulfilled] += count
            counts = later
        return counts.total()

    def _opened_by(self, parent: Parameter, num_values: int) -> Mapping[frozenset[tuple[str, str]], int]:
        """How many values of a parameter fulfil which conditions of others."""
        named: dict[float, set[tuple[str, str]]] = {}
        for other in self.parameters:
            for value in other.when.get(parent.name, ()):
                named.setdefault(parent.place(value), set()).add((parent.name, other.name))
        opened = Counter(frozenset(pairs) for pairs in named.values())
        opened[frozenset()] += num_values - len(named)
        return opened


def builtin_spaces() -> tuple[str, ...]:
    """Names that --space takes besides paths."""
    folder = resources.files("tuner.space") / "builtin"
    return tuple(sorted(entry.name[:-5] for entry in folder.iterdir() if entry.name.endswith(".toml")))


def read_space_text(name_or_path: str) -> tuple[str, str]:
    """Find a space and return (its name for messages, its text).

    Raises:
        SpaceError: if it is neither the name of a space that ships nor a readable file.
    """
    if name_or_path in builtin_spaces():
        return f"{name_or_path}.toml", (resources.files("tuner.space") / "builtin" / f"{name_or_path}.toml").read_text()
    must = f"--space must be a TOML file or one of {', '.join(builtin_spaces())}, got {name_or_path!r}"
    path = Path(name_or_path)
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise SpaceError(f"{must}: it has {path.stat().st_size:,} bytes, and a space has less than {_MOST_BYTES:,}")
        return name_or_path, path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        nearby = [str(path.parent / file.name) for file in path.parent.glob("*.toml")]
        near = did_you_mean(name_or_path, [*builtin_spaces(), *nearby])
        raise SpaceError(f"{must}, and there is no such file{near}") from error
    except UnicodeDecodeError as error:
        raise SpaceError(f"{must}, which is not text in UTF-8") from error
    except (OSError, ValueError) as error:
        reason = os_error_text(error) if isinstance(error, OSError) else str(error)
        raise SpaceError(f"{must}, which cannot be read ({reason})") from error


def parse_space(text: str, source: str, tasks: Iterable[str], known: Iterable[str], check: Check) -> Space:
    """Read a space for these tasks.

    Args:
        text: TOML.
        source: where the text came from, for messages.
        tasks: names of the tasks, in the model's order; with one task a per-task weight means nothing and is left out.
        known: names that may be set: fields of Architecture and TrainConfig.
        check: refuses impossible values of a setting.

    Raises:
        SpaceError: naming file, key and value of what is wrong.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SpaceError(f"{source} must be TOML: {error}") from error
    task_names = tuple(tasks)
    reader = _Reader(source, (*sorted(set(known) - set(_OWN_FLAG)), PER_TASK), check)
    reader.known_keys(document, _SECTIONS, "the file")
    parameters: list[Parameter] = []
    for name, form in reader.table(document, "parameters").items():
        parameters.extend(reader.parameter(name, form, task_names, parameters))
    if not parameters:
        raise SpaceError(
            f"{source} must vary something in [parameters], got nothing; an example: num_convs = [2, 3, 4]"
        )
    fixed = reader.fixed(reader.table(document, "fixed"), {parameter.name.split(".")[0] for parameter in parameters})
    baseline = reader.baseline(document, parameters, task_names)
    asha = reader.table(document, "asha")
    reader.known_keys(asha, ("grace_epochs", "reduction"), "[asha]")
    for key, value in asha.items():
        least, meaning = (2, "one in so many goes on; 3 is usual") if key == "reduction" else (1, "epochs")
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise SpaceError(
                f"{key} must be a whole number of at least {least} ({meaning}), got {value!r} ({source}, [asha])"
            )
    return Space(source=source, parameters=tuple(parameters), fixed=fixed, baseline=baseline, asha=asha)


class _Reader:
    """Turns the tables of one file into parameters, with messages that name the place."""

    def __init__(self, source: str, known: tuple[str, ...], check: Check) -> None:
        self._source = source
        self._known = known
        self._check = check

    def table(self, document: Mapping[str, Any], section: str) -> Mapping[str, Any]:
        content = document.get(section, {})
        if not isinstance(content, dict):
            raise SpaceError(f"[{section}] must be a table, got {content!r} ({self._source})")
        return content

    def known_keys(self, content: Mapping[str, Any], allowed: Iterable[str], place: str) -> None:
        allowed_names = list(allowed)
        for key in content:
            if key not in allowed_names:
                longer = [name for name in allowed_names if key and name.startswith(key)]
                hint = (
                    did_you_mean(longer[0] if longer else key, allowed_names)
                    or f"; known are {', '.join(allowed_names)}"
                )
                raise SpaceError(f"{key!r} is not known in {place} of {self._source}{hint}")

    def setting_name(self, name: str, section: str) -> None:
        if name in _OWN_FLAG:
            raise SpaceError(f"{name!r} cannot be set in [{section}] of {self._source}; use {_OWN_FLAG[name]}")
        self.known_keys({name: None}, self._known, f"[{section}]")

    def possible(self, name: str, value: Any, section: str) -> None:
        if not isinstance(value, (bool, int, float, str)):
            raise SpaceError(
                f"{name} must be numbers, strings or booleans, got {value!r} ({self._source}, [{section}] {name})"
            )
        try:
            self._check(name, value)
        except (ValueError, TypeError) as error:
            raise SpaceError(
                f"{name} = {value!r} is not possible ({self._source}, [{section}] {name}): {error}"
            ) from error

    def parameter(
        self, name: str, form: Any, tasks: tuple[str, ...], earlier: list[Parameter]
    ) -> tuple[Parameter, ...]:
        self.setting_name(name, "parameters")
        form = {"values": form} if isinstance(form, list) else form
        place = f"[parameters] {name}"
        if not isinstance(form, dict):
            raise SpaceError(
                f"{name} must be a list of values or a table such as {{ low = 1e-4, high = 1e-1, log = true }}, "
                f"got {form!r} ({self._source}, [parameters]); constants belong in [fixed]"
            )
        self.known_keys(form, _FORMS, place)
        per_task = form.get("per_task", False)
        if per_task is not (name == PER_TASK):
            raise SpaceError(
                f"per_task must be {'true' if name == PER_TASK else 'left out'}, got {per_task!r} "
                f"({self._source}, {place}); "
                f"only {PER_TASK} exists once per task"
            )
        parameter = self._values(name, form, place) if "values" in form else self._range(name, form, place)
        parameter = replace(parameter, when=self._when(form.get("when", {}), place, earlier))
        for value in parameter.values or (parameter.low, parameter.high):
            self.possible(name, int(value) if parameter.integer else value, "parameters")
        if not per_task:
            return (parameter,)
        return tuple(replace(parameter, name=f"{name}.{task}") for task in tasks) if len(tasks) > 1 else ()

    def _values(self, name: str, form: Mapping[str, Any], place: str) -> Parameter:
        values = form["values"]
        for other in ("low", "high", "step", "log"):
            if other in form:
                raise SpaceError(
                    f"{name} must have either values or a range, got values and {other} ({self._source}, {place})"
                )
        if not isinstance(values, list) or not values:
            raise SpaceError(f"values must be a list with at least one entry, got {values!r} ({self._source}, {place})")
        for value in values:
            if not isinstance(value, (bool, int, float, str)):
                raise SpaceError(
                    f"values must be numbers, strings or booleans, got {value!r} ({self._source}, {place})"
                )
        if len(set(values)) < len(values):
            raise SpaceError(f"values must differ from each other, got {values!r} ({self._source}, {place})")
        if any(isinstance(value, float) for value in values) and all(type(value) in (int, float) for value in values):
            values = [float(value) for value in values]
        return Parameter(name=name, values=tuple(values))

    def _range(self, name: str, form: Mapping[str, Any], place: str) -> Parameter:
        for bound in ("low", "high"):
            if bound not in form:
                raise SpaceError(
                    f"{name} must have values = [...], or low and high; {bound} is missing ({self._source}, {place})"
                )
        low, high, step, log = form["low"], form["high"], form.get("step"), form.get("log", False)
        for key, value in (("low", low), ("high", high), ("step", 1 if step is None else step)):
            if type(value) not in (int, float):
                raise SpaceError(f"{key} must be a number, got {value!r} ({self._source}, {place})")
        if not isinstance(log, bool):
            raise SpaceError(f"log must be true or false, got {log!r} ({self._source}, {place})")
        integer = type(low) is int and type(high) is int and type(step) in (int, type(None))
        if not low < high:
            raise SpaceError(f"low must be below high, got low = {low!r}, high = {high!r} ({self._source}, {place})")
        if log and not low > 0:
            raise SpaceError(f"low must be > 0 where log = true, got {low!r} ({self._source}, {place})")
        if log and step is not None:
            raise SpaceError(f"step must be left out where log = true, got {step!r} ({self._source}, {place})")
        if step is not None and not 0 < step <= high - low:
            raise SpaceError(f"step must be > 0 and fit between low and high, got {step!r} ({self._source}, {place})")
        if step is not None and abs((high - low) / step - round((high - low) / step)) > 1e-9:
            raise SpaceError(
                f"step must divide high - low, got {step!r} for {low!r} to {high!r} ({self._source}, {place})"
            )
        return Parameter(name=name, low=low, high=high, step=step, integer=integer, log=log)

    def _when(self, form: Any, place: str, earlier: list[Parameter]) -> Mapping[str, tuple[Value, ...]]:
        if not isinstance(form, dict):
            raise SpaceError(
                f"when must be a table such as {{ num_convs = [2, 3] }}, got {form!r} ({self._source}, {place})"
            )
        parents = {parameter.name: parameter for parameter in earlier}
        self.known_keys(form, parents, f"when of {place} (it may name only parameters that stand before it)")
        when = {}
        for parent, values in form.items():
            allowed = values if isinstance(values, list) else [values]
            for value in allowed:
                if not isinstance(value, (bool, int, float, str)) or not parents[parent].contains(value):
                    raise SpaceError(
                        f"{parent} can never be {value!r} ({self._source}, when of {place}); "
                        f"it is {parents[parent].describe()}"
                    )
            when[parent] = tuple(allowed)
        return when

    def fixed(self, content: Mapping[str, Any], varied: set[str]) -> Mapping[str, Value]:
        for name, value in content.items():
            self.setting_name(name, "fixed")
            if name in varied or name == PER_TASK:
                raise SpaceError(
                    f"{name} must stand in one place, got it in [fixed] and [parameters] ({self._source})"
                    if name in varied
                    else f"{name} must stand in [parameters] or be left out, got it in [fixed] ({self._source})"
                )
            self.possible(name, value, "fixed")
        return dict(content)

    def baseline(
        self, document: Mapping[str, Any], parameters: list[Parameter], tasks: tuple[str, ...]
    ) -> Mapping[str, Value] | None:
        if "baseline" not in document:
            return None
        content = dict(self.table(document, "baseline"))
        if PER_TASK in content:
            weight = content.pop(PER_TASK)
            content.update({f"{PER_TASK}.{task}": weight for task in tasks if len(tasks) > 1})
        by_name = {parameter.name: parameter for parameter in parameters}
        self.known_keys(content, by_name, "[baseline]")
        for name, value in content.items():
            if not isinstance(value, (bool, int, float, str)) or not by_name[name].contains(value):
                raise SpaceError(
                    f"{name} must be {by_name[name].describe()}, got {value!r} ({self._source}, [baseline]); "
                    "the first trial must lie in the space"
                )
            if by_name[name].is_listed:
                content[name] = next(allowed for allowed in by_name[name].values if allowed == value)
        return content
