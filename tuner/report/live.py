"""What the user watches: a table that fits the terminal, or a line now and then where there is none."""

import os
import sys
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import IO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from graphdb.command import count
from graphdb.progress import duration_text
from tuner.report.text_tables import counts_text, errors_text, params_text, state_word
from tuner.run.log import Training
from tuner.trials.board import Board

_REFRESH_SECONDS = 0.5
_LINE_SECONDS = 30.0
_UNLIMITED = 10_000


class _Console(Console):
    """A console whose reader may leave: what it is told of goes on unseen."""

    def on_broken_pipe(self) -> None:
        """Say no more; rich itself would end the process."""
        self.quiet = True
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def make_console(file: IO[str] | None = None) -> Console:
    """Where a command writes: as wide as the terminal, or without one of any width, so that nothing is cut."""
    console = _Console(file=file, highlight=False)
    return console if console.is_terminal else _Console(file=file, highlight=False, width=_UNLIMITED)


def say_on(console: Console) -> Callable[[str], None]:
    """Prints a text as it is, without a look for markup, and without breaking its lines."""
    return lambda text: console.print(Text(text), soft_wrap=True)


class Display:
    """Shows a board while trainings run. On a terminal it is redrawn in place, elsewhere it is a few lines."""

    def __init__(
        self, board: Board, units: Mapping[str, str], console: Console, *, deadline: float | None = None
    ) -> None:
        """Prepare; nothing is shown before ``with``.

        Args:
            board: read at each update.
            units: unit by task.
            console: where to write.
            deadline: `time.monotonic` value at which the search will be ended.
        """
        self._board = board
        self._units = units
        self._console = console
        self._deadline = deadline
        self._started = self._next = 0.0
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None

    def __enter__(self) -> "Display":
        """Start to show."""
        self._started = time.monotonic()
        self._next = self._started + (_LINE_SECONDS if self._live is None else 0)
        if self._live is not None:
            self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the table away, and leave one line."""
        if self._live is not None:
            self._live.__exit__(kind, error, trace)
        self.say(summary_line(self._board, self._elapsed(), None))

    def tick(self) -> None:
        """Called often; draws when it is time."""
        now = time.monotonic()
        if now < self._next:
            return
        elapsed, left = self._elapsed(), self._left()
        if self._live is None:
            self._next = now + _LINE_SECONDS
            self.say(summary_line(self._board, elapsed, left))
        else:
            self._next = now + _REFRESH_SECONDS
            table = render(self._board, self._units, elapsed, left, self._console.width)
            self._live.update(table, refresh=True)

    def say(self, text: str) -> None:
        """A line that stays, above the table."""
        say_on(self._console)(text)

    def notice(self, what: str, training: Training) -> None:
        """A training ended, where there is no table to see it in."""
        if self._live is None and what in ("ended", "failed"):
            self.say(training_line(self._board, training, self._units))
            self._next = time.monotonic() + _LINE_SECONDS

    def _elapsed(self) -> float:
        return time.monotonic() - self._started

    def _left(self) -> float | None:
        left = time_left(self._board, self._elapsed())
        if self._deadline is None:
            return left
        until = max(0.0, self._deadline - time.monotonic())
        return until if left is None else min(left, until)


def time_left(board: Board, elapsed: float) -> float | None:
    """Seconds until the phase ends, judged by the epochs that ended trials took; None before the first has ended."""
    running = [training.epoch for training in board.trainings.values() if training.state in ("waiting", "running")]
    if not board.num_ended or not board.epochs_now or elapsed <= 0:
        return None
    mean = (sum(training.epoch for training in board.trainings.values()) - sum(running)) / board.num_ended
    to_come = (board.planned - len(board.trainings)) * mean + sum(max(1.0, mean - epoch) for epoch in running)
    return to_come * elapsed / board.epochs_now


def pace_text(board: Board, elapsed: float) -> str:
    """Epochs and crystals per second."""
    if elapsed <= 0 or not board.epochs_now:
        return "-"
    return f"{board.epochs_now / elapsed:.2f} epochs/s, {board.crystals_now / elapsed:,.0f} crystals/s"


def training_line(board: Board, training: Training, units: Mapping[str, str]) -> str:
    """One line on a training that ended."""
    place, word = f"[{board.num_ended}/{board.planned}]", state_word(training.state)
    head = f"{place} {training.key} {word} after {count(training.epoch, 'epoch')}"
    if training.state == "failed":
        return f"{head}: {training.reason}"
    if training.best_score is None:
        return head
    errors = errors_text(training.best_metrics, units)
    return f"{head}: score {training.best_score:.4f} at epoch {training.best_epoch} ({errors})"


def summary_line(board: Board, elapsed: float, left: float | None) -> str:
    """One line on the whole."""
    best = board.best()
    score = f"; best score {best.best_score:.4f} ({best.key})" if best is not None else ""
    remaining = f"; about {duration_text(left)} left" if left is not None else ""
    return f"{board.title}: {counts_text(board)} of {board.planned}{score}; {pace_text(board, elapsed)}{remaining}"


def render(board: Board, units: Mapping[str, str], elapsed: float, left: float | None, width: int) -> RenderableType:
    """The table, for a terminal of this many columns."""
    facts = Table.grid(padding=(0, 1))
    facts.add_column(style="bold", no_wrap=True)
    facts.add_column(overflow="fold")
    facts.add_row(board.title, f"{board.num_ended} of {board.planned} ended; {counts_text(board)}")
    best = board.best()
    if best is not None:
        facts.add_row("best", f"{best.best_score:.4f} (trial {best.key}, epoch {best.best_epoch})")
        facts.add_row("", errors_text(best.best_metrics, units))
    facts.add_row("pace", pace_text(board, elapsed))
    facts.add_row("time", duration_text(elapsed) + ("" if left is None else f", about {duration_text(left)} left"))
    return Group(facts, _running_table(board, width))


def _running_table(board: Board, width: int) -> RenderableType:
    running = [training for training in board.trainings.values() if training.state == "running"]
    if not running:
        return Text("")
    table = Table(box=None, padding=(0, 1), header_style="dim", pad_edge=False)
    table.add_column("trial", no_wrap=True, min_width=5)
    table.add_column("epoch", no_wrap=True, justify="right", min_width=len(f"{board.max_epochs}") * 2 + 1)
    table.add_column("best", no_wrap=True, justify="right", min_width=6)
    if width >= 60:
        table.add_column("parameters", no_wrap=True, overflow="ellipsis", max_width=width - 32)
    for training in running[:8]:
        score = "-" if training.best_score is None else f"{training.best_score:.4f}"
        row = [training.key, f"{training.epoch}/{board.max_epochs}", score, params_text(training.params)]
        table.add_row(*row[: len(table.columns)])
    if len(running) > 8:
        table.add_row("...", f"{len(running) - 8} more", "")
    return table
