"""`python -m tuner.remote`: a search on a cluster, from your own machine."""

import argparse
import json
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from graphdb.command import Parser, invocation, run
from graphdb.progress import duration_text
from tuner.errors import SearchError
from tuner.flags import add_flags
from tuner.remote.connection import UNREACHABLE, HeadConnection
from tuner.remote.head import find_head, load_cluster
from tuner.remote.inputs import given_flags, read_input
from tuner.remote.job import check_name
from tuner.run import jsonlines
from tuner.run.settings import default_name
from tuner.space.toml import builtin_spaces

_NOT_FETCHED = ("/trials/*/state.zip", "/finalists/*/state.zip")
_NEVER_FETCHED = ("/.lock", "/.mirror", "*.new", "*.old")
_MARK = "fetched.json"
_STATES = {
    "running": "running",
    "done": "done",
    "stopped": "stopped; it can be resumed",
    "failed": "ended with an error",
    "lost": "not running: the head was switched off, or its processes were killed; it can be resumed",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns 0, or as `graphdb.command.run`."""
    return run(_parser(), lambda arguments: int(arguments.run_command(arguments)), argv)


def _submit(arguments: argparse.Namespace) -> int:
    resume = _command("resume", "CLUSTER", "NAME")
    if arguments.resume:
        raise SearchError(f"--resume must not be given to submit; to go on with a search: {resume}")
    if arguments.space is None:
        raise SearchError(f"--space must be given: a TOML file or one of {', '.join(builtin_spaces())}")
    if arguments.retry_failed:
        what = "--retry-failed must not be given to submit: a new search has no failed trials"
        raise SearchError(f"{what}; {resume} --retry-failed")
    name = default_name(arguments.space) if arguments.name is None else arguments.name
    return _start(arguments, name, resume=False)


def _resume(arguments: argparse.Namespace) -> int:
    if arguments.name not in (None, arguments.job):
        name, given = arguments.job, arguments.name
        raise SearchError(f"a search must be resumed under its own name {name!r}, got --name {given!r}")
    return _start(arguments, arguments.job, resume=True)


def _start(arguments: argparse.Namespace, name: str, *, resume: bool) -> int:
    check_name(name)
    if arguments.address not in (None, "auto"):
        raise SearchError(f"--address must be left out on a cluster, got {arguments.address!r}; the head's Ray is used")
    cluster, flags, sent = arguments.cluster, given_flags(arguments), None
    load_cluster(cluster)  # A wrong path is answered before torch is loaded.
    given = read_input(arguments)
    link = _connect(cluster)
    if given.store is not None:
        flags["--store"] = _send_store(link, given.store, given.fingerprint, cluster)
        sent = {"local": str(given.store.absolute()), "path": flags["--store"], "fingerprint": given.fingerprint}
    request = {"cluster": cluster, "name": name, "flags": flags, "resume": resume, "space": given.space, "sent": sent}
    answer = link.call("start", request)
    print(answer["log"].rstrip())
    if answer["state"] == "running":
        print(f"\n{name} runs on the head of {cluster}; nothing here needs to stay on.")
        _print_commands(cluster, name, "watch", "stop", "fetch")
    elif answer["state"] == "done":
        print("The search is done.")
        _print_commands(cluster, name, "fetch")
    else:
        raise SearchError(f"{name} ended at once ({answer['state']}); the reason stands above")
    return 0


def _send_store(link: HeadConnection, store: Path, fingerprint: str | None, cluster: str) -> str:
    """Copy the store to the head unless it is there; returns its path there."""
    size = store.stat().st_size
    request = {"cluster": cluster, "fingerprint": fingerprint, "file": store.name, "size": size}
    place = link.call("place-store", request)
    if not place["there"]:
        started = time.monotonic()
        print(f"Sending {store} ({size / 1e6:.1f} MB) to the head", flush=True)
        link.send(store, place["partial"])
        link.call("accept-store", request)
        print(f"Sent in {duration_text(time.monotonic() - started)}")
    return str(place["path"])


def _watch(arguments: argparse.Namespace) -> int:
    link = _connect(arguments.cluster)
    found = link.call("status", {"name": arguments.job})
    name, offset = found["name"], found["log_from"]
    print(_summary(found) + "\n", flush=True)
    silent = False
    try:
        while True:
            reached, code = link.follow(name, offset)
            silent, offset = silent and reached == offset, reached
            if code != UNREACHABLE:
                break
            if not silent:
                goes_on = "unless it is switched off, the search goes on there; trying again until it answers"
                print(f"[no answer from the head; {goes_on}]", flush=True)
            silent = True
            time.sleep(5)
    except KeyboardInterrupt as error:
        stop = _command("stop", arguments.cluster, name)
        raise type(error)(f"only the watching ended, {name} goes on; to end it: {stop}") from None
    found = link.call("status", {"name": name})
    print("\n" + _summary(found))
    if found["state"] == "done":
        _print_commands(arguments.cluster, name, "fetch")
    else:
        _print_ray(found, arguments.cluster)
        _print_commands(arguments.cluster, name, "resume", "fetch")
    return 0


def _status(arguments: argparse.Namespace) -> int:
    link = _connect(arguments.cluster)
    answer = link.call("list", {}) if arguments.job is None else link.call("status", {"name": arguments.job})
    jobs = answer["jobs"] if arguments.job is None else [answer]
    for job in jobs:
        print(_summary(job))
    _print_ray(answer, arguments.cluster)
    if not jobs:
        print(f"no search was started on the cluster of {arguments.cluster} yet")
    return 0


def _stop(arguments: argparse.Namespace) -> int:
    link = _connect(arguments.cluster)
    print(f"Stopping {arguments.job}", flush=True)
    print(_summary(link.call("stop", {"name": arguments.job})))
    _print_commands(arguments.cluster, arguments.job, "resume", "fetch")
    return 0


def _fetch(arguments: argparse.Namespace) -> int:
    link = _connect(arguments.cluster)
    found = link.call("status", {"name": arguments.job})
    name, where, note = found["name"], found["run"], None
    output = Path(arguments.output or f"runs/{name}")
    _check_output(output, found)
    print(_summary(found), flush=True)
    output.mkdir(parents=True, exist_ok=True)
    jsonlines.write_json(output / _MARK, {"name": name, "started": found["started"], "cluster": arguments.cluster})
    link.fetch(found["log_path"], output)
    if found["folder"]:
        link.fetch(f"{found['folder']}/", output, exclude=(*_NEVER_FETCHED, *(() if arguments.all else _NOT_FETCHED)))
        where, note = str(output), _use_own_store(output, found["sent"])
    elif "://" in where:
        note = f"The run itself is at {where}"
    else:
        log = output / "log.txt"
        raise SearchError(f"{name} must have begun to be fetched, but there is no {where} on the head; see {log}")
    print(f"Fetched to {output}" + (f"\n{note}" if note else ""))
    following = [f"{invocation('tuner.report')} {shlex.quote(where)}"]
    if found["export"]:
        link.fetch(f"{found['export']}/", output / "export")
        print(f"The best model: {output / 'export'}")
        following.append(f"{invocation('model.predict')} {shlex.quote(str(output / 'export'))} my.cif")
    else:
        following.append(f"{invocation('tuner.export')} {shlex.quote(where)} -o {shlex.quote(f'exports/{name}')}")
    if found["state"] == "running":
        print(f"{name} still runs; to have the rest later, the same command again")
    print("Next:\n  " + "\n  ".join(following))
    if link.head.rented and found["state"] != "running":
        print(f"The head costs money until you type: ray down {shlex.quote(arguments.cluster)}")
    return 0


def _check_output(output: Path, found: Mapping[str, Any]) -> None:
    """Refuse a folder that holds something else."""
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return
    try:
        mark = json.loads((output / _MARK).read_text())
    except (OSError, ValueError):
        mark = {}
    if mark.get("name") != found["name"]:
        what = f"-o must be a new folder, or one that this search was fetched to, but {output} holds other files"
        raise SearchError(f"{what}; choose another with -o")


def _use_own_store(output: Path, sent: Mapping[str, str] | None) -> str | None:
    """Let the fetched run name the store that it was searched over by its path on this machine."""
    path = output / "run.json"
    content = json.loads(path.read_text())
    if sent is None or content["settings"].get("store") != sent["path"]:
        return None
    if not Path(sent["local"]).exists():
        return f"tuner.export needs the store, which was at {sent['local']} on the machine that submitted"
    content["settings"]["store"] = sent["local"]
    jsonlines.write_json(path, content)
    return None


def _summary(found: Mapping[str, Any]) -> str:
    """A job in a few lines."""
    began = time.strftime("%Y-%m-%d %H:%M", time.localtime(found["started"]))
    restarts = f", driver restarts: {found['restarts']}" if found["restarts"] else ""
    text = f"{found['name']}: {_STATES[found['state']]} (started {began}{restarts})\n  {found['run']}"
    details = [str(found[key]) for key in ("trials", "best", "reason") if found.get(key)]
    return text + ("\n  " + "; ".join(details) if details else "")


def _connect(cluster: str) -> HeadConnection:
    return HeadConnection(find_head(cluster))


def _command(command: str, cluster: str, name: str) -> str:
    return f"{invocation('tuner.remote')} {command} {shlex.quote(cluster)} {shlex.quote(name)}"


def _print_ray(answer: Mapping[str, Any], cluster: str) -> None:
    if not answer["ray"]:
        print(f"Ray does not run on the head; start it with: ray up {shlex.quote(cluster)}")


def _print_commands(cluster: str, name: str, *commands: str) -> None:
    print("\n".join(f"  {_command(command, cluster, name)}" for command in commands))


def _parser() -> Parser:
    module = "tuner.remote"
    parser = Parser(
        module,
        "A search on a cluster, from your own machine, which may be switched off meanwhile.",
        examples=[
            "submit cluster.yaml --space table5 --store my.lmdb --name first --trials 200",
            "watch cluster.yaml first",
            "fetch cluster.yaml first -o results/first",
        ],
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, (action, what, examples) in _COMMANDS.items():
        description = f"{what[0].upper()}{what[1:]}."
        command = commands.add_parser(name, help=what, module=module, description=description, examples=examples)
        command.add_argument("cluster", metavar="CLUSTER", help="the cluster file given to ray up")
        if name != "submit":
            nargs = "?" if name in ("watch", "status") else None
            command.add_argument("job", metavar="NAME", help="name of the search", nargs=nargs)
        if name in ("submit", "resume"):
            add_flags(command)
        if name == "fetch":
            command.add_argument("-o", "--output", metavar="DIR", help="folder to write (runs/NAME)")
            command.add_argument("--all", action="store_true", help="with the training states of unfinished trials")
        command.set_defaults(run_command=action)
    return parser


_COMMANDS = {
    "submit": (
        _submit,
        "start a search on a cluster that is up; takes the flags of tuner.search",
        [
            "cluster.yaml --space table5 --store my.lmdb --name first --trials 200",
            "cluster.yaml --space mine.toml --store s3://bucket/my.lmdb --runs s3://bucket/runs",
        ],
    ),
    "watch": (_watch, "follow what a search prints; Ctrl-C ends the watching only", ["cluster.yaml first"]),
    "status": (_status, "say how a search stands, or list all of them", ["cluster.yaml", "cluster.yaml first"]),
    "stop": (_stop, "interrupt a search; it can be resumed", ["cluster.yaml first"]),
    "resume": (
        _resume,
        "go on with a search that was stopped or lost its head",
        ["cluster.yaml first", "cluster.yaml first --trials 400"],
    ),
    "fetch": (
        _fetch,
        "copy a search's results and its best model to this machine",
        ["cluster.yaml first", "cluster.yaml first -o results/first --all"],
    ),
}


if __name__ == "__main__":
    sys.exit(main())
