"""On the head: a search as a job with a name, its files, and whether it runs.

~/crystune-jobs/NAME/job.json     the flags of the search, and who runs it
~/crystune-jobs/NAME/log.txt      what the search prints
~/crystune-jobs/NAME/lock         held for as long as the job's processes live
~/crystune-jobs/NAME/export/      the best model, written when the search is done
~/crystune-runs/NAME/             the run folder, unless --runs says otherwise
~/crystune-files/FINGERPRINT/     stores that were sent
"""

import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from graphdb.files import hold, is_held
from tuner.errors import SearchError
from tuner.run import jsonlines
from tuner.run.run_folder import RunFolder
from tuner.run.runs import Runs

PROTOCOL = 1  # of requests and answers between the two machines; one more whenever they mean something else
_LAST_LINES = 60  # of the log, which a watcher is shown at first


class Job:
    """A search on this machine, by name."""

    def __init__(self, name: str) -> None:
        """Name the files; nothing is touched."""
        check_name(name)
        self.name = name
        self.home = Path.home()
        self.folder = self.home / "crystune-jobs" / name
        self.log = self.folder / "log.txt"
        self.export = self.folder / "export"
        self._json = self.folder / "job.json"
        self._lock = self.folder / "lock"

    def exists(self) -> bool:
        """Whether it was ever started here."""
        return self._json.exists()

    def read(self) -> dict[str, Any]:
        """What job.json says; a SearchError names the jobs that are there, if it is not."""
        if not self.exists():
            names = ", ".join(job.name for job in all_jobs()) or "none"
            raise SearchError(f"NAME must be a search that was started on this cluster ({names}), got {self.name!r}")
        content: dict[str, Any] = json.loads(self._json.read_text())
        return content

    def write(self, **changes: Any) -> None:
        """Change entries of job.json."""
        jsonlines.write_json(self._json, {**(self.read() if self.exists() else {}), **changes})

    def lock(self) -> IO[str] | None:
        """Hold the job, or None while another process does; processes that inherit the file hold it too."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return hold(self._lock)

    def is_running(self) -> bool:
        """Whether some process of it lives."""
        return is_held(self._lock)

    def runs(self, flags: Mapping[str, str | None]) -> str:
        """The folder of all runs, or its URI."""
        text = flags.get("--runs") or "crystune-runs"
        return text if "://" in text else str(self.home / text)

    def run_folder(self) -> RunFolder:
        """The run folder; the local one of a run that is mirrored to a URI."""
        return Runs(self.runs(self.read()["flags"])).folder(self.name)

    def begun(self) -> bool:
        """Whether the search has got as far as having something to go on with, here or at the URI of its runs."""
        return Runs(self.runs(self.read()["flags"])).is_taken(self.name)

    def resume_command(self) -> str:
        """What the user types, on another machine, to go on with it."""
        cluster = shlex.quote(self.read().get("cluster", "CLUSTER"))
        return f"python -m tuner.remote resume {cluster} {shlex.quote(self.name)}"

    def state(self) -> str:
        """Running, done, stopped, failed, or lost if its processes vanished without a word."""
        return "running" if self.is_running() else str(self.read().get("ended") or "lost")

    def describe(self) -> dict[str, Any]:
        """The job for the user's machine."""
        content, state = self.read(), self.state()
        run = self.run_folder()
        return {
            "name": self.name,
            "state": state,
            "started": content["started"],
            "restarts": content.get("restarts", 0),
            "run": run.address,
            "folder": str(run.path) if run.exists() else None,
            "reason": self._reason() if state == "failed" else None,
            "log_path": str(self.log),
            "log_from": self._log_from(),
            "export": str(self.export) if (self.export / "model.safetensors").exists() else None,
            "sent": content.get("sent"),
        }

    def _log_from(self) -> int:
        """Where the last lines of the log begin, in bytes."""
        content = self.log.read_bytes() if self.log.exists() else b""
        return len(content) - len(b"".join(content.splitlines(keepends=True)[-_LAST_LINES:]))

    def _reason(self) -> str | None:
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        errors = [line for line in lines if line.startswith("error: ")]
        return next(reversed(errors or lines), None)


def check_name(name: str) -> None:
    """Refuse, by a SearchError, what would mean something else to a shell, to rsync or in a URI."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise SearchError(
            f"the name of a search on a cluster must be letters, digits and . _ - only, not beginning with a sign, "
            f"got {name!r}; choose another --name"
        )


def all_jobs() -> list[Job]:
    """Those that were started here, the latest last."""
    root = Path.home() / "crystune-jobs"
    found = sorted(root.glob("*/job.json"), key=lambda path: float(json.loads(path.read_text()).get("started", 0)))
    return [Job(path.parent.name) for path in found]
