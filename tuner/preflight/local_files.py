"""What must be on this machine for `ray up`: the SSH key, Ray's token, and what is copied to the nodes."""

import re
import shlex
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from tuner.cluster.cluster_file import COMMANDS, ClusterFile, table
from tuner.cluster.ray_token import MAKE_TOKEN
from tuner.preflight.finding import Finding, error, otherwise, warning

_FIXES = {"auth_token": MAKE_TOKEN, "dist": "make wheel, in the folder of the project, and call this from there"}
_WILD = re.compile(r"(?<!\S)[\"']?(?:\$\(ls\s+)?((?:\$HOME|~)?/[^\s\"'()$*]*/)([^\s\"'()$/]*\*[^\s\"'()$/]*\.whl)")


@otherwise("SSH user and key")
def check_login(file: ClusterFile) -> Iterator[Finding]:
    """The user and the key that `ray up` logs in with."""
    if not file.auth.get("ssh_user"):
        yield error(file.where("auth"), "must name ssh_user, whom `ray up` logs in as", "add ssh_user")
    key, where = file.auth.get("ssh_private_key"), file.where("auth", "ssh_private_key")
    if not isinstance(key, str):
        return
    path = Path(key).expanduser()
    if not path.is_file():
        fix = f"make one: ssh-keygen -t ed25519 -f {key}, and put {key}.pub into ~/.ssh/authorized_keys of each host"
        yield error(where, f"must be a file on this machine, but {path} is none", fix)
    elif mode := _open_mode(path):
        yield error(where, f"must be readable by you only, but has mode {mode}", f"chmod 600 {key}")
    for kind in file.node_types if file.is_aws else ():
        if "KeyName" not in kind.config:
            fix = "name the key pair of EC2 that the key belongs to, or remove ssh_private_key (Ray makes a pair)"
            yield error(kind.where("node_config"), "must have KeyName when auth.ssh_private_key is set", fix)


@otherwise("token")
def check_token(file: ClusterFile) -> Iterator[Finding]:
    """The token of Ray: here, private, and copied to every node."""
    mounts = table(file.config.get("file_mounts"))
    there = next((str(name) for name in mounts if str(name).endswith(".ray/auth_token")), None)
    token = Path(str(mounts[there]) if there else "~/.ray/auth_token").expanduser()
    if not token.is_file():
        if there is None:  # otherwise it is one of the mounts that are missing
            yield error("", f"{token} must hold the token that every node shows, but is no file", MAKE_TOKEN)
    elif not token.read_text(encoding="utf-8").strip():
        yield error(token, "must hold a token, but is empty", MAKE_TOKEN)
    elif mode := _open_mode(token):
        what = f"must be readable by you only, for it is the password of your clusters, but has mode {mode}"
        yield error(token, what, f"chmod 600 {shlex.quote(str(token))}")
    if there is None and not any("RAY_AUTH_TOKEN" in command for _, command in file.commands(*COMMANDS)):
        fix = "add to file_mounts: /home/USER/.ray/auth_token: ~/.ray/auth_token"
        yield error(file.where("file_mounts"), "must copy the token to every node", fix)


def _open_mode(path: Path) -> str:
    """Its mode if others can read it, else nothing."""
    mode = stat.S_IMODE(path.stat().st_mode)
    return f"{mode:o}" if mode & 0o077 else ""


@otherwise("everything that is copied to the nodes is here")
def check_file_mounts(file: ClusterFile) -> Iterator[Finding]:
    """All of it is here, and the wheel is of this code."""
    mounts = table(file.config.get("file_mounts"))
    folders = {str(there): Path(str(here)).expanduser() for there, here in mounts.items()}
    for there, source in folders.items():
        where = file.where("file_mounts", there)
        if not source.exists():
            fix = "make it, or correct the path; it is relative to the folder that `ray up` is called in"
            what = f"must be a file or folder on this machine, but {source} is none"
            yield error(where, what, _FIXES.get(source.name, fix))
        elif source.is_dir() and not any(source.iterdir()):
            yield error(where, f"must hold something, but {source} is empty", "make wheel")
    for keys, command in file.commands("setup_commands", "head_setup_commands", "worker_setup_commands"):
        for there, pattern in _WILD.findall(command):
            folder = folders.get(there.rstrip("/").replace("$HOME", "~"))
            if folder is not None and folder.is_dir():
                yield from _wheels(file.where(*keys), folder, pattern, takes_latest="ls -t" in command)


def _wheels(where: str, folder: Path, pattern: str, *, takes_latest: bool) -> Iterator[Finding]:
    wheels = sorted(folder.glob(pattern), key=lambda wheel: wheel.stat().st_mtime, reverse=True)
    if not wheels or (len(wheels) > 1 and not takes_latest):
        came = ", ".join(wheel.name for wheel in wheels) or "none"
        yield error(where, f"needs one {pattern} in {folder}, got {came}", f"rm -r {folder}; make wheel")
        return
    built = wheels[0].stat().st_mtime
    sources = (path for package in ("graphdb", "model", "tuner") for path in Path(package).rglob("*.py"))
    changed, newest = max(((path.stat().st_mtime, path) for path in sources), default=(0.0, Path()))
    if changed > built:
        age = time.strftime("%Y-%m-%d %H:%M", time.localtime(built))
        what = f"{wheels[0]} is of {age}, {newest} is newer: the nodes would run older code than you have"
        yield warning(where, what, "make wheel")
