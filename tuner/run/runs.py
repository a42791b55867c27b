"""Runs by name, in a folder or in object storage; those there have a local working folder each."""

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from graphdb.command import did_you_mean, os_error_text
from tuner.errors import SearchError
from tuner.run.run_folder import RunFolder, run_names
from tuner.run.trial_folder import BEST, STATE


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
