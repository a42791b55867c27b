"""The tables of a search, and the phrases in them: the same on the screen, in report.md and in a model's README.md."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from tuner.run.log import State, Training
from tuner.run.settings import with_unit
from tuner.space.parameter import PER_TASK
from tuner.trials.board import Board

if TYPE_CHECKING:
    from rich.table import Table

_T = TypeVar("_T")
RANKING = ("trial", "score", "epoch", "ended")
"""Columns of `ranking_cells`."""
_STATES: tuple[State, ...] = ("running", "waiting", "stopped", "finished", "diverged", "failed")


def screen_table(title: str, columns: Iterable[str], rows: Iterable[Iterable[str]], *, whole: int = 0) -> "Table":
    """A table for a terminal, of which nothing is cut off; lines break in all but the first `whole` columns."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 1), header_style="bold", title=title, title_justify="left")
    for number, header in enumerate(columns):
        # Text, since in markup [eV] would be a style.
        table.add_column(Text(header), overflow="fold", no_wrap=number < whole)
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def markdown_table(columns: Sequence[str], rows: Iterable[Iterable[str]]) -> list[str]:
    """The lines of a table in Markdown."""
    header, *lines = ["| " + " | ".join(cells) + " |" for cells in (columns, *rows)]
    return [header, "|" + "---|" * len(columns), *lines]


def ranking_cells(training: Training) -> list[str]:
    """What a table says of each trial that has a score."""
    score, epochs = f"{training.best_score:.4f}", f"{training.best_epoch}/{training.epoch}"
    return [training.key, score, epochs, training.state]


def finalist_rows(content: Mapping[str, Any]) -> list[list[str]]:
    """Of each finalist in finalists.json: the trial, its validation score, and the test MAE of each task."""
    return [
        [f"{entry['trial']:04d}", with_spread(entry["validation_score"])]
        + [with_spread(mae_of(entry["test"], task)) for task in content["units"]]
        for entry in content["finalists"]
    ]


def finalists_table(content: Mapping[str, Any]) -> "Table":
    """Mean and spread over seeds of each finalist's test errors."""
    tasks = [with_unit(f"test MAE {task}", unit) for task, unit in content["units"].items()]
    title = "finalists, mean (spread over seeds)"
    return screen_table(title, ["trial", "validation score", *tasks], finalist_rows(content))


def with_spread(value: Mapping[str, float | None] | None) -> str:
    """A mean with its standard deviation."""
    if value is None or value["mean"] is None:
        return "-"
    spread = value.get("std")
    return f"{value['mean']:.4f}" + (f" ({spread:.4f})" if spread is not None else "")


def number_text(value: float | None, digits: int = 4) -> str:
    """A number with so many digits; a dash for None."""
    return "-" if value is None else f"{value:.{digits}g}"


def mae_of(metrics: Mapping[str, Mapping[str, _T]], task: str) -> _T | None:
    """Mean absolute error of a task, where it is known: a number, or mean and spread of several."""
    return (metrics.get(task) or {}).get("mae")


def errors_text(metrics: Mapping[str, Any], units: Mapping[str, str], digits: int = 3) -> str:
    """MAE of each task, with units."""
    texts = {task: number_text(mae_of(metrics, task), digits) for task in units}
    return ", ".join(f"{task} {texts[task]} {unit}".rstrip() for task, unit in units.items())


def state_word(state: State) -> str:
    """What a state is called."""
    return "done" if state == "finished" else state


def counts_text(board: Board) -> str:
    """How many trials there are of each kind; kinds that are empty are left out."""
    counts = board.counts()
    return ", ".join(f"{counts[state]} {state_word(state)}" for state in _STATES if counts[state]) or "none yet"


def params_text(params: Mapping[str, object]) -> str:
    """Parameters on one line; the weights of all tasks in one word, in the tasks' order."""
    weights = [str(value) for name, value in params.items() if name.startswith(f"{PER_TASK}.")]
    others = {name: value for name, value in params.items() if not name.startswith(f"{PER_TASK}.")}
    words = [f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}" for name, value in others.items()]
    return " ".join([*words, f"{PER_TASK}={'/'.join(weights)}"] if weights else words)
