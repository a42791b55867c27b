"""Reads a search space from TOML, strictly: each mistake is named with file, key and value."""

import math
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

from graphdb.command import did_you_mean, os_error_text
from graphdb.records import Value
from tuner.errors import SpaceError
from tuner.space.parameter import PER_TASK, Parameter
from tuner.space.space import Space

_MOST_BYTES = 1_000_000
_SECTIONS = ("parameters", "fixed", "baseline")
_FORMS = ("values", "low", "high", "step", "log", "per_task", "when")
_OWN_FLAG = {
    "epochs": "--max-epochs",
    "seed": "--seed",
    "loss_weights": "the parameter loss_weight with per_task = true",
}

Check = Callable[[str, Value], None]
"""Raises ValueError or TypeError if a setting of this name cannot have this value."""
Rules = Mapping[str, Mapping[str, tuple[int, str]]]
"""Sections for rules that stop trials: for each whole number that may stand there, the least value and its meaning."""


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


def parse_space(
    text: str, source: str, tasks: Sequence[str], known: Iterable[str], check: Check, rules: Rules
) -> Space:
    """Read a space for these tasks.

    Args:
        text: TOML.
        source: where the text came from, for messages.
        tasks: names of the tasks, in the model's order; with one task a per-task weight means nothing and is left out.
        known: names that may be set.
        check: refuses impossible values of a setting.
        rules: sections for rules that stop trials.

    Raises:
        SpaceError: naming file, key and value of what is wrong.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SpaceError(f"{source} must be TOML: {error}") from error
    names = (*sorted(set(known) - set(_OWN_FLAG)), PER_TASK)
    return _Reader(document, source, names, tasks if len(tasks) > 1 else (), check, rules).space()


class _Reader:
    """Turns the tables of one file into a space, with messages that name the place."""

    def __init__(
        self,
        document: Mapping[str, Any],
        source: str,
        known: Sequence[str],
        tasks: Sequence[str],
        check: Check,
        rules: Rules,
    ) -> None:
        self._document = document
        self._source = source
        self._known = known
        self._tasks = tasks
        """Those with a weight of their own."""
        self._check = check
        self._rules = rules

    def space(self) -> Space:
        self._known_keys(self._document, (*_SECTIONS, *self._rules), "the file")
        parameters: dict[str, Parameter] = {}
        for name, form in self._table("parameters").items():
            for parameter in self._parameter(name, form, parameters):
                parameters[parameter.name] = parameter
        if not parameters:
            raise SpaceError(
                f"{self._source} must vary something in [parameters], got nothing; an example: num_convs = [2, 3, 4]"
            )
        return Space(
            source=self._source,
            parameters=tuple(parameters.values()),
            fixed=self._fixed({name.split(".")[0] for name in parameters}),
            baseline=self._baseline(parameters) if "baseline" in self._document else None,
            stopping=self._stopping(),
        )

    def _must(self, holds: bool, what: str, place: str, hint: str = "") -> None:
        """Refuse what does not hold: what must hold and what came, then the place, then what to do."""
        if not holds:
            raise SpaceError(f"{what} ({self._source}, {place}){hint and '; '}{hint}")

    def _table(self, section: str) -> Mapping[str, Any]:
        content = self._document.get(section, {})
        if not isinstance(content, dict):
            raise SpaceError(f"[{section}] must be a table, got {content!r} ({self._source})")
        return content

    def _known_keys(self, keys: Iterable[str], allowed: Iterable[str], place: str) -> None:
        names = list(allowed)
        for key in keys:
            if key not in names:
                longer = [name for name in names if key and name.startswith(key)]
                hint = did_you_mean(longer[0] if longer else key, names) or f"; known are {', '.join(names)}"
                raise SpaceError(f"{key!r} is not known in {place} of {self._source}{hint}")

    def _setting_name(self, name: str, section: str) -> None:
        if name in _OWN_FLAG:
            raise SpaceError(f"{name!r} cannot be set in [{section}] of {self._source}; use {_OWN_FLAG[name]}")
        self._known_keys([name], self._known, f"[{section}]")

    def _possible(self, name: str, value: Any, place: str) -> None:
        self._must(_is_value(value), f"{name} must be numbers, strings or booleans, got {value!r}", place)
        try:
            self._check(name, value)
        except (ValueError, TypeError) as error:
            raise SpaceError(f"{name} = {value!r} is not possible ({self._source}, {place}): {error}") from error

    def _parameter(self, name: str, form: Any, earlier: Mapping[str, Parameter]) -> Iterable[Parameter]:
        self._setting_name(name, "parameters")
        place = f"[parameters] {name}"
        form = {"values": form} if isinstance(form, list) else form
        what = f"{name} must be a list of values or a table such as {{ low = 1e-4, high = 1e-1, log = true }}, got "
        self._must(isinstance(form, dict), f"{what}{form!r}", "[parameters]", "constants belong in [fixed]")
        self._known_keys(form, _FORMS, place)
        per_task = form.get("per_task", False)
        what = f"per_task must be {'true' if name == PER_TASK else 'left out'}, got {per_task!r}"
        self._must(per_task is (name == PER_TASK), what, place, f"only {PER_TASK} exists once per task")
        parameter = self._listed(name, form, place) if "values" in form else self._range(name, form, place)
        parameter = replace(parameter, when=self._when(form.get("when", {}), place, earlier))
        for value in parameter.values or (parameter.low, parameter.high):
            self._possible(name, int(value) if parameter.integer else value, place)
        return [replace(parameter, name=f"{name}.{task}") for task in self._tasks] if per_task else [parameter]

    def _listed(self, name: str, form: Mapping[str, Any], place: str) -> Parameter:
        must, values = partial(self._must, place=place), form["values"]
        for other in ("low", "high", "step", "log"):
            must(other not in form, f"{name} must have either values or a range, got values and {other}")
        is_list = isinstance(values, list) and len(values) > 0
        must(is_list, f"values must be a list with at least one entry, got {values!r}")
        for value in values:
            must(_is_value(value), f"values must be numbers, strings or booleans, got {value!r}")
        must(len(set(values)) == len(values), f"values must differ from each other, got {values!r}")
        if any(isinstance(value, float) for value in values) and all(type(value) in (int, float) for value in values):
            values = [float(value) for value in values]
        return Parameter(name=name, values=tuple(values))

    def _range(self, name: str, form: Mapping[str, Any], place: str) -> Parameter:
        must = partial(self._must, place=place)
        for bound in ("low", "high"):
            must(bound in form, f"{name} must have values = [...], or low and high; {bound} is missing")
        low, high, step, log = form["low"], form["high"], form.get("step"), form.get("log", False)
        for key, value in (("low", low), ("high", high), ("step", 1 if step is None else step)):
            must(type(value) in (int, float), f"{key} must be a number, got {value!r}")
        must(isinstance(log, bool), f"log must be true or false, got {log!r}")
        must(low < high, f"low must be below high, got low = {low!r}, high = {high!r}")
        must(low > 0 or not log, f"low must be > 0 where log = true, got {low!r}")
        must(step is None or not log, f"step must be left out where log = true, got {step!r}")
        if step is not None:
            must(0 < step <= high - low, f"step must be > 0 and fit between low and high, got {step!r}")
            steps = (high - low) / step
            whole = math.isfinite(steps) and abs(steps - round(steps)) <= 1e-9
            must(whole, f"step must divide high - low, got {step!r} for {low!r} to {high!r}")
        integer = type(low) is int and type(high) is int and type(step) in (int, type(None))
        return Parameter(name=name, low=low, high=high, step=step, integer=integer, log=log)

    def _when(self, form: Any, place: str, earlier: Mapping[str, Parameter]) -> Mapping[str, tuple[Value, ...]]:
        what = f"when must be a table such as {{ num_convs = [2, 3] }}, got {form!r}"
        self._must(isinstance(form, dict), what, place)
        self._known_keys(form, earlier, f"when of {place} (it may name only parameters that stand before it)")
        when = {parent: tuple(values if isinstance(values, list) else [values]) for parent, values in form.items()}
        for parent, values in when.items():
            for value in values:
                possible = _is_value(value) and earlier[parent].contains(value)
                hint = f"it is {earlier[parent].describe()}"
                self._must(possible, f"{parent} can never be {value!r}", f"when of {place}", hint)
        return when

    def _fixed(self, varied: set[str]) -> Mapping[str, Value]:
        content = self._table("fixed")
        for name, value in content.items():
            self._setting_name(name, "fixed")
            if name in varied:
                rule = "in one place, got it in [fixed] and [parameters]"
                raise SpaceError(f"{name} must stand {rule} ({self._source})")
            if name == PER_TASK:
                rule = "in [parameters] or be left out, got it in [fixed]"
                raise SpaceError(f"{name} must stand {rule} ({self._source})")
            self._possible(name, value, f"[fixed] {name}")
        return content

    def _baseline(self, parameters: Mapping[str, Parameter]) -> Mapping[str, Value]:
        content = dict(self._table("baseline"))
        if PER_TASK in content:
            weight = content.pop(PER_TASK)
            content.update({f"{PER_TASK}.{task}": weight for task in self._tasks})
        self._known_keys(content, parameters, "[baseline]")
        for name, value in content.items():
            parameter = parameters[name]
            inside = _is_value(value) and parameter.contains(value)
            what = f"{name} must be {parameter.describe()}, got {value!r}"
            self._must(inside, what, "[baseline]", "the first trial must lie in the space")
            if parameter.is_listed:
                content[name] = next(allowed for allowed in parameter.values if allowed == value)
        return content

    def _stopping(self) -> Mapping[str, Mapping[str, int]]:
        found = [name for name in self._rules if name in self._document]
        if len(found) > 1:
            sections = " and ".join(f"[{name}]" for name in found)
            raise SpaceError(f"at most one rule may stop trials, got {sections} ({self._source}); remove one")
        return {name: self._rule(name) for name in found}

    def _rule(self, name: str) -> Mapping[str, int]:
        content, options = self._table(name), self._rules[name]
        self._known_keys(content, options, f"[{name}]")
        for key, value in content.items():
            least, meaning = options[key]
            what = f"{key} must be a whole number of at least {least} ({meaning}), got {value!r}"
            self._must(type(value) is int and value >= least, what, f"[{name}]")
        return content


def _is_value(value: object) -> bool:
    return isinstance(value, (bool, int, float, str))
