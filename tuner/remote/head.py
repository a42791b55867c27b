"""What a cluster file says of the head: where it is, how to reach it, and which Python and environment it runs."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tuner.cluster.cluster_file import ClusterFile, read_cluster_file
from tuner.cluster.ssh import Login
from tuner.errors import SearchError

_RAY = re.compile(r"(?:^|[\s;&|(\"'])((?:~|\$HOME)?/[^\s;&|()\"'=]*)/ray\s+start\b")
_ASSIGNMENT = re.compile(r"(?:^|[\s;&|(])([A-Za-z_]\w*)=(\"[^\"`$]*\"|'[^']*'|[^\s;&|()`\"']*)(?=[\s;&|)]|$)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Head:
    """The node that a search is driven from."""

    cluster_file: str
    """As the user names it, for messages and commands."""
    login: Login
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
    file = load_cluster(cluster_file)
    commands = (command for _, command in file.commands("head_start_ray_commands"))
    python, environment = start_facts(commands, cluster_file)
    for name in ("provider", "auth"):
        if not isinstance(content := file.config.get(name), dict):
            raise SearchError(f"{name} must be a section of keys and values, got {content!r} ({cluster_file})")
    if not file.auth.get("ssh_user"):
        raise SearchError(f"auth must name an ssh_user, but it does not ({cluster_file}); say who logs in to the nodes")
    if file.config.get("docker"):
        raise SearchError(
            f"the nodes must run Ray without containers, but {cluster_file} has a docker section; remove it, or "
            "start tuner.search on the head yourself, with `ray exec`"
        )
    address, key = file.provider.get("external_head_ip") or file.provider.get("head_ip"), None
    if not file.is_local:
        from tuner.cluster.head_address import find_head_node  # ray

        address, key = find_head_node(cluster_file, file.config)
    if not address:
        fix = "name the machine that is to be the head"
        raise SearchError(f"provider must have a head_ip, but it has none ({cluster_file}); {fix}")
    return Head(
        cluster_file=cluster_file,
        login=file.login(str(address), key=key, remember_host=file.is_local),
        python=python,
        environment=environment,
        rented=not file.is_local,
    )


def load_cluster(cluster_file: str) -> ClusterFile:
    """Read a cluster file; a SearchError says why it is none."""
    file = read_cluster_file(Path(cluster_file))
    if not file.config.get("cluster_name"):
        raise SearchError(f"{cluster_file} must be a cluster file of Ray, but it has no cluster_name")
    return file


def start_facts(commands: Iterable[str], cluster_file: str) -> tuple[str, dict[str, str]]:
    """The head's Python and environment, from the first of its start commands that names `ray` by an absolute path."""
    for command in commands:
        if (found := _RAY.search(command)) is not None:
            environment = dict(_ASSIGNMENT.findall(command[: found.start(1)]))
            return f"{found.group(1).replace('$HOME', '~', 1)}/python", environment
    raise SearchError(
        f"head_start_ray_commands must start Ray by an absolute path such as /home/ubuntu/venv/bin/ray start --head, "
        f"but no command does ({cluster_file}); the python beside that ray runs the search"
    )
