"""Numbers and types of nodes that do not fit together."""

from pathlib import Path

import pytest

from tests.tuner.preflight.stand_ins import CheckMistake
from tuner.cluster.cluster_file import read_cluster_file
from tuner.preflight.node_numbers import check_numbers_of_nodes

pytestmark = pytest.mark.ray


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (r"(?m)^head_node_type: head", "head_node_type: haed", r"head_node_type .*did you mean 'head'"),
        (r"(?m)^( +)min_workers: 0", r"\1min_workers: 5", r"min_workers .*must be at most max_workers = 4"),
    ],
)
def test_a_mistake_is_found_with_its_fix(old: str, new: str, expected: str, check_mistake: CheckMistake) -> None:
    check_mistake(old, new, expected)


@pytest.mark.parametrize(
    ("provider", "options", "expected"),
    [
        ("head_ip: a, worker_ips: []", "", "error: must name head_ip and at least one of worker_ips"),
        ("head_ip: a, worker_ips: [a, b]", "", "error: must not be the head, but a is head_ip too"),
        ("head_ip: a, worker_ips: [b, b]", "", "error: must stand once, but b stands twice"),
        ("head_ip: a, worker_ips: [b]", "max_workers: 2", "error: must be at most the 1 worker_ips, got 2"),
        ("head_ip: a, worker_ips: [b, c]", "min_workers: 1", "warning: 1, but there are 2 worker_ips"),
        ("head_ip: a, worker_ips: [b, c]", "", "ok: at least 2 workers, at most 2"),
        ("coordinator_address: a", "", "ok: at least 0 workers, at most 0"),
    ],
)
def test_own_machines_are_counted(provider: str, options: str, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"provider: {{type: local, {provider}}}\n{options}\n")
    (finding,) = check_numbers_of_nodes(read_cluster_file(path))
    assert f"{finding.severity}: {finding.what}" == expected
