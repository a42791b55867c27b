"""From a laptop to a cluster and back: `tuner.remote` over real SSH, after a real `ray up`."""

import json
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.lab import KEY, Lab

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.ray]

BIN = Path(sys.executable).parent
REMOTE = (sys.executable, "-m", "tuner.remote")
SPACE = """
[parameters]
learning_rate = {low = 0.001, high = 0.01, log = true}
[fixed]
num_convs = 1
atom_dim = 8
head_dim = 8
"""


def cluster_config(lab: Lab) -> str:
    start = f"RAY_AUTH_MODE=token {BIN}/ray start --object-store-memory=100000000 --disable-usage-stats"
    address = "--node-ip-address=$(hostname -I | tr -d ' ')"
    token = "/root/.ray/auth_token"
    return json.dumps(
        {
            "cluster_name": "remote",
            "provider": {"type": "local", "head_ip": "10.77.0.2", "worker_ips": ["10.77.0.3"]},
            "auth": {"ssh_user": "root", "ssh_private_key": KEY},
            "min_workers": 1,
            "max_workers": 1,
            "file_mounts": {token: token},
            "setup_commands": [f"chmod 600 {token}"],
            "head_start_ray_commands": [
                f"{BIN}/ray stop",
                f"{start} --head --port=6379 {address} --num-cpus=0 --num-gpus=0 --include-dashboard=false "
                "--autoscaling-config=~/ray_bootstrap_config.yaml",
            ],
            "worker_start_ray_commands": [
                f"{BIN}/ray stop",
                f"{start} --address=$RAY_HEAD_IP:6379 {address} --num-cpus=2 --num-gpus=0",
            ],
        }
    )


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, small_store: Path) -> Iterator[Lab]:
    """A cluster that is up, and on the launcher: cluster.yaml, a store, a space whose name has a blank."""
    environment = {"RAY_AUTH_MODE": "token", "RAY_UP_enable_autoscaler_v2": "0"}
    hosts = {"launcher": "10.77.0.1", "head": "10.77.0.2", "gpu1": "10.77.0.3"}
    with Lab(tmp_path_factory.mktemp("lab"), hosts, environment=environment) as lab:
        lab.path("launcher", "/root/cluster.yaml").write_text(cluster_config(lab))
        lab.path("launcher", "/root/my space.toml").write_text(SPACE)
        lab.path("launcher", "/root/my store.lmdb").write_bytes(small_store.read_bytes())
        lab.exec("launcher", "bash", "-c", f"umask 077; {BIN}/ray get-auth-token --generate")
        lab.exec("launcher", f"{BIN}/ray", "up", "-y", "cluster.yaml", "--no-config-cache")
        yield lab


def remote(lab: Lab, command: str, *words: str, code: int = 0) -> str:
    done = lab.exec("launcher", *REMOTE, command, "cluster.yaml", *words, check=False)
    assert done.returncode == code, done.stdout
    return done.stdout


def driver(lab: Lab) -> int | None:
    found = [pid for pid, command in lab.processes("head").items() if "-m tuner.search" in command]
    return found[0] if found else None


def wait_for(lab: Lab, pattern: str, seconds: float = 60.0) -> None:
    log = lab.path("head", "/root/crystune-jobs/first/log.txt")
    deadline = time.monotonic() + seconds
    while not re.search(pattern, log.read_text(), re.DOTALL):
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)


