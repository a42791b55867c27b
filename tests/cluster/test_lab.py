"""The lab itself: separate hosts, power, cables, disks, and nothing left behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.lab import KEY, ROOT, Lab

pytestmark = pytest.mark.lab

SSH = ("ssh", "-i", KEY, "-o", "StrictHostKeyChecking=no", "-o", "LogLevel=ERROR", "-o", "ConnectTimeout=1")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab(tmp_path_factory.mktemp("lab")) as lab:
        yield lab


def test_hosts_reach_each_other_by_name_and_run_the_code_under_test(lab: Lab) -> None:
    program = "import socket, tuner; print(socket.gethostname(), tuner.__file__)"
    output = lab.exec("launcher", *SSH, "gpu2", f"{sys.executable} -c '{program}'").stdout
    assert output.split() == ["gpu2", str(ROOT / "tuner" / "__init__.py")]


def test_a_host_has_its_own_home_and_tmp_shares_one_folder_and_can_write_nothing_else(lab: Lab) -> None:
    lab.exec("head", "bash", "-c", "echo 1 > ~/mine; echo 1 > /tmp/mine; echo 1 > /mnt/shared/ours")
    seen = lab.exec("gpu1", "bash", "-c", f"ls ~/mine /tmp/mine /mnt/shared/ours; touch {ROOT}/x /usr/x", check=False)
    assert seen.returncode
    assert seen.stdout.count("No such file") == 2
    assert seen.stdout.count("Read-only file system") == 2
    assert "\n/mnt/shared/ours\n" in f"\n{seen.stdout}"


def test_power_off_ends_every_process_and_keeps_the_disk(lab: Lab) -> None:
    lab.exec("gpu1", "bash", "-c", "echo kept > ~/file")
    sleeper = lab.popen("gpu1", "sleep", "600")
    lab.power_off("gpu1")
    assert sleeper.wait(10) != 0
    assert sleeper.stdout is not None
    sleeper.stdout.close()
    assert not lab.is_on("gpu1")
    assert lab.processes("gpu1") == {}
    assert lab.exec("launcher", *SSH, "gpu1", "true", check=False).returncode == 255
    lab.power_on("gpu1")
    assert lab.exec("launcher", *SSH, "gpu1", "cat file").stdout == "kept\n"


def test_a_cut_cable_loses_packets_and_leaves_processes_running(lab: Lab) -> None:
    sleeper = lab.popen("gpu1", "sleep", "600")
    lab.cut("gpu1")
    assert lab.exec("launcher", *SSH, "gpu1", "true", check=False).returncode == 255
    assert any("sleep 600" in command for command in lab.processes("gpu1").values())
    lab.fix("gpu1")
    lab.exec("launcher", *SSH, "gpu1", "true")
    sleeper.kill()
    sleeper.communicate()
    deadline = time.monotonic() + 10
    while any("sleep 600" in command for command in lab.processes("gpu1").values()):
        assert time.monotonic() < deadline, "killing what popen returned kills the command"


def test_disks_can_be_full_and_away(lab: Lab) -> None:
    lab.mount_small_disk("head", "/root/results", 1)
    write = ("bash", "-c", "cd /root/results && head -c 100000 /dev/zero > file && ls && rm file")
    assert lab.exec("head", *write).stdout == "file\n"
    lab.exec("head", "touch", "/root/results/kept")
    lab.fill("head", "/root/results")
    assert "No space left" in lab.exec("head", *write, check=False).stdout
    lab.clear("head", "/root/results")
    lab.hide("head", "/root/results")
    assert "Read-only" in lab.exec("head", *write, check=False).stdout
    assert list(lab.path("head", "/root/results").iterdir()) == []
    lab.show("head", "/root/results")
    assert lab.exec("head", *write).stdout == "file\nkept\n"


def test_hosts_can_be_added_at_any_address_and_trust_further_keys(lab: Lab) -> None:
    lab.exec("launcher", "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "/root/more")
    lab.trust(lab.path("launcher", "/root/more.pub").read_text())
    lab.add("i1", "172.31.5.6", prefix=16)
    login = [*SSH]
    login[2] = "/root/more"
    assert lab.exec("launcher", *login, "172.31.5.6", "hostname").stdout == "i1\n"
    assert lab.exec("launcher", *login, "i1", "hostname").stdout == "i1\n"


def test_two_labs_do_not_see_each_other_and_a_stale_one_can_be_taken_down(lab: Lab, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.cluster.lab", "--folder", str(tmp_path)]
    subprocess.run([*command, "up"], check=True, cwd=ROOT)
    other = Lab.load(tmp_path)
    try:
        other.exec("head", "touch", "/mnt/shared/other", "/root/other")
        assert not lab.path("head", "/mnt/shared/other").exists()
        assert not lab.path("head", "/root/other").exists()
        assert len(other.processes("head")) < 5
        assert subprocess.run([*command, "up"], cwd=ROOT, capture_output=True, check=False).returncode == 2
    finally:
        subprocess.run([*command, "down"], check=True, cwd=ROOT)
    assert not any(other.is_on(name) for name in ("launcher", "head", "gpu1", "gpu2"))
    assert lab.is_on("head")


def test_hosts_die_with_a_killed_owner(tmp_path: Path) -> None:
    program = f"from pathlib import Path; from tests.cluster.lab import Lab; Lab(Path({str(tmp_path)!r})).up(); input()"
    owner = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdin=subprocess.PIPE)
    deadline = time.monotonic() + 30
    while not (tmp_path / "lab.json").exists():
        assert time.monotonic() < deadline
        assert owner.poll() is None
        time.sleep(0.05)
    time.sleep(0.05)
    lab = Lab.load(tmp_path)
    assert lab.is_on("gpu2")
    os.kill(owner.pid, signal.SIGKILL)
    owner.communicate()
    while lab.is_on("gpu2"):
        assert time.monotonic() < deadline, "the hosts outlive their owner"
        time.sleep(0.05)
    lab.down()
