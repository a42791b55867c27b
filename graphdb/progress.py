"""What a long command shows: a bar with the time left on a terminal, else a line every so often."""

import sys
import time
from types import TracebackType
from typing import Any, Self, TextIO

_SECONDS_BETWEEN_LINES = 15.0


class Progress:
    """Reports the progress of one task on stderr."""

    def __init__(self, title: str, *, quiet: bool = False, stream: TextIO | None = None) -> None:
        """Show nothing yet.

        Args:
            title: what is being done.
            quiet: show nothing at all.
            stream: where to; stderr by default.
        """
        self._title = title
        self._quiet = quiet
        self._stream = stream if stream is not None else sys.stderr
        self._start = self._last_line = time.monotonic()
        self._bar: Any = None
        self._first: float | None = None

    def __enter__(self) -> Self:
        """Show the bar, on a terminal."""
        if not self._quiet and self._stream.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, SpinnerColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as RichProgress

            self._bar = RichProgress(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(),
                TaskProgressColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
                console=Console(file=self._stream),
                transient=True,
            )
            self._bar.add_task(self._title, total=1.0, note="")
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()

    def update(self, fraction: float, note: str) -> None:
        """Tell how far it is.

        Args:
            fraction: done, 0 to 1.
            note: what a person wants to know beside it.
        """
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=fraction, note=note)
            return
        now = time.monotonic()
        if self._first is None:  # what was before it, loading packages say, tells nothing of the rest
            self._first, self._start = fraction, now
        if not self._quiet and now - self._last_line >= _SECONDS_BETWEEN_LINES:
            self._last_line = now
            done = fraction - self._first
            left = f", {duration_text((now - self._start) * (1 - fraction) / done)} left" if done > 0 else ""
            print(f"{self._title}: {100 * fraction:.0f} %, {note}{left}", file=self._stream, flush=True)


def duration_text(seconds: float) -> str:
    """A duration for a person: '48 s', '3 min 5 s', '25 min', '2 h 5 min'."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 60} min" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"