def test_a_search_survives_the_laptop_its_own_driver_and_the_head_and_comes_home(lab: Lab) -> None:
    said = remote(
        lab,
        *("submit", "--space", "my space.toml", "--store", "my store.lmdb", "--name", "first", "--trials", "100"),
        *("--max-epochs", "4", "--no-asha", "--finalists", "0"),
    )
    assert "Sending my store.lmdb" in said
    assert "first runs on the head" in said
    assert "runs on the head already" in remote(lab, "submit", "--space", "table5", "--name", "first", code=2)

    stopped = remote(lab, "stop", "first")
    assert "first: stopped; it can be resumed" in stopped
    assert driver(lab) is None
    said = remote(lab, "resume", "first", "--trials", "200", "--max-epochs", "9", code=2)
    assert "--max-epochs was 4 and is now 9" in said
    remote(lab, "resume", "first", "--trials", "300")

    killed = driver(lab)
    lab.exec("head", "pkill", "-9", "-f", "tuner[.]search")
    wait_for(lab, r"killed by signal 9; it goes on from disk.*Going on with.*: 300 trials.*/300\]")
    assert driver(lab) not in (None, killed)

    lab.power_off("head")
    began = time.monotonic()
    assert "start it, or start it again, with: ray up cluster.yaml" in remote(lab, "status", "first", code=2)
    assert time.monotonic() - began < 20
    lab.power_on("head")
    assert "first: not running: the head was switched off" in remote(lab, "status")
    lab.exec("launcher", f"{BIN}/ray", "up", "-y", "cluster.yaml", "--no-config-cache")
    remote(lab, "resume", "first", "--trials", "12")

    watched = remote(lab, "watch")
    assert "first: done" in watched
    said = remote(lab, "fetch", "first")
    assert "python -m model.predict runs/first/export my.cif" in said
    run = json.loads(lab.path("launcher", "/root/runs/first/run.json").read_text())
    assert run["status"] == "done"
    assert run["settings"]["store"] == "/root/my store.lmdb"
    assert not list(lab.path("launcher", "/root/runs/first").rglob("state.zip"))
    lab.exec("launcher", sys.executable, "-m", "tuner.export", "runs/first", "-o", "exports/first")
    assert "got 'frist'" in remote(lab, "fetch", "frist", code=2)


def test_a_copy_that_was_cut_off_is_never_used_and_goes_on_where_it_ended(lab: Lab, sample_store: Path) -> None:
    big = lab.path("launcher", "/root/big.lmdb")
    store = sample_store.read_bytes() + os.urandom(4_000_000)  # What LMDB's pages do not refer to does no harm.
    big.write_bytes(store)
    lab.exec(
        "launcher",
        *["tc", "qdisc", "add", "dev", "eth0", "root", "tbf", "rate", "4mbit", "burst", "16kb", "latency", "1s"],
    )
    files = lab.path("head", "/root/crystune-files")
    lab.exec("head", "rm", "-rf", "/root/crystune-files")
    words = ("cluster.yaml", "--space", "table5", "--store", "big.lmdb", "--name", "second", "--trials", "1")
    submit = lab.popen("launcher", *REMOTE, "submit", *words, "--max-epochs", "1", "--finalists", "0")
    deadline = time.monotonic() + 60
    while not [part for part in files.glob("*/big.lmdb.partial") if part.stat().st_size]:
        assert time.monotonic() < deadline
        assert submit.poll() is None
        time.sleep(0.1)
    lab.cut("launcher")
    said, _ = submit.communicate(timeout=60)
    lab.fix("launcher")
    assert submit.returncode == 2, said
    assert "the copy of big.lmdb was cut off" in said, said
    (part,) = files.glob("*/*")
    assert part.name == "big.lmdb.partial"
    assert 0 < part.stat().st_size < len(store)
    lab.exec("launcher", *["tc", "qdisc", "del", "dev", "eth0", "root"])
    lab.exec("launcher", *REMOTE, "submit", *words, "--max-epochs", "1", "--finalists", "0")
    (whole,) = files.glob("*/*")
    assert whole.name == "big.lmdb"
    assert whole.read_bytes() == store
    assert "second: done" in remote(lab, "watch", "second")


def test_a_driver_killed_for_good_leaves_no_wish_for_nodes_behind(lab: Lab) -> None:
    """Otherwise idle nodes would stay, and cost, until the next search."""
    wish = re.compile(r"\d+ from request_resources\(\)")
    status = (f"{BIN}/ray", "status")
    token = {"RAY_AUTH_MODE": "token"}
    remote(lab, "submit", "--space", "my space.toml", "--store", "my store.lmdb", "--name", "third", "--trials", "100")
    deadline = time.monotonic() + 60
    while not wish.search(lab.exec("head", *status, environment=token).stdout):
        assert time.monotonic() < deadline
        time.sleep(1)
    lab.exec("head", "pkill", "-9", "-f", "tuner[.](remote.supervisor|search) ")
    assert "third: not running" in remote(lab, "status", "third")
    assert "third: stopped" in remote(lab, "stop", "third")
    while wish.search(lab.exec("head", *status, environment=token).stdout):
        assert time.monotonic() < deadline + 30
        time.sleep(1)
