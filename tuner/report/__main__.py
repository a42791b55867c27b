"""`python -m tuner.report RUN`: what a search found, on screen and as files; also while it runs, or after a crash."""

import argparse
import shlex
import sys
from collections.abc import Sequence

from graphdb.command import Parser, invocation, run
from tuner.report.files import write_report
from tuner.report.summary import RunSummary, summarize_run
from tuner.run.layout import run_to_read
from tuner.run.settings import resume_command


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
    from tuner.report.live import make_console
    from tuner.report.screen import show

    summary = summarize_run(run_to_read(arguments.run, checkpoints=False))
    files = write_report(summary)
    show(summary, make_console())
    print(f"Written to {summary.run.report}: {', '.join(files)}")
    commands = _next(summary)
    if commands:
        print("\n  ".join(["Next:", *commands]))
    return 0


def _next(summary: RunSummary) -> list[str]:
    found = summary.run
    commands = []
    if not found.is_being_written() and summary.is_open:
        runs, _, name = found.address.rstrip("/").rpartition("/")
        commands.append(resume_command(name or found.path.resolve().name, runs or "."))
    if summary.board.best() is not None:
        out = shlex.quote(f"exports/{found.path.resolve().name}")
        commands.append(f"{invocation('tuner.export')} {shlex.quote(found.address)} -o {out}")
    return commands


if __name__ == "__main__":
    sys.exit(main())
