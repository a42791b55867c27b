"""The shell commands of the cluster file, and what they need on this machine."""

import re
import shlex
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tuner.cluster.ray_private import start_options
from tuner.cluster.ray_token import MAKE_TOKEN
from tuner.preflight.clusterfile import COMMANDS, ClusterFile, table
from tuner.preflight.finding import Finding, error, fix_for, unless_found, warning

_OF_THE_SHELL = {
    *("HOME", "USER", "LOGNAME", "PATH", "PWD", "OLDPWD", "SHELL", "HOSTNAME", "TERM", "LANG", "LC_ALL", "TMPDIR"),
    *("UID", "EUID", "PPID", "RANDOM", "SECONDS", "IFS", "BASH", "BASHPID", "HOSTTYPE", "OSTYPE", "LD_LIBRARY_PATH"),
    *("SSH_CONNECTION", "SSH_CLIENT", "XDG_RUNTIME_DIR"),
    *("OMP_NUM_THREADS", "PYTHONWARNINGS"),  # exported by Ray before each command
}
_VARIABLE = re.compile(r"\$(?:(\w+)|\{[!#]?(\w+)([^}]*)\})")
_ASSIGNED = re.compile(r"(?:^|[\s;&|(])(?:(\w+)\+?=|for\s+(\w+)\s|read\s+(?:-\w+\s+)*(\w+))")
# A word where a command may begin: at the start, behind a separator, behind assignments or a word that runs another.
_BARE = re.compile(
    r"(?:^|[;&|({`]|\b(?:then|do|else)\s)\s*(?:(?:\w+=\S*|sudo|exec|nohup|env|nice|time|command)\s+)*"
    r"(ray|pip3?|python3?(?:\.\d+)?)(?=\s)"
)
_FINDS_THE_PROGRAM = re.compile(r"\bPATH=|bin/activate\b|\bconda\s+(?:activate|run)\b")
_WILD = re.compile(r"(?<!\S)[\"']?(?:\$\(ls\s+)?((?:\$HOME|~)?/[^\s\"'()$*]*/)([^\s\"'()$/]*\*[^\s\"'()$/]*\.whl)")


def check_syntax(file: ClusterFile) -> list[Finding]:
    """Each command, by bash itself, which runs nothing."""
    findings = []
    for keys, command in file.commands(*COMMANDS):
        try:
            process = subprocess.run(["bash", "-n", "-c", command], capture_output=True, text=True, timeout=10)
        except (OSError, subprocess.TimeoutExpired):
            return [warning("", "the syntax of the commands was not checked: no bash here", "install bash")]
        if process.returncode:
            reason = process.stderr.strip().splitlines()[0].removeprefix("bash: -c: ").removeprefix("line 1: ")
            findings.append(error(file.where(*keys), f"must be a command of bash, but {reason}", "close the quotes"))
    return unless_found(findings, "the syntax of all commands")


def check_variables(file: ClusterFile) -> list[Finding]:
    """Each variable is set by somebody: an unset one is an empty text, and the command does something else."""
    findings = []
    for keys, command in file.commands(*COMMANDS):
        text = _without_single_quotes(command)
        known = _OF_THE_SHELL | {name for match in _ASSIGNED.finditer(text) for name in match.groups() if name}
        if keys[0].startswith("worker") or keys[0] in ("setup_commands", "initialization_commands"):
            known.add("RAY_HEAD_IP")
        for match in _VARIABLE.finditer(text):
            name, default = str(match[1] or match[2]), match[3] or ""
            if name.isdigit() or name in known or default.startswith((":-", "-", ":=", "=", ":+", "+")):
                continue
            where = file.where(*keys)
            if name == "RAY_HEAD_IP":
                fix = "on the head itself use localhost, or leave the address out"
                findings.append(error(where, "$RAY_HEAD_IP is set for workers only", fix))
                continue
            near = fix_for(name, known)
            if not near.startswith("did"):
                near = f"set it in this command ({name}=... ;), since each command has a shell of its own"
            findings.append(error(where, f"nobody sets ${name}, so it is empty", near))
        if keys[0] == "setup_commands" and "$RAY_HEAD_IP" in text:
            fix = "move the command to worker_setup_commands"
            findings.append(error(file.where(*keys), "$RAY_HEAD_IP is empty when this runs on the head", fix))
    return unless_found(findings, "every shell variable is set by somebody")


