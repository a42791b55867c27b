"""What a search over a running cluster needs, and one that really runs."""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.tuner.preflight.stand_ins import texts
from tuner.cluster import machine_facts
from tuner.preflight.running import check_results, check_store

REPOSITORY = Path(__file__).parents[3]


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
    assert any(machine_facts.versions()["python"] in finding["what"] for finding in answer["findings"])
