"""The hosts of provider local, asked by SSH, all at once."""

import json
import re
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tuner.cluster import machine_facts
from tuner.cluster.cluster_file import ClusterFile
from tuner.cluster.machine import Machine
from tuner.cluster.ssh import Login
from tuner.preflight.finding import Finding, error
from tuner.preflight.judge_machines import judge_hosts

_CONNECT_SECONDS = 5
_LOGIN_SECONDS = 30
_PROBE_SECONDS = 120  # the first `import torch` from a slow disk takes most of it
_NO_PYTHON = 97


class _Unfit(Exception):
    """What keeps a host from being asked: what must hold, and the fix."""


def check_hosts(file: ClusterFile) -> list[Finding]:
    """All hosts; takes as long as the slowest, two minutes at most."""
    head = str(file.provider.get("external_head_ip") or file.provider.get("head_ip") or "")
    if not head or not file.worker_addresses:
        return []
    addresses = [head, *dict.fromkeys(file.worker_addresses)]
    with ThreadPoolExecutor(max_workers=min(64, len(addresses))) as pool:
        answers = list(pool.map(lambda address: _ask(file, address, is_head=address == head), addresses))
    refused = [answer for answer in answers if isinstance(answer, Finding)]
    return refused + judge_hosts(file, [answer for answer in answers if isinstance(answer, Machine)])


def _ask(file: ClusterFile, address: str, *, is_head: bool) -> Machine | Finding:
    login = file.login(address, remember_host=False)
    try:
        if login.proxy_command is None:
            _knock(address)
        offset, inaccuracy = _clock(login, file)
        done = _run(login, _python(file), _program(file, is_head=is_head), _PROBE_SECONDS)
        if done.returncode == _NO_PYTHON:
            raise _Unfit("must have Python 3.11 or newer, but has no python3", "sudo apt install python3 python3-venv")
        lines = [line for line in done.stdout.splitlines() if line.startswith('{"hostname"')]
        if not lines:
            raise _Unfit(
                f"must be able to run Python, but: {_reason(done, 'no output')}", "try `python3 --version` there"
            )
    except _Unfit as problem:
        return error(address, *problem.args)
    except subprocess.TimeoutExpired as problem:
        what = f"must answer, but was silent for {problem.timeout:.0f} s after the login"
        return error(address, what, "look at its load")
    except OSError as problem:
        return error(address, f"must be asked by ssh, but: {problem}", "install the SSH client here")
    facts = json.loads(lines[-1])
    return Machine(address=address, head=is_head, facts=facts, clock_offset=offset, clock_error=inaccuracy)


def _knock(address: str) -> None:
    try:
        socket.create_connection((address, 22), timeout=_CONNECT_SECONDS).close()
    except OSError as problem:
        fix = "switch it on, check the address, and let port 22 through its firewall"
        raise _Unfit(f"must be reachable on port 22, but: {problem}", fix) from problem


def _clock(login: Login, file: ClusterFile) -> tuple[float, float]:
    """Its clock minus ours, and half of the shortest round trip, in s."""
    measured = [(float("inf"), 0.0)]
    for _ in range(2):  # the first one may have to wait for a disk to wake up
        before = time.time()
        done = _run(login, "date +%s.%N", "", _LOGIN_SECONDS)
        after = time.time()
        if done.returncode:
            user, key = login.user or "USER", file.auth.get("ssh_private_key")
            copy = f"ssh-copy-id {f'-i {key} ' if key else ''}{user}@{login.address}"
            fix = f"{copy}, then try: ssh {user}@{login.address} true; the key must have no passphrase"
            reason = _reason(done, "no reason given")
            raise _Unfit(f"must let {user} log in with the key, without a password, but: {reason}", fix)
        if re.fullmatch(r"\d+\.\d+", there := done.stdout.strip()):
            measured.append(((after - before) / 2, float(there) - (before + after) / 2))
    half, offset = min(measured)
    return offset, half if half < float("inf") else 0.0


def _run(login: Login, command: str, text: str, timeout: float) -> "subprocess.CompletedProcess[str]":
    line = [*login.ssh, login.name, command]
    return subprocess.run(line, input=text, capture_output=True, text=True, timeout=timeout, errors="replace")


def _reason(done: "subprocess.CompletedProcess[str]", otherwise: str) -> str:
    return (done.stderr.strip().splitlines() or [otherwise])[-1]


def _python(file: ClusterFile) -> str:
    """The Python that the start commands use; before the first `ray up`, the one that setup will build upon."""
    environment = file.environment()
    first = f"P={environment}/bin/python; [ -x $P ] || " if environment else ""
    return f"{first}P=$(command -v python3) || exit {_NO_PYTHON}; exec $P -"


def _program(file: ClusterFile, *, is_head: bool) -> str:
    """The probe, as text, with whom the host must reach: the head logs in to the workers, these connect to its Ray."""
    to_head = [(str(file.provider.get("head_ip")), file.head_port)]
    peers = [(address, 22) for address in file.worker_addresses] if is_head else to_head
    return (
        f"{Path(machine_facts.__file__).read_text(encoding='utf-8')}\nimport json\n"
        f"answer = facts({(file.environment() or '~', '/tmp')!r})\n"
        f"answer['reach'] = {{address: reach(address, port) for address, port in {peers!r}}}\n"
        "print('\\n' + json.dumps(answer))\n"
    )
