"""A run in object storage: mirrored while it is searched, pulled where it goes on or is read."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol


class RunMirror(AbstractContextManager["RunMirror"], Protocol):
    """A context around a search: inside, `tick` often; leaving it waits until the bucket holds everything."""

    def tick(self, *, now: bool = False) -> bool:
        """Take a snapshot if it is time, or `now`, since a long calculation follows; False if `check` will raise."""

    def check(self) -> None:
        """Raise a `SearchError` when another search has taken the run over."""


class NoMirror(RunMirror):
    """For a run in a folder: nothing to do."""

    def tick(self, *, now: bool = False) -> bool:
        """Go on."""
        return True

    def check(self) -> None:
        """Nothing."""

    def __exit__(self, *_: object) -> None:
        """Nothing."""


def mirror_of(folder: Path, uri: str | None, say: Callable[[str], None]) -> RunMirror:
    """What mirrors a run, held by this process, to a URI; None is for no mirror. `say` shows a line to the user."""
    if uri is None:
        return NoMirror()
    from tuner.run.mirror.background import Mirror  # pyarrow takes 0.2 s to import

    return Mirror(folder, uri, say)
