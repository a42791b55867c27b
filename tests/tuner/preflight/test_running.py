"""What follows from the answers of a running cluster's nodes, and one that really runs."""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tuner.cluster import probe
from tuner.cluster.machine import NodeFacts
from tuner.preflight.finding import Finding
from tuner.preflight.machines import CACHE, TEMPORARY
from tuner.preflight.machines import judge_nodes as judge
from tuner.preflight.running import check_results, check_store

MINE = {"python": "3.12.3", "ray": "2.60.0", "torch": "2.13.0", "numpy": "2.3.0", "crystune": "0.1.0 (code aa)"}
GB = 10**9
REPOSITORY = Path(__file__).parents[3]


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


def texts(findings: list[Finding], severity: str) -> list[str]:
    return [f"{f.where}: {f.what} -> {f.fix}" for f in findings if f.severity == severity]


def test_a_healthy_cluster_passes() -> None:
    findings = judge([node(1), node(2), node(3)], min_workers=2, store_bytes=GB // 2, mine=MINE)
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
def test_an_unfit_node_is_named_with_the_mend(changes: dict[str, Any], expected: str) -> None:
    findings = judge([node(1), node(2), node(3, **changes)], min_workers=2, store_bytes=GB // 2, mine=MINE)
    (only,) = texts(findings, "error")
    assert re.search(expected, only)


def test_missing_workers_are_counted() -> None:
    (only,) = texts(judge([node(1), node(2)], min_workers=2, store_bytes=None, mine=MINE), "error")
    assert "must have 2 workers, has 1" in only
    assert "RAY_UP_enable_autoscaler_v2=0" in only


def test_a_large_store_needs_room_on_the_disks_of_those_that_train() -> None:
    small = {"facts": {"free_disk": {CACHE: GB, TEMPORARY: None}}}
    findings = judge([node(1, **small), node(2, **small), node(3)], min_workers=2, store_bytes=5 * GB, mine=MINE)
    (only,) = texts(findings, "error")
    assert only.startswith("host2")
    assert "must have 5.0 GB free" in only


def test_a_cluster_that_waits_for_its_first_worker_is_a_warning() -> None:
    findings = judge([node(1)], min_workers=0, store_bytes=None, mine=MINE)
    assert texts(findings, "error") == []
    assert any("nobody is there to train yet" in warning for warning in texts(findings, "warning"))


def test_store_and_results_are_looked_for_where_the_driver_runs(tmp_path: Path) -> None:
    store = tmp_path / "my.store"
    store.write_bytes(b"0123456789")
    assert check_store(str(store))[0] == check_store(f"file://{store}")[0] == 10
    assert "there is nothing" in texts(check_store(str(tmp_path / "other"))[1], "error")[0]
    assert texts(check_results(str(tmp_path / "runs")), "error") == []
    assert list((tmp_path / "runs").iterdir()) == []
    assert "must be a place" in texts(check_results(str(store)), "error")[0]


@pytest.mark.ray
@pytest.mark.needs("bash")  # Ray starts workers by it
def test_a_running_ray_that_demands_a_token_is_asked(tmp_path: Path) -> None:
    program = (
        "import ray, sys; r = ray.init('local', num_cpus=1, num_gpus=0, include_dashboard=False, log_to_driver=False,"
        " object_store_memory=10**8, _temp_dir=sys.argv[1]);"
        " print(r.address_info['gcs_address'], flush=True); sys.stdin.read()"
    )
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").touch(0o600)
    (tmp_path / ".ray" / "auth_token").write_text("a-token-of-32-characters-or-more-")
    environment = {name: value for name, value in os.environ.items() if name != "RAY_AUTH_MODE"}
    environment["HOME"] = str(tmp_path)
    with (
        tempfile.TemporaryDirectory(prefix="ray-") as short,
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", program, short],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        ) as ray,
    ):
        assert ray.stdout is not None
        assert ray.stdin is not None
        address = next(line.strip() for line in ray.stdout if re.match(r"[\d.]+:\d+$", line))
        options = ["--running", "--address", address, "--runs", str(tmp_path / "runs"), "--json"]
        command = [sys.executable, "-m", "tuner.preflight", *options]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=REPOSITORY)
        ray.stdin.close()
    assert done.returncode == 0, done
    answer = json.loads(done.stdout)
    assert answer["next"].startswith(f"python -m tuner.search --address {address}")
    assert any(probe.versions()["python"] in finding["what"] for finding in answer["findings"])
