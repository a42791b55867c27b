"""`tuner.preflight` asked on a launcher with real SSH to real hosts."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.lab import ROOT, Lab

pytestmark = [pytest.mark.lab, pytest.mark.ray]
VENV = Path(sys.prefix)
CLUSTER = f"""
cluster_name: lab
provider: {{type: local, head_ip: 10.77.0.2, worker_ips: [10.77.0.3, 10.77.0.4]}}
auth: {{ssh_user: root, ssh_private_key: ~/.ssh/lab_key}}
file_mounts: {{/root/.ray/auth_token: ~/.ray/auth_token}}
head_start_ray_commands:
    - RAY_AUTH_MODE=token {VENV}/bin/ray start --head --port=6379 --autoscaling-config=~/ray_bootstrap_config.yaml
worker_start_ray_commands:
    - RAY_AUTH_MODE=token {VENV}/bin/ray start --address=$RAY_HEAD_IP:6379
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab(tmp_path_factory.mktemp("lab")) as lab:
        lab.exec("launcher", "bash", "-c", "mkdir .ray; echo secret > .ray/auth_token; chmod 600 .ray/auth_token")
        lab.path("launcher", "/root/cluster.yaml").write_text(CLUSTER)
        yield lab


def preflight(lab: Lab) -> tuple[int, list[dict[str, Any]]]:
    command = [sys.executable, "-m", "tuner.preflight", "cluster.yaml", "--json"]
    done = subprocess.run(lab.command("launcher", command), capture_output=True, text=True, timeout=120)
    assert done.stderr == ""
    return done.returncode, json.loads(done.stdout)["findings"]


def errors(findings: list[dict[str, Any]]) -> list[str]:
    return [f"{f['where']}: {f['what']} -> {f['fix']}" for f in findings if f["severity"] == "error"]


def test_hosts_that_are_ready_pass(lab: Lab) -> None:
    status, findings = preflight(lab)
    assert (status, errors(findings)) == (0, [])
    ready = [finding["what"] for finding in findings if finding["subject"] == "hosts" and finding["severity"] == "ok"]
    assert [line.partition(":")[0] for line in ready] == ["head (10.77.0.2)", "gpu1 (10.77.0.3)", "gpu2 (10.77.0.4)"]


@pytest.mark.skipif(os.path.exists("/dev/nvidia0"), reason="is about hosts without a GPU")
def test_hosts_without_gpus_are_a_warning(lab: Lab) -> None:
    _, findings = preflight(lab)
    assert any(f["severity"] == "warning" and "no worker has a GPU" in f["what"] for f in findings)


def test_a_host_that_is_off_and_one_that_does_not_know_the_key_are_named_with_the_others_still_asked(lab: Lab) -> None:
    keys = lab.path("gpu1", "/root/.ssh/authorized_keys")
    before = keys.read_text()
    keys.write_text("")
    lab.power_off("gpu2")
    status, findings = preflight(lab)
    lab.power_on("gpu2")
    keys.write_text(before)
    assert status == 2
    first, second, third = errors(findings)
    assert first.startswith("10.77.0.3: must let root log in")
    assert "ssh-copy-id -i ~/.ssh/lab_key root@10.77" in first
    assert second.startswith("10.77.0.4: must be reachable on port 22")
    assert third.startswith("head (10.77.0.2): must reach 10.77.0.4 on port 22")


def test_a_raylet_left_over_from_another_cluster_is_found(lab: Lab) -> None:
    program = "import time; time.sleep(60)"
    foreign = lab.popen(
        "gpu1", "bash", "-c", f"exec -a raylet {sys.executable} -c '{program}' --gcs-address=10.0.0.9:1"
    )
    _, findings = preflight(lab)
    foreign.kill()
    foreign.communicate()
    assert [e for e in errors(findings) if "gpu1" in e and "Ray for the head at 10.0.0.9:1 -> ray stop" in e]


def test_a_running_cluster_with_a_worker_missing_and_another_of_older_code_is_told_apart(lab: Lab) -> None:
    ray = f"{VENV}/bin/ray"
    older = lab.path("gpu1", "/root/older")
    for package in ("graphdb", "model", "tuner"):
        shutil.copytree(ROOT / package, older / package)
    (older / "tuner" / "errors.py").write_text("class SearchError(Exception):\n    pass\n")
    secret = lab.path("launcher", "/root/.ray/auth_token").read_text()
    for host, options, path in (
        ("head", "--head --port=6379 --num-cpus=0 --include-dashboard=false", str(ROOT)),
        ("gpu1", "--address=10.77.0.2:6379 --num-cpus=1", "/root/older"),
    ):
        lab.path(host, "/root/.ray").mkdir(exist_ok=True)
        lab.path(host, "/root/.ray/auth_token").touch(0o600)
        lab.path(host, "/root/.ray/auth_token").write_text(secret)
        start = f"{ray} start {options} --object-store-memory=100000000 --disable-usage-stats"
        environment = {"RAY_AUTH_MODE": "token", "PYTHONPATH": path}
        lab.exec(host, "bash", "-c", f"ulimit -c 0; {start}", environment=environment)
    lab.path("head", "/root/cluster.yaml").write_text(CLUSTER)
    line = [sys.executable, "-m", "tuner.preflight", "cluster.yaml", "--running", "--runs", "runs", "--json"]
    done = subprocess.run(lab.command("head", line), capture_output=True, text=True, timeout=180)
    for host in ("gpu1", "head"):
        lab.exec(host, ray, "stop", "--force", check=False)
    assert done.returncode == 2, done
    missing, version = errors(json.loads(done.stdout)["findings"])
    assert "must have 2 workers, has 1" in missing
    assert version.startswith("gpu1 (10.77.0.3): must have the versions of this driver, has crystune")
