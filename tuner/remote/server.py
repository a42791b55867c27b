"""On the head: `python -m tuner.remote.server`, what `tuner.remote` calls there by ssh.

A request is refused by a SearchError, which is what the user is told.
"""

import argparse
import json
import os
import re
import select
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from graphdb.command import Parser, run
from graphdb.files import partial_path
from tuner.errors import SearchError
from tuner.remote.job import PROTOCOL, Job, all_jobs
from tuner.remote.supervisor import forget_requests
from tuner.run.settings import SearchSettings

_START_SECONDS = 20.0  # for a search to begin or to refuse
_STOP_SECONDS = 90.0
_STEP = 0.2
_SUPERVISOR = "tuner.remote.supervisor"
_KEPT = {
    *(f"--{field.name.replace('_', '-')}" for field in fields(SearchSettings)),
    *("--space", "--no-asha", "--valid", "--test"),
}
"""Flags that a run remembers by itself; the others say by what means it is searched."""


def place_store(request: dict[str, Any]) -> dict[str, Any]:
    """Where a store of this fingerprint belongs, and whether it is there; refused if there is no room for it."""
    _check_ray(request)
    folder = Path.home() / "crystune-files" / request["fingerprint"][:16]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / re.sub(r"[^A-Za-z0-9._-]+", "_", request["file"])
    partial = partial_path(path)
    there = path.exists()
    missing = 0 if there else request["size"] - (partial.stat().st_size if partial.exists() else 0)
    if missing > (free := shutil.disk_usage(folder).free):
        raise SearchError(
            f"the head must have room for the store, but {missing / 1e9:.1f} GB are missing there and {free / 1e9:.1f} "
            "GB are free; make room, give it a larger disk, or put the store into object storage (--store s3://...)"
        )
    return {"path": str(path), "partial": str(partial), "there": there}


def accept_store(request: dict[str, Any]) -> dict[str, Any]:
    """Check that a store has arrived as it was sent, and move it into place."""
    from graphdb.errors import GraphDBError
    from graphdb.store import Store

    place = place_store({**request, "size": 0})
    partial = Path(place["partial"])
    try:
        with Store(partial) as store:
            found = store.fingerprint
        if partial.stat().st_size != request["size"]:
            found = f"{partial.stat().st_size} bytes instead of {request['size']}"
    except (GraphDBError, OSError) as error:
        found = str(error)
    if found != request["fingerprint"]:
        partial.unlink(missing_ok=True)
        raise SearchError(f"the store must arrive as it was sent, but {found[:200]}; it was removed, send it again")
    os.replace(partial, place["path"])
    return place


def ray_runs() -> bool:
    """Whether a head of Ray lives on this machine; asked before Ray is, which would wait for one that is not there."""
    return any(b"/gcs/gcs_server\0" in _command_line(path.name) for path in Path("/proc").glob("[0-9]*"))


def _check_ray(request: Mapping[str, Any]) -> None:
    if not ray_runs():
        raise SearchError(
            "Ray must run on the head, but it does not: the head was switched off, or the cluster was taken down; "
            f"start it again with: ray up {shlex.quote(request['cluster'])}"
        )


def start(request: dict[str, Any]) -> dict[str, Any]:
    """Start a search, or go on with one, in processes of its own; wait until it has begun or refused."""
    _check_ray(request)
    job, resume = Job(request["name"]), bool(request["resume"])
    known = job.exists()
    # A run in object storage can be gone on with on a head that has never heard of it.
    elsewhere = resume and not known and "://" in (request["flags"].get("--runs") or "")
    before: dict[str, Any] = job.read() if known or (resume and not elsewhere) else {}
    held = job.lock()
    if held is None:
        what = f"a search named {job.name} runs on the head already"
        raise SearchError(f"{what}; watch it, stop it, or choose another name")
    with held:
        begun = elsewhere or (known and job.begun())
        if begun and not resume:
            raise SearchError(
                f"a new search needs a new name, but {job.name} is on the head ({before['ended'] or 'lost'}); "
                "go on with it by resume, or choose another --name"
            )
        flags = dict(request["flags"])
        if request.get("space") is not None:
            flags["--space"] = str(job.folder / request["space"]["file"])
            Path(flags["--space"]).write_text(request["space"]["text"])
        if not begun:
            job.log.unlink(missing_ok=True)
            shutil.rmtree(job.export, ignore_errors=True)
        old = before.get("flags", {}) if resume else {}
        job.write(
            flags={**old, **(_execution_options(flags) if begun else flags)},
            now={**(_execution_options(old) if begun else old), **flags},
            cluster=request["cluster"],
            sent=request.get("sent") or (before.get("sent") if resume else None),
            started=time.time(),
            ended=None,
            restarts=0,
        )
        offset = job.log.stat().st_size if job.log.exists() else 0
        supervisor = _start_supervisor(job, held.fileno(), resume=begun)
    deadline = time.monotonic() + _START_SECONDS
    while supervisor.poll() is None and time.monotonic() < deadline and not _searches(job):
        time.sleep(_STEP)
    found = {**job.describe(), "log": job.log.read_bytes()[offset:].decode(errors="replace")}
    if begun and supervisor.returncode == 2:  # It was refused: all is as it was.
        if known:
            job.write(**before)
        else:
            shutil.rmtree(job.folder, ignore_errors=True)
    return found


