"""The folder of one search: where each file is, who may write, and the resolved settings."""

import errno
import fcntl
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from graphdb.command import did_you_mean, os_error_text
from graphdb.files import is_held
from tuner.errors import SearchError
from tuner.run import jsonlines
from tuner.run.trial_folder import BEST, STATE


class RunFolder:
    """A run on a path, which may be mirrored to object storage. The one place that knows the layout."""

    def __init__(self, path: Path, uri: str | None = None, *, written_elsewhere: bool = False) -> None:
        """Name the files; nothing is touched.

        Args:
            path: of the local folder.
            uri: where it is mirrored to or was read from; None for a run that is only here.
            written_elsewhere: whether another machine searches in it at this moment.
        """
        self.path = path
        self.uri = uri
        self._written_elsewhere = written_elsewhere
        self.run_json = path / "run.json"
        self.journal = path / "study.journal"
        self.epochs = path / "epochs.jsonl"
        self.finalist_epochs = path / "finalists" / "epochs.jsonl"
        self.finalists_json = path / "finalists.json"
        self.failures = path / "failures"
        self.report = path / "report"
        self._lock = path / ".lock"

    @property
    def address(self) -> str:
        """What the user calls it: URI or path."""
        return self.uri or str(self.path)

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
            content = json.loads(self.run_json.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError) as error:
            found = "it holds none" if self.path.is_dir() else "it is a file" if self.path.exists() else "there is none"
            raise SearchError(
                f"{self.address} must be the folder of a search (with run.json), but {found}{self._near()}"
            ) from error
        except OSError as error:
            raise SearchError(f"{self.run_json} must be a file that can be read: {os_error_text(error)}") from error
        except ValueError as error:
            raise SearchError(
                f"{self.run_json} must be JSON, but it is damaged: {error}; restore it from a copy, or start a new "
                "search with another --name"
            ) from error
        if not isinstance(content, dict):
            raise SearchError(f"{self.run_json} must hold an object, got {type(content).__name__}")
        return content

    def _near(self) -> str:
        """A run whose name is like this one's, beside it or in runs/."""
        for folder in (self.path.parent, Path("runs")):
            near = did_you_mean(self.path.name, run_names(folder))
            if near:
                name = near.split("'")[1]
                return f"; did you mean {str(folder / name)!r}?"
        return ""

    def check_place(self) -> None:
        """Refuse a place where no folder can be made, as far as it can be told without making one.

        Raises:
            SearchError: naming what is in the way.
        """
        above = next((path for path in (self.path, *self.path.parents) if path.exists()), Path())
        if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
            reason = "cannot be written to" if above.is_dir() else "is a file"
            raise SearchError(
                f"--runs must be a folder that can be written to, but {self.path} cannot be made: {above} {reason}; "
                "choose another with --runs"
            )

    def write(self, content: dict[str, Any]) -> None:
        """Write the settings and the status, atomically."""
        jsonlines.write_json(self.run_json, content)

    def update(self, **changes: Any) -> None:
        """Change some entries of run.json.

        Raises:
            OSError: if it cannot be read or written, as when the folder is gone for a while.
        """
        self.write({**json.loads(self.run_json.read_text()), **changes})

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
            raise self._not_writable(error) from error
        with held as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise self._held() from error
            with suppress(OSError):  # a full disk; the lock itself needs no room
                os.truncate(file.fileno(), 0)
                os.write(file.fileno(), str(os.getpid()).encode())
            try:
                yield
            finally:
                if not self.exists():  # never begun: the name stays free
                    self._lock.unlink(missing_ok=True)
                    with suppress(OSError):  # files of somebody else
                        self.path.rmdir()

    def check_free(self) -> None:
        """Refuse to go on with a run that this process could not hold, before anything is said or started.

        Raises:
            SearchError: if another process holds it, or it cannot be written to.
        """
        if is_held(self._lock):
            raise self._held()
        for place in (self.path, self.run_json):
            if place.exists() and not os.access(place, os.W_OK):
                raise self._not_writable(PermissionError(errno.EACCES, os.strerror(errno.EACCES)))

    def _held(self) -> SearchError:
        try:
            holder = self._lock.read_text().strip()
        except OSError:
            holder = ""
        return SearchError(
            f"a run must have one writer, but process {holder or 'unknown'} is searching in {self.path}; "
            "wait for it, stop it with Ctrl-C, or choose another --name"
        )

    def _not_writable(self, error: OSError) -> SearchError:
        reason = (error.strerror or str(error)).lower()
        if self.exists():
            return SearchError(
                f"a run must be writable to go on with it, but {self.path} is not: {reason}; change its permissions"
            )
        return SearchError(
            f"--runs must be a folder that can be written to, but {self.path} cannot be made: {reason}; "
            "choose another with --runs"
        )

    def is_being_written(self) -> bool:
        """Whether a process holds the run."""
        return self._written_elsewhere or is_held(self._lock)

    def read_finalists(self) -> dict[str, Any] | None:
        """What finalists.json holds, or None before it is there."""
        if not self.finalists_json.exists():
            return None
        content: dict[str, Any] = json.loads(self.finalists_json.read_text())
        return content


