"""Files of hyperparameters: read for any store, and written without what belongs to one.

TOML with the tables [architecture], [train] and [loader], or a checkpoint's ``config.json``. Weights of the loss stand
by task name in [train.loss_weights], so that the same file serves stores with other tasks.
"""

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self

from graphdb.command import did_you_mean
from graphdb.errors import CrystuneError
from model.network import Architecture
from model.train_config import TrainConfig

_LOADER = ("max_atoms",)
_NONE = "none"
"""How TOML, which has no null, writes the settings that may be None."""


class ConfigError(CrystuneError, ValueError):
    """A file of hyperparameters with something unknown or out of range in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hyperparameters:
    """How a network looks and is trained, for any store."""

    architecture: Architecture
    train: TrainConfig
    """Its loss weights are None unless a file listed them by position."""
    loss_weights: Mapping[str, float] = field(default_factory=dict)
    """By task name."""
    max_atoms: int | None = None
    """Nodes in a batch, at most."""
    tasks: tuple[str, ...] | None = None
    """Those of the checkpoint that the file describes."""

    @classmethod
    def read(cls, path: str | None, *, epochs: int | None = None, seed: int | None = None) -> Self:
        """The settings of a file, with flags on top.

        Args:
            path: of the file; None for the defaults.
            epochs: instead of the file's.
            seed: instead of the file's.

        Raises:
            ConfigError: names file and key for anything it does not know.
        """
        content = _content(path) if path is not None else {}
        where = path or "command line"
        tables = {name: _table(content, name, where) for name in ("architecture", "train", "loader")}
        known = {
            "architecture": tuple(entry.name for entry in fields(Architecture)),
            "train": tuple(entry.name for entry in fields(TrainConfig)),
            "loader": _LOADER,
        }
        for name, values in tables.items():
            for key in values:
                if key not in known[name]:
                    raise ConfigError(
                        f"[{name}] must have keys that are known, got {key} ({where}); it may have "
                        f"{', '.join(known[name])}{did_you_mean(key, known[name])}"
                    )
        tasks, weights = _weights(content, tables["train"], where)
        flags = {"epochs": epochs, "seed": seed}
        train = tables["train"] | {name: value for name, value in flags.items() if value is not None}
        max_atoms = tables["loader"].get("max_atoms")
        if max_atoms is not None and (not isinstance(max_atoms, int) or max_atoms < 1):
            raise ConfigError(f"max_atoms must be an integer of at least 1, got {max_atoms!r} ({where}, [loader])")
        try:
            architecture, config = Architecture(**tables["architecture"]), TrainConfig(**train)
        except (ValueError, TypeError) as error:
            raise ConfigError(f"{error} ({where})") from error
        return cls(architecture=architecture, train=config, loss_weights=weights, max_atoms=max_atoms, tasks=tasks)

    def train_config(self, tasks: Sequence[str]) -> tuple[TrainConfig, list[str]]:
        """The training settings for some tasks.

        Returns:
            The settings with one weight per task, 1 for a task that has none, and the names whose weights are of no
            use here.
        """
        unused = [name for name in self.loss_weights if name not in tasks]
        if len(unused) == len(self.loss_weights):
            return self.train, unused
        return replace(self.train, loss_weights=tuple(self.loss_weights.get(name, 1.0) for name in tasks)), unused

    def as_toml(self, comment: Sequence[str] = ()) -> str:
        """The text of a file that `read` gives back, whatever the store; tasks are left out.

        Args:
            comment: lines at its top.
        """
        train = {**self.train.as_dict(), "loss_weights": None}
        lines = [f"# {line}".rstrip() for line in comment]
        lines += ["", "[architecture]", *(f"{name} = {_toml(v)}" for name, v in self.architecture.as_dict().items())]
        del train["loss_weights"]
        lines += ["", "[train]", *(f"{name} = {_toml(value)}" for name, value in train.items())]
        if self.loss_weights:
            lines += ["", "[train.loss_weights]  # by task; a task without one has 1"]
            lines += [f"{_toml(name)} = {_toml(float(weight))}" for name, weight in self.loss_weights.items()]
        if self.max_atoms is not None:
            lines += ["", "[loader]", f"max_atoms = {self.max_atoms}"]
        return "\n".join(lines).lstrip("\n") + "\n"


def from_checkpoint(info: Mapping[str, Any]) -> Hyperparameters:
    """The hyperparameters in a checkpoint's configuration; tasks only as names of the weights."""
    tables = {"train": dict(info["train"])}
    tasks, weights = _weights(info, tables["train"], "config.json")
    return Hyperparameters(
        architecture=Architecture.from_dict(info["architecture"]),
        train=TrainConfig.from_dict(tables["train"]),
        loss_weights=weights,
        max_atoms=(info.get("loader") or {}).get("max_atoms"),
        tasks=tasks,
    )


def _content(path: str) -> dict[str, Any]:
    file = Path(path)
    if not file.is_file():
        what = f"{path} is a folder; name the config.json in it" if file.is_dir() else f"there is none at {path}"
        raise ConfigError(f"--config must be a file, but {what}")
    is_json = path.endswith(".json")
    try:
        text = file.read_text(encoding="utf-8")
        content = json.loads(text) if is_json else tomllib.loads(text)
    except ValueError as error:
        raise ConfigError(f"{path} must be TOML, or the config.json of a checkpoint: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path} must be the config.json of a checkpoint, got a {type(content).__name__}")
    if is_json and not {"architecture", "train"} & content.keys():
        raise ConfigError(f"{path} must be the config.json of a checkpoint that was trained here, it has no 'train'")
    unknown = sorted(content.keys() - {"architecture", "train", "loader"})
    if unknown and not is_json:
        search = " (it looks like a search space: tuner.search --space takes it)" if "parameters" in unknown else ""
        raise ConfigError(
            f"{path} must have the tables [architecture], [train] and [loader], got {', '.join(unknown)}{search}"
        )
    return content


def _table(content: Mapping[str, Any], name: str, where: str) -> dict[str, Any]:
    table = content.get(name) or {}
    if not isinstance(table, dict):
        raise ConfigError(f"{name} must be a table, [{name}], got {table!r} ({where})")
    return {key: None if value == _NONE else value for key, value in table.items()}


def _weights(
    content: Mapping[str, Any], train: dict[str, Any], where: str
) -> tuple[tuple[str, ...] | None, dict[str, float]]:
    """The checkpoint's tasks and the weights by name, which are taken out of the training settings."""
    tasks: tuple[str, ...] | None = None
    if content.get("tasks"):
        try:
            tasks = tuple(str(task["name"]) for task in content["tasks"])
        except (TypeError, KeyError) as error:
            raise ConfigError(f"tasks must be a list with a name each, got {content['tasks']!r} ({where})") from error
    found = train.get("loss_weights")
    if isinstance(found, list | tuple) and tasks is not None and len(found) == len(tasks):
        found = dict(zip(tasks, found, strict=True))
    if not isinstance(found, dict):
        return tasks, {}
    del train["loss_weights"]
    for name, weight in found.items():
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < float("inf"):
            raise ConfigError(f"each weight of the loss must be a positive number, got {name} = {weight!r} ({where})")
    return tasks, {name: float(weight) for name, weight in found.items()}


def _toml(value: Any) -> str:
    if value is None:
        return json.dumps(_NONE)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value).lower() if isinstance(value, bool) else repr(value)
