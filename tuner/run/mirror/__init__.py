"""A run in object storage: mirrored while it is searched, pulled where it goes on or is read."""

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tuner.run.layout import RunFolder
    from tuner.run.mirror.mirror import Mirror


class NoMirror:
    """For a run in a folder: nothing to do."""

    def __enter__(self) -> "NoMirror":
        """Nothing."""
        return self

    def tick(self, *, now: bool = False) -> bool:
        """Go on."""
        return True

    def check(self) -> None:
        """Nothing."""

    def __exit__(self, *_: object) -> None:
        """Nothing."""


def mirror_of(run: "RunFolder", say: Callable[[str], None]) -> "Mirror | NoMirror":
    """What mirrors a run to where the user wants it: a context with `tick` and `check`.

    Args:
        run: held by this process.
        say: shows a line to the user.
    """
    if run.uri is None:
        return NoMirror()
    from tuner.run.mirror.mirror import Mirror  # pyarrow takes 0.2 s to import

    return Mirror(run, say)
