"""Hosts are asked through a stub of ssh; tests/cluster/test_preflight.py asks real ones."""

import sys
from pathlib import Path

import pytest

from tests.tuner.preflight.stand_ins import texts
from tuner.cluster import machine_facts
from tuner.cluster.cluster_file import ClusterFile
from tuner.preflight.ask_hosts import check_hosts


@pytest.mark.needs("bash")
def test_hosts_are_asked_with_the_ssh_of_the_path(
    own_hosts: ClusterFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
    own_hosts.auth["ssh_proxy_command"] = "through somewhere"  # hence no look at port 22 of addresses that do not exist
    own_hosts.provider["worker_ips"] = ["10.0.0.2", "10.0.0.3"]
    monkeypatch.setattr(machine_facts, "__file__", _without_network(tmp_path))
    errors = texts(check_hosts(own_hosts), "error")
    assert any("(10.0.0.2): must have the time of this machine" in e and "ahead" in e for e in errors), errors
    assert any(e.startswith("10.0.0.3: must let me log in") and "Permission denied" in e for e in errors)
    assert not any("(127.0.0.1)" in e and "time" in e for e in errors)


def _without_network(folder: Path) -> str:
    path = folder / "machine_facts.py"
    path.write_text(Path(machine_facts.__file__).read_text() + "\ndef reach(address, port): return 'open'\n")
    return str(path)
