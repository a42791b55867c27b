"""What the tests of remote share: a cluster file, a head, and what stands in for ssh and the search."""

import json
import time
from pathlib import Path
from typing import Any

from tuner.remote.job import Job

LOCAL: dict[str, Any] = {
    "cluster_name": "mine",
    "provider": {"type": "local", "head_ip": "10.0.0.2", "worker_ips": ["10.0.0.3"]},
    "auth": {"ssh_user": "me", "ssh_private_key": "~/.ssh/my key"},
    "head_start_ray_commands": ["/opt/venv/bin/ray stop", "RAY_AUTH_MODE=token /opt/venv/bin/ray start --head --x=1"],
}


def cluster_file(folder: Path, **changes: Any) -> str:
    path = folder / "my cluster.yaml"
    path.write_text(json.dumps({**LOCAL, **changes}))
    return str(path)


DRIVER = """
import json, os, signal, sys, time
from pathlib import Path
from tuner.run.jsonlines import write_json

home = Path(os.environ["HOME"])
with open(home / "calls", "a") as calls:
    calls.write(json.dumps(sys.argv[1:]) + "\\n")
number = len((home / "calls").read_text().splitlines())
print("call", number, flush=True)
run = home / "crystune-runs" / "first"
run.mkdir(parents=True, exist_ok=True)
what = os.environ["DRIVER"].split(",")[number - 1]
if what != "refuse":
    write_json(run / "run.json", {"status": "searching"})
if what == "wait":
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        sys.exit(130)
if what == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
sys.exit({"refuse": 2, "crash": 1}.get(what, 0))
"""


def request(*, resume: bool = False, **flags: str | None) -> dict[str, Any]:
    return {
        "cluster": "my cluster.yaml",
        "name": "first",
        "flags": {f"--{name.replace('_', '-')}": value for name, value in flags.items()},
        "resume": resume,
        "space": None,
    }


def calls(head: Path) -> list[list[str]]:
    return [json.loads(line) for line in (head / "calls").read_text().splitlines()]


def wait_for_the_end() -> str:
    deadline = time.monotonic() + 30
    while Job("first").is_running():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return Job("first").state()
