"""`python -m tuner.report RUN`: what a search found, on screen and as files; also while it runs, or after a crash."""

import argparse
import sys
from collections.abc import Sequence

from graphdb.command import Parser, count, load, run
from graphdb.progress import duration_text
from tuner.report import text_tables
from tuner.report.summary import RunSummary, summarize_run
from tuner.run.runs import run_to_read
from tuner.run.settings import export_command, resume_command


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = Parser(
        "tuner.report",
        "Tell what a search has found so far, on screen and as files; while it runs, too, and after a crash.",
        examples=["runs/first", "s3://bucket/runs/first"],
    )
    parser.add_argument("run", metavar="RUN", help="folder or URI of a search, e.g. runs/table5-20260101-120000")
    return run(parser, _report, argv, interrupted="the search itself is untouched")


def _report(arguments: argparse.Namespace) -> int:
    run_folder = run_to_read(arguments.run, checkpoints=False)
    load("numpy")
    from tuner.report.written_files import write_report

    summary = summarize_run(run_folder)
    _show(summary)  # before the pictures, which take longer than all the rest
    files = write_report(summary)
    print(f"Written to {summary.run.report}: {', '.join(files)}")
    folder = summary.run
    commands = []
    if not folder.is_being_written() and summary.status != "done":
        runs, _, name = folder.address.rstrip("/").rpartition("/")
        commands.append(resume_command(name or folder.path.resolve().name, runs or "."))
    if summary.board.best() is not None:
        commands.append(export_command(folder.address, folder.path.resolve().name))
    if commands:
        print("\n  ".join(["Next:", *commands]))
    return 0


def _show(summary: RunSummary) -> None:
    from tuner.report.live import make_console, say_on  # rich

    console = make_console()
    say = say_on(console)
    board, settings = summary.board, summary.settings
    spent = sum(training.seconds for training in board.trainings.values())
    epochs = sum(training.epoch for training in board.trainings.values())
    say(
        f"{summary.run.address}: {summary.status}\n{len(board.trainings)} of "
        f"{count(board.planned, 'trial')} over {settings.space_name}: {text_tables.counts_text(board)}; "
        f"{count(epochs, 'epoch')} in {duration_text(spent)} of training"
    )
    best = board.ranked()[:10]
    if best:
        rows = []
        for trial in best:
            errors = text_tables.errors_text(trial.best_metrics, summary.units)
            rows.append([*text_tables.ranking_cells(trial), f"{errors}\n{text_tables.params_text(trial.params)}"])
        columns = [*text_tables.RANKING, "validation MAE, parameters"]
        console.print(text_tables.screen_table("the best ten", columns, rows, whole=len(text_tables.RANKING)))
    if summary.importances:
        say(
            "importance of each parameter: its share of the differences in the ranking of the trials, the largest "
            f"first, the others of what is left (up to {summary.importance_by_chance:.2f} by chance)"
        )
        for name, value in summary.importances.items():
            say(f"  {value:5.2f} {'#' * round(20 * value):20} {name}")
    if summary.finalists is not None:
        console.print(text_tables.finalists_table(summary.finalists))
    for training in summary.failed[:5]:
        say(f"failed: {training.key}: {training.reason}")
    if summary.failed:
        say(f"{len(summary.failed)} failed; tracebacks in {summary.run.failures}")
    elif summary.run.failures.exists():
        say(f"some attempts failed and were repeated; tracebacks in {summary.run.failures}")


if __name__ == "__main__":
    sys.exit(main())
