"""What follows from the answers of hosts, and of a running cluster's nodes."""

import re
from typing import Any

import pytest

from tests.tuner.preflight.stand_ins import VENV, texts
from tuner.cluster import machine_facts
from tuner.cluster.cluster_file import ClusterFile
from tuner.cluster.machine import Machine, NodeFacts
from tuner.preflight.judge_machines import CACHE, TEMPORARY, judge_hosts, judge_nodes

MINE = {"python": "3.12.3", "ray": "2.60.0", "torch": "2.13.0", "numpy": "2.3.0", "crystune": "0.1.0 (code aa)"}
GB = 10**9


def answer(number: int, *, offset: float = 0.0, **changes: Any) -> Machine:
    """Of a healthy host; the first is the head."""
    versions = {"python": "3.12.3", "ray": "2.60.0", "torch": "2.13.0+cu130", "numpy": "2.3.0", "crystune": "0.1.0"}
    facts: dict[str, Any] = {
        "hostname": f"host{number}",
        "executable": f"{VENV}/bin/python",
        "versions": versions | changes.pop("versions", {}),
        "memory": 64 * 10**9,
        "shared_memory": 32 * 10**9,
        "free_disk": {VENV: 50 * 10**9, "/tmp": 50 * 10**9},
        "raylets": [],
        "gpus": [] if number == 1 else ["NVIDIA L4"],
        "gpu_problem": "there is no nvidia-smi" if number == 1 else None,
        "torch_gpus": 0 if number == 1 else 1,
        "reach": {"10.0.0.2": "open", "10.0.0.3": "open"} if number == 1 else {"127.0.0.1": "closed"},
    }
    return Machine(
        address=f"10.0.0.{number}",
        head=number == 1,
        clock_offset=offset,
        clock_error=0.1,
        facts=facts | changes,
    )


def node(number: int, **changes: Any) -> NodeFacts:
    """A healthy one; the first is the head."""
    facts: dict[str, Any] = {
        "hostname": f"host{number}",
        "torch_gpus": 0 if number == 1 else 1,
        "gpu_problem": None,
        "free_disk": {CACHE: 50 * GB, TEMPORARY: 50 * GB},
        "versions": MINE | changes.pop("versions", {}),
    }
    given: dict[str, Any] = {
        "node_id": str(number),
        "address": f"10.0.0.{number}",
        "head": number == 1,
        "cpus": 0.0 if number == 1 else 4.0,
        "gpus": 0.0 if number == 1 else 1.0,
        "object_store": 2 * GB,
        "facts": facts | changes.pop("facts", {}) if changes.pop("answered", True) else {},
    }
    return NodeFacts(**given | changes)


def test_healthy_hosts_pass_with_a_line_each(own_hosts: ClusterFile) -> None:
    findings = judge_hosts(own_hosts, [answer(1), answer(2), answer(3)])
    assert [finding.severity for finding in findings] == ["ok"] * 3
    assert "host2 (10.0.0.2): Python 3.12.3, 1 GPU (NVIDIA L4)" in findings[1].what


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"gpus": [], "gpu_problem": "NVIDIA-SMI has failed"}, r"working GPU driver.*NVIDIA-SMI has.*ubuntu-drivers"),
        ({"torch_gpus": 0, "versions": {"torch": "2.13.0+cpu"}}, r"torch 2.13.0\+cpu must see the 1 GPUs.*for CUDA"),
        ({"versions": {"python": "3.10.1"}}, r"must have Python 3.11 or newer"),
        ({"versions": {"python": "3.12.4"}}, r"python must be the same.*3.12.4 on host3 \(10.0.0.3\)"),
        ({"offset": 60.0}, r"60.0 s ahead.*set-ntp"),
        ({"offset": -3.0}, r"3.0 s behind"),
        (
            {"free_disk": {VENV: 10**9, "/tmp": 10**10}, "versions": {"torch": machine_facts.ABSENT}},
            r"7.0 GB free.*1.0 GB",
        ),
        ({"raylets": ["10.9.9.9:6379"]}, r"runs Ray for the head at 10.9.9.9:6379.*ray stop"),
        ({"reach": {"127.0.0.1": "timed out"}}, r"must reach 127.0.0.1 on port 6380, but: timed out.*firewall"),
        ({"reach": {"127.0.0.1": "name unknown"}}, r"must reach 127.0.0.1 on port 6380, but: name unknown"),
    ],
)
def test_an_unfit_worker_is_named_with_the_fix(changes: dict[str, Any], expected: str, own_hosts: ClusterFile) -> None:
    errors = texts(judge_hosts(own_hosts, [answer(1), answer(2), answer(3, **changes)]), "error")
    assert any(re.search(expected, error) for error in errors), errors
    assert all("host3" in error for error in errors)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"shared_memory": 64 * 10**6}, r"/dev/shm has 0.1 GB.*object-store-memory=57600000"),
        ({"memory": 2 * 10**9}, r"2.0 GB of memory"),
        ({"raylets": ["127.0.0.1:6380"]}, r"runs Ray for this cluster already"),
        ({"gpus": ["NVIDIA L4"] * 2, "torch_gpus": 2}, r"has 2 GPUs, but --num-gpus=1"),
        ({"versions": {"ray": "2.59.0"}}, r"ray differs.*setup commands must make it equal"),
    ],
)
def test_what_may_be_meant_is_a_warning(changes: dict[str, Any], expected: str, own_hosts: ClusterFile) -> None:
    findings = judge_hosts(own_hosts, [answer(1), answer(2), answer(3, **changes)])
    assert texts(findings, "error") == []
    assert any(re.search(expected, warning) for warning in texts(findings, "warning"))


