"""The folder of one search: where each file is, who may write, and what run.json holds."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from graphdb.command import did_you_mean, os_error_text
from graphdb.files import is_held
from tuner.errors import SearchError
from tuner.run import jsonlines


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
        self.lock_file = path / ".lock"

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

    def write(self, content: dict[str, Any]) -> None:
        """Write the settings and the status, atomically."""
        jsonlines.write_json(self.run_json, content)

    def update(self, **changes: Any) -> None:
        """Change some entries of run.json.

        Raises:
            OSError: if it cannot be read or written, as when the folder is gone for a while.
        """
        self.write({**json.loads(self.run_json.read_text()), **changes})

    def is_being_written(self) -> bool:
        """Whether a process holds the run."""
        return self._written_elsewhere or is_held(self.lock_file)

    def finalists_begun(self) -> bool:
        """Whether some finalist has trained an epoch."""
        return self.finalist_epochs.exists() and self.finalist_epochs.stat().st_size > 0

    def read_finalists(self) -> dict[str, Any] | None:
        """What finalists.json holds, or None before it is there."""
        if not self.finalists_json.exists():
            return None
        content: dict[str, Any] = json.loads(self.finalists_json.read_text())
        return content


def run_names(folder: Path) -> list[str]:
    """Names of the runs in a folder."""
    with suppress(OSError):
        return sorted(path.parent.name for path in folder.glob("*/run.json"))
    return []
