"""Which checks a preflight makes, in which order; all that is heavy comes with this module."""

import argparse
from collections.abc import Iterable, Iterator

from tuner.cluster.cluster_file import ClusterFile
from tuner.cluster.ray_token import show_token
from tuner.preflight import aws_offline, commands, local_files, schema
from tuner.preflight.ask_hosts import check_hosts
from tuner.preflight.aws_account import check_account
from tuner.preflight.finding import Finding, Severity
from tuner.preflight.node_numbers import check_numbers_of_nodes

_FILE = (
    schema.check_repeated,
    schema.check_schema,
    schema.check_values_left,
    check_numbers_of_nodes,
    local_files.check_login,
)
_AWS = (aws_offline.check_node_configs, aws_offline.check_resources, aws_offline.check_security)
_COMMANDS = (
    commands.check_syntax,
    commands.check_variables,
    commands.check_programs,
    commands.check_start,
    local_files.check_file_mounts,
)


def before(arguments: argparse.Namespace, file: ClusterFile) -> Iterator[tuple[str, list[Finding]]]:
    """What can be known before `ray up`, by subject."""
    checks = (*_FILE, *(_AWS if file.is_aws else ()))
    findings = _once(finding for check in checks for finding in check(file))
    if not any(finding.severity is Severity.ERROR for finding in findings):  # it would repeat the first of them
        findings += schema.check_by_ray(file)
    yield "cluster file", findings
    checks = (*_COMMANDS, *([local_files.check_token] if commands.demands_token(file) else ()))
    yield "commands", _once(finding for check in checks for finding in check(file))
    if file.is_local and not arguments.offline:
        yield "hosts", check_hosts(file)
    if file.is_aws and not arguments.offline:
        yield "AWS", check_account(file, arguments.runs)


def running(arguments: argparse.Namespace, file: ClusterFile | None) -> Iterator[tuple[str, list[Finding]]]:
    """What a cluster that is up tells of itself."""
    show_token()  # before ray is imported
    from tuner.preflight import running as cluster

    findings: list[Finding] = []
    size = None
    if arguments.store is not None:
        size, findings = cluster.check_store(arguments.store)
    if arguments.runs is not None:
        findings += cluster.check_results(arguments.runs)
    if findings:
        yield "store and results", findings
    yield "nodes", cluster.check_running(arguments.address, file, size)


def _once(findings: Iterable[Finding]) -> list[Finding]:
    """Each once, where YAML's anchors make one line hold in two places."""
    found: dict[tuple[str, ...], Finding] = {}
    for finding in findings:
        _, _, line = finding.where.partition(" (line ")
        found.setdefault((line or finding.where, finding.severity, finding.what, finding.fix), finding)
    return list(found.values())
