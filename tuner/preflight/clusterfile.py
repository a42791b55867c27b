"""The cluster file as it was written: its values, and the line of each."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from graphdb.command import os_error_text
from tuner.preflight.finding import Finding, error

COMMANDS = (
    "initialization_commands",
    "setup_commands",
    "head_setup_commands",
    "worker_setup_commands",
    "head_start_ray_commands",
    "worker_start_ray_commands",
)
_RAY_START = re.compile(r"(?P<ray>\S*\bray) +start\b")
Keys = tuple[str | int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ClusterFile:
    """A cluster file that YAML could read. Its values may have any shape; what has the wrong one reads as empty."""

    path: Path
    config: dict[str, Any]
    lines: dict[Keys, int]

    def where(self, *keys: str | int) -> str:
        """``provider.region (line 23)``."""
        text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys).removeprefix(".")
        line = next((self.lines[keys[:end]] for end in range(len(keys), 0, -1) if keys[:end] in self.lines), None)
        return f"{text} (line {line})" if line is not None else text

    @property
    def provider(self) -> dict[str, Any]:
        """The table `provider`."""
        return table(self.config.get("provider"))

    @property
    def is_local(self) -> bool:
        """Whether the hosts are there already, to be reached by SSH."""
        return self.provider.get("type") == "local"

    @property
    def is_aws(self) -> bool:
        """Whether the nodes are instances of EC2."""
        return self.provider.get("type") == "aws"

    @property
    def auth(self) -> dict[str, Any]:
        """The table `auth`."""
        return table(self.config.get("auth"))

    @property
    def node_types(self) -> dict[str, dict[str, Any]]:
        """The tables of `available_node_types`."""
        return {str(name): table(value) for name, value in table(self.config.get("available_node_types")).items()}

    @property
    def worker_types(self) -> dict[str, dict[str, Any]]:
        """The node types without the head's."""
        return {name: value for name, value in self.node_types.items() if name != self.config.get("head_node_type")}

    @property
    def min_workers(self) -> int:
        """How many workers `ray up` will start by itself."""
        if self.is_local:
            addresses = self.worker_addresses
            return min(_number(self.config.get("min_workers"), len(addresses)), len(addresses))
        return sum(_number(kind.get("min_workers"), 0) for kind in self.worker_types.values())

    @property
    def worker_addresses(self) -> list[str]:
        """Of provider local."""
        addresses = self.provider.get("worker_ips")
        return [str(address) for address in addresses] if isinstance(addresses, list) else []

    def commands(self, *keys: str) -> Iterator[tuple[tuple[str, int], str]]:
        """Key path and text of each command in these lists."""
        for key in keys:
            commands = self.config.get(key)
            for index, command in enumerate(commands if isinstance(commands, list) else []):
                if isinstance(command, str):
                    yield (key, index), command

    def start(self, role: str) -> tuple[tuple[str, int], str] | None:
        """Key path and text of the command that runs ``ray start`` on the "head" or a "worker"."""
        found = [item for item in self.commands(f"{role}_start_ray_commands") if _RAY_START.search(item[1])]
        return found[-1] if found else None

    def environment(self) -> str | None:
        """The virtual environment that the start commands name, such as ``/home/ubuntu/venv``."""
        for role in ("head", "worker"):
            start = self.start(role)
            match = _RAY_START.search(start[1]) if start else None
            if match and match["ray"].endswith("/bin/ray"):
                return match["ray"].removesuffix("/bin/ray").split("=")[-1].strip("\"'")
        return None

    def start_option(self, role: str, option: str) -> str | None:
        """Value of an option of ``ray start``, such as ``--port``."""
        start = self.start(role)
        match = re.search(rf"(?<!\S){re.escape(option)}[= ]\s*(\S+)", start[1]) if start else None
        return match[1] if match else None


def read_cluster_file(path: Path) -> tuple[ClusterFile | None, list[Finding]]:
    """Read it.

    Returns:
        The file, None if it cannot be read; and what is wrong with it as YAML.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None, [error(str(path), "must be text in UTF-8", "name the cluster file")]
    except OSError as problem:
        return None, [error(str(path), f"must be a file that can be read: {os_error_text(problem)}", "name another")]
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        config = yaml.safe_load(text)
    except yaml.YAMLError as problem:
        mark = getattr(problem, "problem_mark", None)
        reason = getattr(problem, "problem", None) or str(problem)
        return None, [
            error(
                f"{path}, line {mark.line + 1}" if mark else str(path),
                f"must be YAML, but {reason}",
                "indent with spaces, alike in one list; put a space after each colon; quote what holds ': ' or ' #'",
            )
        ]
    if not isinstance(config, dict) or root is None:
        return None, [error(str(path), f"must be a table of keys, got {type(config).__name__}", "see cluster.yaml")]
    lines: dict[Keys, int] = {}
    findings: list[Finding] = []
    _walk(root, (), lines, findings)
    return ClusterFile(path=path, config=config, lines=lines), findings


def table(value: object) -> dict[str, Any]:
    """The value if it is a table, else an empty one."""
    return value if isinstance(value, dict) else {}


def _walk(node: yaml.Node, keys: Keys, lines: dict[Keys, int], findings: list[Finding]) -> None:
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        own = [(key, value) for key, value in node.value if key.tag != "tag:yaml.org,2002:merge"]
        for _, value in (pair for pair in node.value if pair not in own):
            for merged in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                _walk(merged, keys, lines, [])  # what `<<` brings stands on the lines of its anchor
        for key, value in own:
            name, line = str(key.value), key.start_mark.line + 1
            if name in seen:
                findings.append(
                    error(
                        f"{'.'.join(map(str, (*keys, name)))} (line {line})",
                        f"must stand once, but stands on line {seen[name]} too; Ray would silently take the last",
                        "remove one of them",
                    )
                )
            seen[name] = line
            lines[*keys, name] = line
            _walk(value, (*keys, name), lines, findings)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            lines[*keys, index] = value.start_mark.line + 1
            _walk(value, (*keys, index), lines, findings)


def _number(value: object, default: int) -> int:
    return value if isinstance(value, int) else default
