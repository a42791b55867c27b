"""The lab with a Ray cluster on it, brought up by `ray up` with the project's own cluster.local.yaml."""

import json
import sys
import time
from collections.abc import Sequence

from tests.cluster.lab import KEY, ROOT, Lab

RAY = f"{sys.prefix}/bin/ray"
TOKEN = {"RAY_AUTH_MODE": "token"}
"""What everything that talks to the cluster needs."""
_SMALL = "--object-store-memory=200000000"
_NODES = """
import json, ray
ray.init(address="auto", log_to_driver=False, logging_level="CRITICAL")
print("NODES", json.dumps([(n["NodeManagerHostname"], n["NodeID"], n["Resources"]) for n in ray.nodes() if n["Alive"]]))
"""


def workers_of(lab: Lab) -> list[str]:
    """Names of the hosts that train."""
    return [name for name in lab.addresses if name not in ("launcher", "head")]


def lab_form(text: str, workers: Sequence[str]) -> str:
    """cluster.local.yaml for the lab, given addresses of workers. What differs from the file as it ships, nothing else:

    addresses, user and key; the hosts see this machine's virtual environment, so nothing is installed; a head that only
    schedules, workers with one CPU and one pretended GPU each, and little memory for Ray's objects.
    """
    changes = {
        "192.0.2.10 ": "10.77.0.2 ",
        "[192.0.2.11, 192.0.2.12]": f"[{', '.join(workers)}]",
        "ssh_user: CHANGE": "ssh_user: root",
        "~/.ssh/id_ed25519": KEY,
        "    ~/crystune/dist: dist\n": "",
        "$HOME/crystune/venv": sys.prefix,
        "ray start --head ": f"ray start --head --num-cpus=0 --num-gpus=0 {_SMALL} ",
        "ray start --address": f"ray start --num-cpus=1 --num-gpus=1 {_SMALL} --address",
    }
    installs = ("/bin/pip ", "# Your own changes")
    text = "".join(line for line in text.splitlines(keepends=True) if not any(mark in line for mark in installs))
    for old, new in changes.items():
        assert old in text, f"cluster.local.yaml has changed: {old!r} is not in it"
        text = text.replace(old, new)
    return text


def ray_up(lab: Lab, *, awaited: Sequence[str] | None = None) -> float:
    """`ray up` from the launcher, until head and workers (None: all that have power) are there; seconds it took."""
    began = time.monotonic()
    launcher = lab.path("launcher", "/root")
    addresses = [lab.addresses[name] for name in workers_of(lab)]
    text = (ROOT / "cluster.local.yaml").read_text(encoding="utf-8")
    (launcher / "cluster.yaml").write_text(lab_form(text, addresses))
    if not (launcher / ".ray" / "auth_token").exists():
        lab.exec("launcher", "bash", "-c", f"umask 077; {RAY} get-auth-token --generate")
    lab.exec("launcher", RAY, "up", "-y", "cluster.yaml", "--no-config-cache")
    wait_for_workers(lab, [name for name in workers_of(lab) if lab.is_on(name)] if awaited is None else awaited)
    return time.monotonic() - began


def ray_down(lab: Lab, *, patience: float = 60.0) -> float:
    """`ray down`, until nothing of Ray is left on the head, and nothing on the workers that could do any work; seconds.

    What monitors a worker's raylet lives on for a minute, since it wants to tell the head; see `wait_for_silence`.
    """
    began = time.monotonic()
    lab.exec("launcher", RAY, "down", "-y", "cluster.yaml")
    while left := [p for p in ray_processes(lab) if p.startswith("head: ") or not p.endswith("Agent")]:
        assert time.monotonic() - began < patience, f"`ray down` leaves processes: {left}"
        time.sleep(0.2)
    return time.monotonic() - began


def wait_for_silence(lab: Lab, *, patience: float = 120.0) -> float:
    """Until nothing of Ray is left anywhere; seconds."""
    began = time.monotonic()
    while left := ray_processes(lab):
        assert time.monotonic() - began < patience, f"processes stay: {left}"
        time.sleep(0.5)
    return time.monotonic() - began


def nodes(lab: Lab) -> dict[str, dict[str, float]]:
    """Resources of the nodes that are alive, by host name: Ray on the head says so, and their raylet does run."""
    done = lab.exec("head", sys.executable, "-c", _NODES, environment=TOKEN, check=False, timeout=60)
    lines = [line for line in done.stdout.splitlines() if line.startswith("NODES ")]
    return {
        name: resources
        for name, node_id, resources in (json.loads(lines[0][6:]) if lines else [])
        if any(f"--node_id={node_id} " in command for command in lab.processes(name).values())
    }


def wait_for_workers(lab: Lab, names: Sequence[str], *, patience: float = 90.0) -> None:
    """Until Ray knows these workers."""
    deadline = time.monotonic() + patience
    while set(names) - set(found := nodes(lab)):
        assert time.monotonic() < deadline, f"workers {names} must join, but Ray knows {sorted(found)} only"
        time.sleep(0.5)


def ray_processes(lab: Lab) -> list[str]:
    """Command lines of what belongs to Ray, on all hosts that have power."""
    marks = ("raylet", "gcs_server", "ray::", "ray/autoscaler", "ray/_private", "ray/dashboard")
    return [
        f"{name}: {command[:120]}"
        for name in lab.addresses
        if lab.is_on(name)
        for command in lab.processes(name).values()
        if any(mark in command for mark in marks)
    ]


def raylet(lab: Lab, name: str) -> int:
    """Process id, on this machine, of a host's raylet."""
    found = [pid for pid, command in lab.processes(name).items() if "/raylet/raylet " in command]
    assert len(found) == 1, lab.processes(name)
    return found[0]
