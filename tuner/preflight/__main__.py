"""`python -m tuner.preflight cluster.yaml`: find out in a minute what `ray up` would tell after an hour."""

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from graphdb.command import Parser, count, did_you_mean, invocation, run
from tuner.cluster.ray_token import show_token
from tuner.errors import SearchError
from tuner.preflight import aws_account, aws_node_config, commands, hosts, rayside, schema
from tuner.preflight.clusterfile import ClusterFile, read_cluster_file
from tuner.preflight.finding import Finding, Severity
from tuner.report.live import make_console

Section = tuple[str, list[Finding]]
_FILE = (
    schema.check_schema,
    schema.check_values_left,
    schema.check_numbers_of_nodes,
    schema.check_key,
    aws_node_config.check_node_configs,
    aws_node_config.check_resources,
    aws_node_config.check_security,
)
_COMMANDS = (
    commands.check_syntax,
    commands.check_variables,
    commands.check_programs,
    commands.check_start,
    commands.check_file_mounts,
    commands.check_token,
)
_MARKS = {Severity.ERROR: ("error", "bold red"), Severity.WARNING: ("warn ", "yellow"), Severity.OK: ("ok   ", "green")}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        0 when nothing must be fixed (there may be warnings), otherwise as `graphdb.command.run`.
    """
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
    console = make_console()
    sections = []
    for title, findings in _sections(arguments):
        sections.append((title, findings))
        if not arguments.json:
            _show(console, title, findings)
    errors, warnings = (
        sum(finding.severity is severity for _, findings in sections for finding in findings)
        for severity in (Severity.ERROR, Severity.WARNING)
    )
    following = _next(arguments, given, errors)
    if arguments.json:
        found = [
            {"subject": title, "severity": f.severity, "where": f.where, "what": f.what, "fix": f.fix}
            for title, findings in sections
            for f in findings
        ]
        print(json.dumps({"errors": errors, "warnings": warnings, "findings": found, "next": following}, indent=2))
    else:
        console.print(
            Text(f"\n{count(errors, 'error')}, {count(warnings, 'warning')}\nNext:\n  {following}"), soft_wrap=True
        )
    return 2 if errors else 0


def _sections(arguments: argparse.Namespace) -> Iterator[Section]:
    file = None
    if arguments.file is not None:
        path = Path(arguments.file)
        if not path.exists():
            near = did_you_mean(path.name, (other.name for other in path.parent.glob("*.y*ml")))
            raise SearchError(f"CLUSTER_FILE must be a cluster file such as cluster.yaml, but there is no {path}{near}")
        file, findings = read_cluster_file(Path(arguments.file))
        if file is None:
            yield "cluster file", findings
            return
        if not arguments.running:
            yield from _before(arguments, file, findings)
            return
    yield from _running(arguments, file)


def _before(arguments: argparse.Namespace, file: ClusterFile, findings: list[Finding]) -> Iterator[Section]:
    findings += _all(_FILE, file)
    if not any(finding.severity is Severity.ERROR for finding in findings):  # it would repeat the first of them
        findings += rayside.check_by_ray(file)
    yield "cluster file", findings
    yield "commands", _all(_COMMANDS, file)
    if arguments.offline:
        return
    if file.is_local:
        yield "hosts", hosts.check_hosts(file)
    if file.is_aws:
        yield "AWS", aws_account.check_cloud(file, arguments.runs)


def _running(arguments: argparse.Namespace, file: ClusterFile | None) -> Iterator[Section]:
    show_token()  # before ray is imported
    from tuner.preflight import running

    findings: list[Finding] = []
    size = None
    if arguments.store is not None:
        size, found = running.check_store(arguments.store)
        findings += found
    if arguments.runs is not None:
        findings += running.check_results(arguments.runs)
    if findings:
        yield "store and results", findings
    yield "nodes", running.check_running(arguments.address, file, size)


def _all(checks: tuple[Callable[[ClusterFile], list[Finding]], ...], file: ClusterFile) -> list[Finding]:
    """Findings of all checks; once where YAML's anchors make one line hold in two places."""
    found: dict[tuple[str, ...], Finding] = {}
    for finding in (finding for check in checks for finding in check(file)):
        _, _, line = finding.where.partition(" (line ")
        found.setdefault((line or finding.where, finding.severity, finding.what, finding.fix), finding)
    return list(found.values())


def _show(console: Console, title: str, findings: list[Finding]) -> None:
    console.print(Text(f"\n{title}", style="bold"))
    for finding in findings:
        mark, style = _MARKS[finding.severity]
        line = Text(f"  {mark} ", style=style)
        line.append(f"{finding.where}: " if finding.where else "", style="bold")
        line.append(finding.what, style="default")
        console.print(line, soft_wrap=True)
        if finding.fix:
            console.print(Text(f"        -> {finding.fix}"), soft_wrap=True)


def _next(arguments: argparse.Namespace, given: Sequence[str], errors: int) -> str:
    if errors:
        return f"fix the errors above, then again: {invocation('tuner.preflight')} {shlex.join(given)}"
    if arguments.running and arguments.file is not None:
        return f"on your own machine: {invocation('tuner.remote')} submit CLUSTER_FILE --space table5"
    if arguments.running:
        options = ["--store", arguments.store or "STORE", "--runs", arguments.runs or "runs"]
        where = shlex.quote(arguments.address)
        return f"{invocation('tuner.search')} --address {where} --space table5 {shlex.join(options)}"
    file, _ = read_cluster_file(Path(arguments.file))
    assert file is not None
    start = file.start("head")
    # The second version of Ray's autoscaler counts the head of provider local as a worker and starts one too few.
    cured = not file.is_local or (start is not None and "RAY_enable_autoscaler_v2=0" in start[1])
    prefix = "" if cured else "RAY_UP_enable_autoscaler_v2=0 "
    return f"{prefix}ray up {shlex.quote(arguments.file)}"


if __name__ == "__main__":
    sys.exit(main())