def check_programs(file: ClusterFile) -> list[Finding]:
    """The same ray, python and pip for everybody, whatever PATH is."""
    findings = []
    for keys, command in file.commands(*COMMANDS):
        if _FINDS_THE_PROGRAM.search(command):
            continue
        starts = keys[0].endswith("start_ray_commands")
        environment = file.environment()
        for name in sorted({match[1] for match in _BARE.finditer(_without_single_quotes(command))}):
            example = f"{environment or '/home/USER/venv'}/bin/{name}"
            if starts:
                what = f"must name {name} by its absolute path: a node that recovers runs nothing but these commands"
                findings.append(error(file.where(*keys), what, f"write {example}"))
            else:
                what = f"whichever {name} is first in PATH there"
                findings.append(warning(file.where(*keys), what, f"write {example}"))
    return unless_found(findings, "ray, python and pip are named by absolute paths")


def check_start(file: ClusterFile) -> list[Finding]:
    """What ``ray start`` is asked for, on head and workers."""
    findings: list[Finding] = []
    for role in ("head", "worker"):
        start = file.start(role)
        key = f"{role}_start_ray_commands"
        if start is None:
            fix = "see cluster.yaml; the commands that Ray would fill in are neither safe nor the same on every node"
            findings.append(error(file.where(key) if key in file.config else key, "must run `ray start`", fix))
            continue
        keys, command = start
        findings += _start_findings(role, file.where(*keys), command)
    port = file.start_option("head", "--port") or "6379"
    address = file.start_option("worker", "--address")
    worker = file.start("worker")
    if worker is not None:
        where = file.where(*worker[0])
        if address is None:
            fix = f"add --address=$RAY_HEAD_IP:{port}"
            findings.append(error(where, "must name the head, or each worker starts a Ray of its own", fix))
        elif address.rpartition(":")[2].strip("\"'") != port:
            fix = f"--address=$RAY_HEAD_IP:{port}"
            findings.append(error(where, f"must have the port of the head, {port}, got --address={address}", fix))
    return unless_found(findings, "ray start: options known, token demanded, no dashboard to the world")


def check_file_mounts(file: ClusterFile) -> list[Finding]:
    """What `ray up` copies to the nodes is here."""
    findings = []
    mounts = {str(there): str(here) for there, here in table(file.config.get("file_mounts")).items()}
    for there, here in mounts.items():
        source, where = Path(here).expanduser(), file.where("file_mounts", there)
        if not source.exists():
            if source.name == "auth_token":
                fix = MAKE_TOKEN
            elif source.name == "dist":
                fix = "make wheel, in the folder of the project, and call this from there"
            else:
                fix = "make it, or correct the path; it is relative to the folder that `ray up` is called in"
            findings.append(error(where, f"must be a file or folder on this machine, but {source} is none", fix))
        elif source.is_dir() and not any(source.iterdir()):
            findings.append(error(where, f"must hold something, but {source} is empty", "make wheel"))
    for keys, command in file.commands("setup_commands", "head_setup_commands", "worker_setup_commands"):
        for folder, pattern in _WILD.findall(command):
            copied = mounts.get(folder.rstrip("/").replace("$HOME", "~"))
            if copied is not None and Path(copied).expanduser().is_dir():
                latest = "ls -t" in command  # the command itself takes the newest
                findings += _wheels(file.where(*keys), Path(copied).expanduser(), pattern, latest)
    return unless_found(findings, "everything that is copied to the nodes is here")