def _start_supervisor(job: Job, held: int, *, resume: bool) -> "subprocess.Popen[bytes]":
    """Begin a session of its own, which neither the end of ssh nor a logout ends."""
    command = [sys.executable, "-u", "-m", _SUPERVISOR, job.name, str(held), *(["--resume"] if resume else [])]
    nothing = subprocess.DEVNULL
    with open(job.log, "ab") as log:
        return subprocess.Popen(
            command, cwd=job.folder, stdin=nothing, stdout=log, stderr=log, pass_fds=[held], start_new_session=True
        )


def _execution_options(flags: Mapping[str, str | None]) -> dict[str, str | None]:
    return {flag: value for flag, value in flags.items() if flag not in _KEPT and flag != "--retry-failed"}


def _searches(job: Job) -> bool:
    """Whether the search has found its workers: the user may go."""
    run = job.run_folder()
    is_of_now = run.exists() and run.run_json.stat().st_mtime >= job.read()["started"]
    return is_of_now and run.read().get("status") == "searching"


def stop(request: dict[str, Any]) -> dict[str, Any]:
    """Interrupt the search as Ctrl-C does, and wait until nothing of it lives."""
    job = Job(request["name"])
    content = job.read()
    if job.state() == "lost":
        if ray_runs():
            forget_requests()
        job.write(ended="stopped")
        return job.describe()
    if not job.is_running():
        raise SearchError(f"{job.name} must be running to be stopped, but it is not ({job.state()})")
    for pid, signum, module in (
        (content.get("supervisor"), signal.SIGTERM, _SUPERVISOR.encode()),
        (content.get("driver"), signal.SIGINT, b"tuner.search"),
    ):
        if pid is not None and module in _command_line(pid):
            os.kill(pid, signum)
            break
    deadline = time.monotonic() + _STOP_SECONDS
    while job.is_running():
        if time.monotonic() > deadline:
            raise SearchError(f"{job.name} must end when it is interrupted, but it still runs; look at its log (watch)")
        time.sleep(_STEP)
    job.write(ended=job.read().get("ended") or "stopped")
    return job.describe()


def _command_line(pid: int | str) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def follow(name: str, offset: int) -> None:
    """Copy the log to standard output from a byte on, until the job ends or nobody watches any more."""
    job = Job(name)
    job.read()
    while True:
        running = job.is_running()
        if job.log.exists():
            with open(job.log, "rb") as log:
                log.seek(offset)
                shutil.copyfileobj(log, sys.stdout.buffer)
                offset = log.tell()
            sys.stdout.buffer.flush()
        if not running:
            return
        # The watcher's end closes standard input, also when its machine went to sleep without a word to us.
        if select.select([sys.stdin], [], [], 0.5)[0] and not os.read(sys.stdin.fileno(), 1024):
            return


def status(request: dict[str, Any]) -> dict[str, Any]:
    """One job with its trials, the latest if no name is given."""
    name = request.get("name")
    jobs = [Job(name)] if name else all_jobs()[-1:]
    if not jobs:
        raise SearchError("a search must have been started on this cluster, but there is none; start one with submit")
    found = {**jobs[0].describe(), "ray": ray_runs()}
    run = jobs[0].run_folder()
    if run.exists():
        from tuner.report.summary import summarize_run
        from tuner.report.text_tables import counts_text

        summary = summarize_run(run)
        best = summary.board.best()
        found["trials"] = (
            f"{len(summary.board.trainings)} of {summary.settings.trials} trials: {counts_text(summary.board)}"
        )
        found["best"] = None if best is None else f"best score {best.best_score:.4f} (trial {best.key})"
    return found


def list_jobs(request: dict[str, Any]) -> dict[str, Any]:
    """All jobs of this head, the latest last."""
    return {"jobs": [job.describe() for job in all_jobs()], "ray": ray_runs()}


_REQUESTS = {
    "place-store": place_store,
    "accept-store": accept_store,
    "start": start,
    "stop": stop,
    "status": status,
    "list": list_jobs,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Answer one request: JSON on standard input, JSON on standard output; 2 with a message if it is refused."""
    parser = Parser("tuner.remote.server", "Answers one request of tuner.remote; to be run on the head.")
    parser.add_argument("request", choices=[*_REQUESTS, "follow"])
    parser.add_argument("name", nargs="?", help="to follow")
    parser.add_argument("offset", nargs="?", type=int, default=0, help="byte of its log to begin with")
    return run(parser, _answer, argv)


def _answer(arguments: argparse.Namespace) -> int:
    if arguments.request == "follow":
        follow(arguments.name, arguments.offset)
        return 0
    request = json.load(sys.stdin)
    # Another version of ours acts on nothing; it learns from the number in the answer what is wrong.
    answer = _REQUESTS[arguments.request](request) if request.pop("protocol", None) == PROTOCOL else {}
    print(json.dumps({**answer, "protocol": PROTOCOL}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
