"""`python -m tuner.report RUN`: what a search found, on screen and as files; also while it runs, or after a crash."""

import argparse
import shlex
import sys
from collections.abc import Sequence

from graphdb.command import Parser, invocation, run
from tuner.report.findings import RunSummary, gather, show, write_report
from tuner.run.runs import run_to_read
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

    findings = gather(run_to_read(arguments.run, checkpoints=False))
    files = write_report(findings)
    show(findings, make_console())
    print(f"Written to {findings.run.report}: {', '.join(files)}")
    commands = _next(findings)
    if commands:
        print("\n  ".join(["Next:", *commands]))
    return 0


def _next(findings: RunSummary) -> list[str]:
    found = findings.run
    commands = []
    if not found.is_being_written() and findings.is_open:
        runs, _, name = found.address.rstrip("/").rpartition("/")
        commands.append(resume_command(name or found.path.resolve().name, runs or "."))
    if findings.board.best() is not None:
        out = shlex.quote(f"exports/{found.path.resolve().name}")
        commands.append(f"{invocation('tuner.export')} {shlex.quote(found.address)} -o {out}")
    return commands


if __name__ == "__main__":
    sys.exit(main())