def test_a_clock_that_was_measured_badly_is_not_called_wrong(own_hosts: ClusterFile) -> None:
    late = Machine(address="10.0.0.2", head=False, clock_offset=2.5, clock_error=1.0, facts=answer(2).facts)
    assert texts(judge_hosts(own_hosts, [answer(1), late]), "error") == []


def test_a_cluster_without_any_gpu_is_a_warning(own_hosts: ClusterFile) -> None:
    without: dict[str, Any] = {"gpus": [], "gpu_problem": "there is no nvidia-smi", "torch_gpus": 0}
    findings = judge_hosts(own_hosts, [answer(1), answer(2, **without), answer(3, **without)])
    assert texts(findings, "error") == []
    assert len(texts(findings, "warning")) == 1


def test_versions_that_no_setup_command_will_fix_are_errors(own_hosts: ClusterFile) -> None:
    own_hosts.config["setup_commands"] = []
    errors = texts(judge_hosts(own_hosts, [answer(1), answer(2, versions={"ray": machine_facts.ABSENT})]), "error")
    assert any("must have ray in /home/me/venv/bin/python" in error for error in errors)
    errors = texts(judge_hosts(own_hosts, [answer(1), answer(2, versions={"ray": "2.59.0"})]), "error")
    assert any("2.60.0 on host1 (10.0.0.1); 2.59.0 on host2 (10.0.0.2)" in error for error in errors)


def test_a_healthy_cluster_passes() -> None:
    findings = judge_nodes([node(1), node(2), node(3)], min_workers=2, store_bytes=GB // 2, mine=MINE)
    assert {finding.severity for finding in findings} == {"ok"}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"versions": {"torch": "2.12.0"}}, r"host3.*torch 2.12.0 instead of 2.13.0.*ray up"),
        ({"facts": {"torch_gpus": 0, "gpu_problem": "no driver"}}, r"host3.*sees 0: no driver.*NVIDIA's driver"),
        ({"clock_offset": 9.0, "clock_error": 0.01}, r"host3.*9.0 s ahead of it"),
        ({"object_store": GB // 4}, r"host3.*object store must hold.*object-store-memory=1000000000"),
        ({"answered": False}, r"10.0.0.3.*silent"),
    ],
)
def test_an_unfit_node_is_named_with_the_fix(changes: dict[str, Any], expected: str) -> None:
    findings = judge_nodes([node(1), node(2), node(3, **changes)], min_workers=2, store_bytes=GB // 2, mine=MINE)
    (only,) = texts(findings, "error")
    assert re.search(expected, only)


def test_missing_workers_are_counted() -> None:
    (only,) = texts(judge_nodes([node(1), node(2)], min_workers=2, store_bytes=None, mine=MINE), "error")
    assert "must have 2 workers, has 1" in only
    assert "RAY_UP_enable_autoscaler_v2=0" in only


def test_a_large_store_needs_room_on_the_disks_of_those_that_train() -> None:
    small = {"facts": {"free_disk": {CACHE: GB, TEMPORARY: None}}}
    findings = judge_nodes([node(1, **small), node(2, **small), node(3)], min_workers=2, store_bytes=5 * GB, mine=MINE)
    (only,) = texts(findings, "error")
    assert only.startswith("host2")
    assert "must have 5.0 GB free" in only


def test_a_cluster_that_waits_for_its_first_worker_is_a_warning() -> None:
    findings = judge_nodes([node(1)], min_workers=0, store_bytes=None, mine=MINE)
    assert texts(findings, "error") == []
    assert any("nobody is there to train yet" in warning for warning in texts(findings, "warning"))
