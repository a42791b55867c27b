"""What `tuner.report` prints."""

from rich.console import Console

from graphdb.command import count
from graphdb.progress import duration_text
from tuner.report.live import say_on
from tuner.report.summary import RunSummary
from tuner.report.tables import (
    RANKING,
    counts_text,
    errors_text,
    finalists_table,
    params_text,
    ranking_cells,
    screen_table,
)


def show(summary: RunSummary, console: Console) -> None:
    """The summary for the screen."""
    say = say_on(console)
    board, settings = summary.board, summary.settings
    spent = sum(training.seconds for training in board.trainings.values())
    epochs = sum(training.epoch for training in board.trainings.values())
    say(
        f"{summary.run.address}: {summary.status}\n{len(board.trainings)} of "
        f"{count(board.planned, 'trial')} over {settings.space_name}: {counts_text(board)}; "
        f"{count(epochs, 'epoch')} in {duration_text(spent)} of training"
    )
    best = board.ranked()[:10]
    if best:
        columns = [*RANKING, "validation MAE, parameters"]
        rows = [
            [*ranking_cells(trial), f"{errors_text(trial.best_metrics, summary.units)}\n{params_text(trial.params)}"]
            for trial in best
        ]
        console.print(screen_table("the best ten", columns, rows, whole=len(RANKING)))
    if summary.importances:
        say(
            "importance of each parameter: its share of the differences in the ranking of the trials, the largest "
            f"first, the others of what is left (up to {summary.importance_by_chance:.2f} by chance)"
        )
        for name, value in summary.importances.items():
            say(f"  {value:5.2f} {'#' * round(20 * value):20} {name}")
    if summary.finalists is not None:
        console.print(finalists_table(summary.finalists))
    for training in summary.failed[:5]:
        say(f"failed: {training.key}: {training.reason}")
    if summary.failed:
        say(f"{len(summary.failed)} failed; tracebacks in {summary.run.failures}")
    elif summary.run.failures.exists():
        say(f"some attempts failed and were repeated; tracebacks in {summary.run.failures}")
