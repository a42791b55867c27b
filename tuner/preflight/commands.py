"""The shell commands of the cluster file."""

import re
import subprocess
from collections.abc import Iterator

from tuner.cluster.cluster_file import COMMANDS, ClusterFile
from tuner.cluster.ray_private import start_options
from tuner.preflight.finding import Finding, error, fix_for, otherwise, warning

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


@otherwise("the syntax of all commands")
def check_syntax(file: ClusterFile) -> Iterator[Finding]:
    """Each command, by bash itself, which runs nothing."""
    for keys, command in file.commands(*COMMANDS):
        try:
            process = subprocess.run(["bash", "-n", "-c", command], capture_output=True, text=True, timeout=10)
        except (OSError, subprocess.TimeoutExpired):
            yield warning("", "the syntax of the commands was not checked: no bash here", "install bash")
            return
        if process.returncode:
            reason = process.stderr.strip().splitlines()[0].removeprefix("bash: -c: ").removeprefix("line 1: ")
            yield error(file.where(*keys), f"must be a command of bash, but {reason}", "close the quotes")


@otherwise("every shell variable is set by somebody")
def check_variables(file: ClusterFile) -> Iterator[Finding]:
    """Each variable is set by somebody: an unset one is an empty text, and the command does something else."""
    for keys, command in file.commands(*COMMANDS):
        text, where = _without_single_quotes(command), file.where(*keys)
        known = _OF_THE_SHELL | {name for match in _ASSIGNED.finditer(text) for name in match.groups() if name}
        if keys[0].startswith("worker") or keys[0] in ("setup_commands", "initialization_commands"):
            known.add("RAY_HEAD_IP")
        for match in _VARIABLE.finditer(text):
            name, default = str(match[1] or match[2]), match[3] or ""
            if name.isdigit() or name in known or default.startswith((":-", "-", ":=", "=", ":+", "+")):
                continue
            if name == "RAY_HEAD_IP":
                fix = "on the head itself use localhost, or leave the address out"
                yield error(where, "$RAY_HEAD_IP is set for workers only", fix)
                continue
            fix = fix_for(name, known)
            if not fix.startswith("did"):
                fix = f"set it in this command ({name}=... ;), since each command has a shell of its own"
            yield error(where, f"nobody sets ${name}, so it is empty", fix)
        if keys[0] == "setup_commands" and "$RAY_HEAD_IP" in text:
            fix = "move the command to worker_setup_commands"
            yield error(where, "$RAY_HEAD_IP is empty when this runs on the head", fix)


@otherwise("ray, python and pip are named by absolute paths")
def check_programs(file: ClusterFile) -> Iterator[Finding]:
    """The same ray, python and pip for everybody, whatever PATH is."""
    folder = file.environment() or "/home/USER/venv"
    for keys, command in file.commands(*COMMANDS):
        if _FINDS_THE_PROGRAM.search(command):
            continue
        for name in sorted({match[1] for match in _BARE.finditer(_without_single_quotes(command))}):
            where, fix = file.where(*keys), f"write {folder}/bin/{name}"
            if keys[0].endswith("start_ray_commands"):
                what = f"must name {name} by its absolute path: a node that recovers runs nothing but these commands"
                yield error(where, what, fix)
            else:
                yield warning(where, f"whichever {name} is first in PATH there", fix)


@otherwise("ray start: options known, token demanded, no dashboard to the world")
def check_start(file: ClusterFile) -> Iterator[Finding]:
    """What ``ray start`` is asked for, on head and workers."""
    for role in ("head", "worker"):
        if start := file.start(role):
            yield from _start_options(role, file.where(*start[0]), start[1])
            continue
        key = f"{role}_start_ray_commands"
        fix = "see cluster.yaml; the commands that Ray would fill in are neither safe nor the same on every node"
        yield error(file.where(key), "must run `ray start`", fix)
    port = file.start_option("head", "--port") or "6379"
    address = file.start_option("worker", "--address")
    if worker := file.start("worker"):
        where, option = file.where(*worker[0]), f"--address=$RAY_HEAD_IP:{port}"
        if address is None:
            yield error(where, "must name the head, or each worker starts a Ray of its own", f"add {option}")
        elif address.rpartition(":")[2].strip("\"'") != port:
            yield error(where, f"must have the port of the head, {port}, got --address={address}", option)


def demands_token(file: ClusterFile) -> bool:
    """Whether a command that starts Ray says so."""
    return any("RAY_AUTH_MODE=token" in start[1] for role in ("head", "worker") if (start := file.start(role)))


def _start_options(role: str, where: str, command: str) -> Iterator[Finding]:
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
