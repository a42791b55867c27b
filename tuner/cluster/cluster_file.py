"""A cluster file of Ray as it was written: its values, and the line of each."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from graphdb.command import did_you_mean, os_error_text
from tuner.cluster.ssh import Login
from tuner.errors import SearchError

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


class ClusterFileError(SearchError):
    """A file that cannot be a cluster file: where that shows, what must hold instead, and how to fix it."""

    def __init__(self, where: object, what: str, fix: str) -> None:
        """All three are one line when they are printed."""
        super().__init__(f"{where}: {what}; {fix}")
        self.where, self.what, self.fix = str(where), what, fix


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeType:
    """One of `available_node_types`."""

    file: "ClusterFile"
    name: str
    is_head: bool
    options: dict[str, Any]
    """All that stands there, such as `resources`."""

    @property
    def config(self) -> dict[str, Any]:
        """What the cloud is asked for: its `node_config`."""
        return table(self.options.get("node_config"))

    def where(self, *keys: str | int) -> str:
        """As `ClusterFile.where`, of keys below this type."""
        return self.file.where("available_node_types", self.name, *keys)


@dataclass(frozen=True, kw_only=True, slots=True)
class ClusterFile:
    """A cluster file that YAML could read. Its values may have any shape; what has the wrong one reads as empty."""

    path: Path
    config: dict[str, Any]
    lines: dict[Keys, int] = field(default_factory=dict)
    repeated: list[tuple[str, int]] = field(default_factory=list)
    """Keys that stand twice: where the later one is, and the line of the one before."""

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
    def node_types(self) -> list[NodeType]:
        """The `available_node_types`."""
        head = self.config.get("head_node_type")
        return [
            NodeType(file=self, name=str(name), is_head=name == head, options=table(options))
            for name, options in table(self.config.get("available_node_types")).items()
        ]

    @property
    def worker_types(self) -> list[NodeType]:
        """The node types without the head's."""
        return [kind for kind in self.node_types if not kind.is_head]

    @property
    def min_workers(self) -> int:
        """How many workers `ray up` will start by itself."""
        if self.is_local:
            addresses = self.worker_addresses
            return min(_number(self.config.get("min_workers"), len(addresses)), len(addresses))
        return sum(_number(kind.options.get("min_workers"), 0) for kind in self.worker_types)

    @property
    def worker_addresses(self) -> list[str]:
        """Of provider local."""
        addresses = self.provider.get("worker_ips")
        return [str(address) for address in addresses] if isinstance(addresses, list) else []

    @property
    def head_port(self) -> int:
        """Where the workers reach the head's Ray."""
        port = self.start_option("head", "--port") or ""
        return int(port) if port.isdigit() else 6379

    def login(self, address: str, *, remember_host: bool, key: str | None = None) -> Login:
        """How to log in to a host, with the key that is given or else that of `auth`."""
        key = key or self.auth.get("ssh_private_key")
        return Login(
            address=address,
            user=self.auth.get("ssh_user"),
            key=None if key is None else str(Path(str(key)).expanduser()),
            proxy_command=self.auth.get("ssh_proxy_command"),
            remember_host=remember_host,
        )

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


def read_cluster_file(path: Path) -> ClusterFile:
    """Read it.

    Raises:
        SearchError: if it is not there.
        ClusterFileError: if it cannot be read as a table in YAML.
    """
    if not path.exists():
        near = did_you_mean(path.name, (other.name for other in path.parent.glob("*.y*ml")))
        raise SearchError(f"the cluster file must be one such as cluster.yaml, but there is no {path}{near}")
    try:
        text = path.read_text(encoding="utf-8")
        root, config = yaml.compose(text, Loader=yaml.SafeLoader), yaml.safe_load(text)
    except UnicodeDecodeError as error:
        raise ClusterFileError(path, "must be text in UTF-8", "name the cluster file") from error
    except OSError as error:
        raise ClusterFileError(
            path, f"must be a file that can be read: {os_error_text(error)}", "name another"
        ) from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        reason = getattr(error, "problem", None) or " ".join(str(error).split())
        raise ClusterFileError(
            f"{path}, line {mark.line + 1}" if mark else path,
            f"must be YAML, but {reason}",
            "indent with spaces, alike in one list; put a space after each colon; quote what holds ': ' or ' #'",
        ) from error
    if not isinstance(config, dict) or root is None:
        raise ClusterFileError(path, f"must be a table of keys, got {type(config).__name__}", "see cluster.yaml")
    file = ClusterFile(path=path, config=config)
    _walk(root, (), file)
    return file


def table(value: object) -> dict[str, Any]:
    """The value if it is a table, else an empty one."""
    return value if isinstance(value, dict) else {}


def _walk(node: yaml.Node, keys: Keys, file: ClusterFile) -> None:
    """Note the lines of all keys below a node."""
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        own = [(key, value) for key, value in node.value if key.tag != "tag:yaml.org,2002:merge"]
        for _, value in (pair for pair in node.value if pair not in own):
            for merged in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                _walk(merged, keys, replace(file, repeated=[]))  # what `<<` brings stands on the lines of its anchor
        for key, value in own:
            name, line = str(key.value), key.start_mark.line + 1
            if name in seen:
                file.repeated.append((f"{'.'.join(map(str, (*keys, name)))} (line {line})", seen[name]))
            seen[name] = file.lines[*keys, name] = line
            _walk(value, (*keys, name), file)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            file.lines[*keys, index] = value.start_mark.line + 1
            _walk(value, (*keys, index), file)


def _number(value: object, default: int) -> int:
    return value if isinstance(value, int) else default
