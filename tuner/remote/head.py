"""What a cluster file says of the head: where it is, how to reach it, and which Python and environment it runs."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tuner.errors import SearchError

_RAY = re.compile(r"(?:^|[\s;&|(\"'])((?:~|\$HOME)?/[^\s;&|()\"'=]*)/ray\s+start\b")
_ASSIGNMENT = re.compile(r"(?:^|[\s;&|(])([A-Za-z_]\w*)=(\"[^\"`$]*\"|'[^']*'|[^\s;&|()`\"']*)(?=[\s;&|)]|$)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Head:
    """The node that a search is driven from."""

    cluster_file: str
    """As the user names it, for messages and commands."""
    address: str
    """IP address or host name, as seen from here."""
    user: str
    """Who logs in there."""
    key: str | None
    """Private key file; None leaves it to ssh."""
    proxy_command: str | None
    """ssh's ProxyCommand, where the head is behind another host."""
    python: str
    """The interpreter beside the `ray` that the cluster file starts; may begin with ~."""
    environment: Mapping[str, str]
    """What is set for `ray start`, such as RAY_AUTH_MODE, as it stands there: text for a shell."""
    rented: bool
    """Whether it costs money until `ray down`, and its address may be another machine's tomorrow."""


def find_head(cluster_file: str) -> Head:
    """Read a cluster file, and ask the cloud where the head is if the file does not say it.

    Raises:
        SearchError: if the file cannot be used, or there is no head yet.
    """
    config = load_cluster(cluster_file)
    commands = config.get("head_start_ray_commands")
    python, environment = start_facts(commands if isinstance(commands, list) else [], cluster_file)
    provider, auth = _table(config, "provider", cluster_file), _table(config, "auth", cluster_file)
    if not auth.get("ssh_user"):
        raise SearchError(f"auth must name an ssh_user, but it does not ({cluster_file}); say who logs in to the nodes")
    if config.get("docker"):
        raise SearchError(
            f"the nodes must run Ray without containers, but {cluster_file} has a docker section; remove it, or "
            "start tuner.search on the head yourself, with `ray exec`"
        )
    rented = provider.get("type") != "local"
    address: Any
    key = auth.get("ssh_private_key")
    if rented:
        from tuner.cluster.launcher import find_head_node  # ray

        address, key = find_head_node(cluster_file, config)
    else:
        address = provider.get("external_head_ip") or provider.get("head_ip")
    if not address:
        raise SearchError(
            f"provider must have a head_ip, but it has none ({cluster_file}); name the machine that is to be the head"
        )
    return Head(
        cluster_file=cluster_file,
        address=str(address),
        user=str(auth["ssh_user"]),
        key=None if key is None else str(Path(str(key)).expanduser()),
        proxy_command=auth.get("ssh_proxy_command"),
        python=python,
        environment=environment,
        rented=rented,
    )


def load_cluster(cluster_file: str) -> dict[str, Any]:
    """The content of a cluster file.

    Raises:
        SearchError: if it is none.
    """
    try:
        config = yaml.safe_load(Path(cluster_file).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text file"
        raise SearchError(
            f"CLUSTER must be a cluster file such as cluster.yaml, got {cluster_file}: {reason}"
        ) from error
    except yaml.YAMLError as error:
        raise SearchError(f"{cluster_file} must be YAML: {' '.join(str(error).split())}") from error
    if not isinstance(config, dict) or not config.get("cluster_name"):
        raise SearchError(f"{cluster_file} must be a cluster file of Ray, but it has no cluster_name")
    return config


def start_facts(commands: list[Any], cluster_file: str) -> tuple[str, dict[str, str]]:
    """The head's Python and environment, from its start commands.

    Raises:
        SearchError: if no command starts `ray` by an absolute path.
    """
    for command in map(str, commands):
        if (found := _RAY.search(command)) is not None:
            environment = dict(_ASSIGNMENT.findall(command[: found.start(1)]))
            return f"{found.group(1).replace('$HOME', '~', 1)}/python", environment
    raise SearchError(
        f"head_start_ray_commands must start Ray by an absolute path such as /home/ubuntu/venv/bin/ray start --head, "
        f"but no command does ({cluster_file}); the python beside that ray runs the search"
    )


def _table(config: Mapping[str, Any], name: str, cluster_file: str) -> Mapping[str, Any]:
    content = config.get(name)
    if not isinstance(content, dict):
        raise SearchError(f"{name} must be a section of keys and values, got {content!r} ({cluster_file})")
    return content
