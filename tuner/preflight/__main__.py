"""`python -m tuner.preflight cluster.yaml`: find out in a minute what `ray up` would tell after an hour."""

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from graphdb.command import Parser, count, invocation, run
from tuner.errors import SearchError
from tuner.preflight.finding import Finding, Severity, error

if TYPE_CHECKING:  # what takes a while to load is loaded once there is something to check
    from rich.console import Console

    from tuner.cluster.cluster_file import ClusterFile

_MARKS = {Severity.ERROR: ("error", "bold red"), Severity.WARNING: ("warn ", "yellow"), Severity.OK: ("ok   ", "green")}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns 0 when nothing must be fixed (warnings are none), else as `graphdb.command.run`."""
    parser = Parser(
        "tuner.preflight",
        "Find out in a minute what `ray up` would tell after an hour.",
        examples=[
            "cluster.yaml",
            "cluster.yaml --offline",
            "--running --store s3://bucket/my.lmdb --runs s3://bucket/runs",
        ],
    )
    add = parser.add_argument
    add("file", nargs="?", metavar="CLUSTER_FILE", help="what `ray up` will be, or was, given")
    add("--offline", action="store_true", help="check the file and its commands only; ask no host and no cloud")
    add("--running", action="store_true", help="ask a cluster that is up; to be run on its head")
    add("--address", default="auto", help="with --running: of the cluster (auto: the one of this machine)")
    add("--store", metavar="STORE", help="with --running: the store that will be searched over, a path or URI")
    add("--runs", metavar="DIR", help="where results will be written, a folder or URI")
    add("--json", action="store_true", help="findings as JSON")
    given = sys.argv[1:] if argv is None else list(argv)
    return run(parser, lambda arguments: _preflight(arguments, given), given)


def _preflight(arguments: argparse.Namespace, given: Sequence[str]) -> int:
    if arguments.file is None and not arguments.running:
        raise SearchError("CLUSTER_FILE must be given, such as cluster.yaml (or --running, on the head of a cluster)")
    from tuner.cluster.cluster_file import ClusterFileError, read_cluster_file
    from tuner.preflight import checks
    from tuner.report.live import make_console, say_on

    console = make_console()
    file = None
    try:
        file = None if arguments.file is None else read_cluster_file(Path(arguments.file))
        if file is None or arguments.running:
            sections = checks.running(arguments, file)
        else:
            sections = checks.before(arguments, file)
    except ClusterFileError as problem:
        sections = iter([("cluster file", [error(problem.where, problem.what, problem.fix)])])
    found: list[tuple[str, Finding]] = []
    for title, findings in sections:
        found += [(title, finding) for finding in findings]
        if not arguments.json:
            _show(console, title, findings)
    severities = [finding.severity for _, finding in found]
    errors, warnings = severities.count(Severity.ERROR), severities.count(Severity.WARNING)
    again = f"fix the errors above, then again: {invocation('tuner.preflight')} {shlex.join(given)}"
    following = again if errors else _next(arguments, file)
    if arguments.json:
        listed = [
            {"subject": title, "severity": f.severity, "where": f.where, "what": f.what, "fix": f.fix}
            for title, f in found
        ]
        print(json.dumps({"errors": errors, "warnings": warnings, "findings": listed, "next": following}, indent=2))
    else:
        say_on(console)(f"\n{count(errors, 'error')}, {count(warnings, 'warning')}\nNext:\n  {following}")
    return 2 if errors else 0


def _show(console: "Console", title: str, findings: list[Finding]) -> None:
    from rich.text import Text

    console.print(Text(f"\n{title}", style="bold"))
    for finding in findings:
        mark, style = _MARKS[finding.severity]
        line = Text(f"  {mark} ", style=style)
        line.append(f"{finding.where}: " if finding.where else "", style="bold")
        line.append(finding.what, style="default")
        console.print(line, soft_wrap=True)
        if finding.fix:
            console.print(Text(f"        -> {finding.fix}"), soft_wrap=True)


def _next(arguments: argparse.Namespace, file: "ClusterFile | None") -> str:
    """What to type where nothing has to be fixed."""
    if file is None:
        options = ["--store", arguments.store or "STORE", "--runs", arguments.runs or "runs"]
        where = shlex.quote(arguments.address)
        return f"{invocation('tuner.search')} --address {where} --space table5 {shlex.join(options)}"
    if arguments.running:
        return f"on your own machine: {invocation('tuner.remote')} submit CLUSTER_FILE --space table5"
    start = file.start("head")
    # The second version of Ray's autoscaler counts the head of provider local as a worker and starts one too few.
    fixed = not file.is_local or (start is not None and "RAY_enable_autoscaler_v2=0" in start[1])
    return f"{'' if fixed else 'RAY_UP_enable_autoscaler_v2=0 '}ray up {shlex.quote(arguments.file)}"


if __name__ == "__main__":
    sys.exit(main())
