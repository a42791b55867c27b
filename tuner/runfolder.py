"""The folder of one search: where each file is, who may write, and the resolved settings."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tuner import jsonlines
from tuner.errors import SearchError


class RunFolder:
    """A run on a path. The one place that knows the layout, so that object storage can come behind the same names."""

    def __init__(self, path: Path) -> None:
        """Name the files; nothing is touched."""
        self.path = path
        self.run_json = path / "run.json"
        self.journal = path / "study.journal"
        self.epochs = path / "epochs.jsonl"
        self.finalist_epochs = path / "finalists" / "epochs.jsonl"
        self.finalists_json = path / "finalists.json"
        self.failures = path / "failures"
        self.report = path / "report"
        self._lock = path / ".lock"

    def trial(self, number: int) -> Path:
        """Folder of a trial."""
        return self.path / "trials" / f"{number:04d}"

    def finalist(self, number: int, repeat: int) -> Path:
        """Folder of a finalist: a trial trained again with another seed."""
        return self.path / "finalists" / f"{number:04d}-seed{repeat}"

    def exists(self) -> bool:
        """Whether a search was started here."""
        return self.run_json.exists()

    def read(self) -> dict[str, Any]:
        """The resolved settings and the status.

        Raises:
            SearchError: if the folder is not a run.
        """
        try:
            content = json.loads(self.run_json.read_text())
        except OSError as error:
            raise SearchError(
                f"{self.path} must be the folder of a search (it would hold run.json), but it is not: {error.strerror}"
            ) from error
        except ValueError as error:
            raise SearchError(f"{self.run_json} must be JSON, but it is damaged: {error}") from error
        if not isinstance(content, dict):
            raise SearchError(f"{self.run_json} must hold an object, got {type(content).__name__}")
        return content

    def write(self, content: dict[str, Any]) -> None:
        """Write the settings and the status, atomically."""
        jsonlines.write_json(self.run_json, content)

    def update(self, **changes: Any) -> None:
        """Change some entries of run.json."""
        self.write({**self.read(), **changes})

    @contextmanager
    def only_writer(self) -> Iterator[None]:
        """Hold the run for this process; the lock goes with the process, however it ends.

        Raises:
            SearchError: if another process holds it.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            held = open(self._lock, "a+")  # noqa: SIM115
        except OSError as error:
            raise SearchError(
                f"--runs must be a folder that can be written to, but {self.path} cannot be made: {error.strerror}"
            ) from error
        with held as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                file.seek(0)
                holder = file.read().strip() or "unknown"
                raise SearchError(
                    f"a run must have one writer, but process {holder} is searching in {self.path}; "
                    "wait for it, stop it with Ctrl-C, or choose another --name"
                ) from error
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            try:
                yield
            finally:
                if not self.exists():  # never begun: the name stays free
                    self._lock.unlink(missing_ok=True)
                    with suppress(OSError):  # files of somebody else
                        self.path.rmdir()

    def is_being_written(self) -> bool:
        """Whether a process holds the run."""
        try:
            with open(self._lock) as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return False

    def read_finalists(self) -> dict[str, Any] | None:
        """What finalists.json holds, or None before it is there."""
        if not self.finalists_json.exists():
            return None
        content: dict[str, Any] = json.loads(self.finalists_json.read_text())
        return content


def runs_root(text: str) -> Path:
    """The folder of all runs.

    Raises:
        SearchError: if it is a URI, which is not supported yet.
    """
    if text.startswith("file://"):
        text = text[len("file://") :]
    if "://" in text:
        raise SearchError(
            f"--runs must be a folder for now, got {text!r}; on several nodes use a folder that all of them see, "
            "and copy the finished run to object storage"
        )
    return Path(text)


def latest_run(root: Path) -> str | None:
    """Name of the run whose settings were written last, or None."""
    runs = [path.parent for path in root.glob("*/run.json")]
    return max(runs, key=lambda path: (path / "run.json").stat().st_mtime).name if runs else None
