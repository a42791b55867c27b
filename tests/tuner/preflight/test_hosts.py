"""What follows from the answers of hosts; the answers themselves come from a lab in tests/cluster/test_preflight.py."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from tuner.cluster import probe
from tuner.cluster.cluster_file import ClusterFile, read_cluster_file
from tuner.cluster.machine import Machine
from tuner.preflight.finding import Finding
from tuner.preflight.hosts import check_hosts
from tuner.preflight.machines import judge_hosts as judge

VENV = "/home/me/venv"
TEXT = f"""
cluster_name: mine
provider: {{type: local, head_ip: 127.0.0.1, worker_ips: [10.0.0.2, 10.0.0.3]}}
auth: {{ssh_user: me}}
setup_commands: ["{VENV}/bin/pip install crystune.whl"]
head_start_ray_commands: ["{VENV}/bin/ray start --head --port=6380 --num-gpus=0"]
worker_start_ray_commands: ["{VENV}/bin/ray start --address=$RAY_HEAD_IP:6380 --num-gpus=1"]
"""


@pytest.fixture
def file(tmp_path: Path) -> ClusterFile:
    path = tmp_path / "mine.yaml"
    path.write_text(TEXT)
    return read_cluster_file(path)


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


def texts(findings: list[Finding], severity: str) -> list[str]:
    return [f"{f.where}: {f.what} -> {f.fix}" for f in findings if f.severity == severity]


def test_healthy_hosts_pass_with_a_line_each(file: ClusterFile) -> None:
    findings = judge(file, [answer(1), answer(2), answer(3)])
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
        ({"free_disk": {VENV: 10**9, "/tmp": 10**10}, "versions": {"torch": probe.ABSENT}}, r"7.0 GB free.*1.0 GB"),
        ({"raylets": ["10.9.9.9:6379"]}, r"runs Ray for the head at 10.9.9.9:6379.*ray stop"),
        ({"reach": {"127.0.0.1": "timed out"}}, r"must reach 127.0.0.1 on port 6380, but: timed out.*firewall"),
        ({"reach": {"127.0.0.1": "name unknown"}}, r"must reach 127.0.0.1 on port 6380, but: name unknown"),
    ],
)
def test_an_unfit_worker_is_named_with_the_mend(changes: dict[str, Any], expected: str, file: ClusterFile) -> None:
    errors = texts(judge(file, [answer(1), answer(2), answer(3, **changes)]), "error")
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
def test_what_may_be_meant_is_a_warning(changes: dict[str, Any], expected: str, file: ClusterFile) -> None:
    findings = judge(file, [answer(1), answer(2), answer(3, **changes)])
    assert texts(findings, "error") == []
    assert any(re.search(expected, warning) for warning in texts(findings, "warning"))


def test_a_clock_that_was_measured_badly_is_not_called_wrong(file: ClusterFile) -> None:
    late = Machine(address="10.0.0.2", head=False, clock_offset=2.5, clock_error=1.0, facts=answer(2).facts)
    assert texts(judge(file, [answer(1), late]), "error") == []


def test_a_cluster_without_any_gpu_is_a_warning(file: ClusterFile) -> None:
    without: dict[str, Any] = {"gpus": [], "gpu_problem": "there is no nvidia-smi", "torch_gpus": 0}
    findings = judge(file, [answer(1), answer(2, **without), answer(3, **without)])
    assert texts(findings, "error") == []
    assert len(texts(findings, "warning")) == 1


def test_versions_that_no_setup_command_will_mend_are_errors(file: ClusterFile) -> None:
    file.config["setup_commands"] = []
    errors = texts(judge(file, [answer(1), answer(2, versions={"ray": probe.ABSENT})]), "error")
    assert any("must have ray in /home/me/venv/bin/python" in error for error in errors)
    errors = texts(judge(file, [answer(1), answer(2, versions={"ray": "2.59.0"})]), "error")
    assert any("2.60.0 on host1 (10.0.0.1); 2.59.0 on host2 (10.0.0.2)" in error for error in errors)


@pytest.mark.needs("bash")
def test_hosts_are_asked_with_the_ssh_of_the_path(
    file: ClusterFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stub in place of ssh: two hosts answer as this machine does, one an hour later, one refuses the login."""
    stub = tmp_path / "bin" / "ssh"
    stub.parent.mkdir()
    stub.write_text(
        "#!/bin/bash\n"
        'case "$*" in\n'
        "*me@10.0.0.3*) echo 'me@10.0.0.3: Permission denied (publickey).' >&2; exit 255;;\n"
        "*me@10.0.0.2*date*) echo $(($(date +%s) + 3600)).0;;\n"
        "*date*) date +%s.%N;;\n"
        f"*) echo 'Welcome!'; exec {sys.executable} -I -S -;;\n"
        "esac\n"
    )
    stub.chmod(0o755)
    monkeypatch.setenv("PATH", f"{stub.parent}:/usr/bin:/bin")
    file.auth["ssh_proxy_command"] = "through somewhere"  # hence no look at port 22 of addresses that do not exist
    file.provider["worker_ips"] = ["10.0.0.2", "10.0.0.3"]
    monkeypatch.setattr(probe, "__file__", _without_network(tmp_path))
    errors = texts(check_hosts(file), "error")
    assert any("(10.0.0.2): must have the time of this machine" in e and "ahead" in e for e in errors), errors
    assert any(e.startswith("10.0.0.3: must let me log in") and "Permission denied" in e for e in errors)
    assert not any("(127.0.0.1)" in e and "time" in e for e in errors)


def _without_network(folder: Path) -> str:
    path = folder / "probe.py"
    path.write_text(Path(probe.__file__).read_text() + "\ndef reach(address, port): return 'open'\n")
    return str(path)