def _with_slashes(text: str) -> str:
    scheme, _, rest = text.partition(":")
    return f"{scheme}://{'/' if scheme == 'file' else ''}{rest.lstrip('/')}"


class Runs:
    """All runs of a folder or of a place in object storage; those have a local working folder each."""

    def __init__(self, text: str) -> None:
        """Nothing is touched.

        Args:
            text: folder, or URI of s3, gs or file.

        Raises:
            SearchError: for a URI that lacks a slash, which would be a folder named ``s3:``.
        """
        self._text = text
        if re.match(r"(?:s3|gs|gcs|file):(?!//)", text):
            raise SearchError(f"--runs must be a folder or a URI, got {text!r}; did you mean {_with_slashes(text)!r}?")
        self._is_remote = "://" in text
        self._folder = _cache("runs", text) if self._is_remote else Path(text)

    def __str__(self) -> str:
        return self._text

    def folder(self, name: str) -> RunFolder:
        """The run of a name, whether it is there or not; nothing is touched."""
        return RunFolder(self._folder / name, self._uri(name))

    def is_taken(self, name: str) -> bool:
        """Whether there is a run of that name.

        Raises:
            SearchError: if object storage does not answer.
        """
        uri = self._uri(name)
        if uri is None:
            return self.folder(name).exists()
        from tuner.run.mirror.pull import is_there

        with _answers(self._text):
            return is_there(uri) or self.folder(name).exists()

    def latest(self) -> str | None:
        """Name of the run that was written last, or None.

        Raises:
            SearchError: if object storage does not answer.
        """
        if self._is_remote:
            from tuner.run.mirror.pull import latest_run

            with _answers(self._text):
                return latest_run(self._text)
        runs = [path.parent for path in self._folder.glob("*/run.json")]
        return max(runs, key=lambda path: (path / "run.json").stat().st_mtime).name if runs else None

    def open(self, name: str, say: Callable[[str], None]) -> RunFolder:
        """A run to go on with: read from object storage, unless the local folder is as new.

        Raises:
            SearchError: if there is none, another process writes to it, or what is there is damaged.
        """
        run = self.folder(name)
        if run.uri is not None and self.is_taken(name):
            from tuner.run.mirror.pull import pull_to_resume

            if run.is_being_written():
                raise SearchError(
                    f"a run must have one writer, but a process of this machine is searching in {run.path}; "
                    "wait for it, or stop it with Ctrl-C"
                )
            with _answers(self._text):
                pull_to_resume(run.uri, run.path, say)
        if not run.exists():
            near = did_you_mean(name, self._names())
            raise SearchError(
                f"--resume needs a run named {name!r}, but {run.address} is none"
                + (near or "; leave --resume out to start it")
            )
        return run

    def _names(self) -> list[str]:
        if not self._is_remote:
            return run_names(self._folder)
        from tuner.run.mirror.bucket import Bucket

        with _answers(self._text):
            return list(Bucket(self._text).folders())

    def _uri(self, name: str) -> str | None:
        if not self._is_remote:
            return None
        from tuner.run.mirror.bucket import join

        return join(self._text, name)


def run_names(folder: Path) -> list[str]:
    """Names of the runs in a folder."""
    with suppress(OSError):
        return sorted(path.parent.name for path in folder.glob("*/run.json"))
    return []


def run_to_read(text: str, *, checkpoints: bool) -> RunFolder:
    """A run to look at.

    Args:
        text: folder or URI of the run.
        checkpoints: whether networks are wanted, too, beside settings, logs and results.

    Raises:
        SearchError: if there is none at the URI, or files of it are missing.
    """
    if "://" not in text:
        return RunFolder(Path(text))
    from tuner.run.mirror.bucket import Bucket
    from tuner.run.mirror.pull import is_being_written, pull

    uri = text.rstrip("/")
    name = uri.partition("?")[0].rpartition("/")[2]
    local = _cache("read", uri) / name
    with _answers(uri):
        pull(uri, local, lambda path: not path.endswith(f"/{STATE}") and (checkpoints or f"/{BEST}" not in path))
        run = RunFolder(local, uri, written_elsewhere=is_being_written(Bucket(uri)))
    run.report = Path("reports") / name
    return run


def _cache(kind: str, uri: str) -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "crystune" / kind / hashlib.sha256(uri.rstrip("/").encode()).hexdigest()[:12]


@contextmanager
def _answers(uri: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SearchError(f"{uri} must be a place that can be read, but it is not: {os_error_text(error)}") from error