def check_token(file: ClusterFile) -> list[Finding]:
    """The token of Ray: here, private, and copied to every node."""
    starts = [start[1] for role in ("head", "worker") if (start := file.start(role))]
    if not any("RAY_AUTH_MODE=token" in command for command in starts):
        return []  # check_start says so
    findings = []
    mounts = table(file.config.get("file_mounts"))
    there = next((str(name) for name in mounts if str(name).endswith(".ray/auth_token")), None)
    token = Path(str(mounts[there]) if there else "~/.ray/auth_token").expanduser()
    if not token.is_file():
        if there is None:
            what = f"{token} must hold the token that every node shows, but is no file"
            findings.append(error("", what, MAKE_TOKEN))
    elif not token.read_text(encoding="utf-8").strip():
        findings.append(error(str(token), "must hold a token, but is empty", MAKE_TOKEN))
    elif stat.S_IMODE(token.stat().st_mode) & 0o077:
        mode = f"{stat.S_IMODE(token.stat().st_mode):o}"
        what = f"must be readable by you only, for it is the password of your clusters, but has mode {mode}"
        findings.append(error(str(token), what, f"chmod 600 {shlex.quote(str(token))}"))
    if there is None and not any("RAY_AUTH_TOKEN" in command for _, command in file.commands(*COMMANDS)):
        fix = "add to file_mounts: /home/USER/.ray/auth_token: ~/.ray/auth_token"
        findings.append(error(file.where("file_mounts"), "must copy the token to every node", fix))
    return unless_found(findings, "token")


def _start_findings(role: str, where: str, command: str) -> Iterator[Finding]:
    known = start_options()
    _, _, options = command.partition(" start")
    for option in re.findall(r"(?<!\S)(--[\w-]+)", re.split(r"[;&|]", options)[0]):
        if option not in known:
            yield error(where, f"`ray start` has no option {option}", fix_for(option, known))
    if role == "head":
        if "--head" not in options:
            yield error(where, "must have --head", "add --head")
        if "--autoscaling-config" not in options:
            fix = "add --autoscaling-config=~/ray_bootstrap_config.yaml"
            yield error(where, "must have --autoscaling-config, or the head never starts a worker", fix)
    elif "--head" in options.split():
        yield error(where, "must not have --head, or each worker is a cluster of its own", "remove --head")
    if "RAY_AUTH_MODE=token" not in command:
        what = "must demand Ray's token: whoever reaches Ray's ports can run programs (CVE-2023-48022)"
        yield error(where, what, "write RAY_AUTH_MODE=token in front of ray start, on head and workers")
    host = re.search(r"--dashboard-host[= ](\S+)", command)
    if host and host[1] not in ("127.0.0.1", "localhost"):
        fix = "remove --dashboard-host; `ray dashboard CLUSTER_FILE` brings it to your machine through SSH"
        yield error(where, f"must not open the dashboard to others, got {host[1]}", fix)


def _wheels(where: str, folder: Path, pattern: str, latest: bool) -> Iterator[Finding]:
    wheels = sorted(folder.glob(pattern), key=lambda wheel: wheel.stat().st_mtime, reverse=True)
    if not wheels or (len(wheels) > 1 and not latest):
        came = ", ".join(wheel.name for wheel in wheels) or "none"
        yield error(where, f"needs one {pattern} in {folder}, got {came}", f"rm -r {folder}; make wheel")
        return
    built = wheels[0].stat().st_mtime
    sources = (path for package in ("graphdb", "model", "tuner") for path in Path(package).rglob("*.py"))
    newer = max(((path.stat().st_mtime, path) for path in sources), default=(0.0, Path()))
    if newer[0] > built:
        age = time.strftime("%Y-%m-%d %H:%M", time.localtime(built))
        what = f"{wheels[0]} is of {age}, {newer[1]} is newer: the nodes would run older code than you have"
        yield warning(where, what, "make wheel")


def _without_single_quotes(command: str) -> str:
    """The command with all blanked that bash does not look into: 'single quotes' and escaped characters."""
    out, quote = [], ""
    characters = iter(command)
    for character in characters:
        if character == "\\" and quote != "'":
            out += [" ", " "]
            next(characters, None)
            continue
        if character in "'\"" and quote in ("", character):
            quote = "" if quote else character
        out.append(" " if quote == "'" else character)
    return "".join(out)
