"""The hosts of provider local, asked by SSH, all at once."""

import json
import re
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tuner.cluster import probe
from tuner.preflight.clusterfile import ClusterFile
from tuner.preflight.finding import Finding, error, gigabytes, ok, warning

OLDEST_PYTHON = (3, 11)
SETUP_BYTES = 7e9  # torch with CUDA, its packages and pip's cache
ENOUGH_MEMORY = 4e9
MAX_CLOCK_OFFSET = 2.0  # s
_CONNECT_SECONDS = 5
_PROBE_SECONDS = 120  # the first `import torch` from a slow disk takes most of it
_NTP = "sudo timedatectl set-ntp true (or install chrony) on that host"


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What became of asking a host."""

    address: str
    is_head: bool
    problem: Finding | None = None
    """Why it could not be asked."""
    clock_offset: float = 0.0
    """Its clock minus ours, s."""
    clock_error: float = 0.0
    """Half of the shortest round trip, s."""
    facts: dict[str, Any] = field(default_factory=dict)
    """As `tuner.cluster.probe.facts`, and `reach`: address -> what `tuner.cluster.probe.reach` said."""

    @property
    def name(self) -> str:
        """Host name and address."""
        return f"{self.facts['hostname']} ({self.address})" if self.facts else self.address


def check_hosts(file: ClusterFile) -> list[Finding]:
    """All hosts; takes as long as the slowest, two minutes at most."""
    head = str(file.provider.get("external_head_ip") or file.provider.get("head_ip") or "")
    if not file.is_local or not head or not file.worker_addresses:
        return []
    addresses = [head, *dict.fromkeys(file.worker_addresses)]
    with ThreadPoolExecutor(max_workers=min(64, len(addresses))) as pool:
        answers = list(pool.map(lambda address: _ask(file, address, address == head), addresses))
    return judge(file, answers)


def judge(file: ClusterFile, answers: Sequence[Answer]) -> list[Finding]:
    """What follows from the answers of all hosts."""
    findings = [answer.problem for answer in answers if answer.problem]
    answered = [answer for answer in answers if answer.facts]
    for answer in answered:
        found = [*_clock(answer), *_software(file, answer), *_room(file, answer), *_network(file, answer)]
        findings += found
        if not any(finding.severity == "error" for finding in found):
            findings.append(ok(_summary(answer)))
    return findings + list(_gpus(file, answered)) + list(_differences(file, answered))


def _ask(file: ClusterFile, address: str, is_head: bool) -> Answer:
    def fails(what: str, fix: str) -> Answer:
        return Answer(address=address, is_head=is_head, problem=error(address, what, fix))

    if "ssh_proxy_command" not in file.auth:
        try:
            socket.create_connection((address, 22), timeout=_CONNECT_SECONDS).close()
        except OSError as problem:
            fix = "switch it on, check the address, and let port 22 through its firewall"
            return fails(f"must be reachable on port 22, but: {problem}", fix)
    offset, half = 0.0, float("inf")
    try:
        for _ in range(2):  # the first one may have to wait for a disk to wake up
            before = time.time()
            done = _ssh(file, address, "date +%s.%N", "", 6 * _CONNECT_SECONDS)
            after = time.time()
            if done.returncode:
                return fails(*_login_problem(file, address, done.stderr))
            if re.fullmatch(r"\d+\.\d+", there := done.stdout.strip()) and (after - before) / 2 < half:
                half = (after - before) / 2
                offset = float(there) - (before + after) / 2
        done = _ssh(file, address, _remote_python(file), _program(file, is_head), _PROBE_SECONDS)
    except subprocess.TimeoutExpired as problem:
        return fails(f"must answer, but was silent for {problem.timeout:.0f} s after the login", "look at its load")
    except OSError as problem:
        return fails(f"must be asked by ssh, but: {problem}", "install the SSH client here")
    if done.returncode == 97:
        return fails("must have Python 3.11 or newer, but has no python3", "sudo apt install python3 python3-venv")
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"hostname"')]
    if not lines:
        reason = (done.stderr.strip().splitlines() or ["no output"])[-1]
        return fails(f"must be able to run Python, but: {reason}", "try `python3 --version` there")
    known = half if half < float("inf") else 0.0
    return Answer(address=address, is_head=is_head, clock_offset=offset, clock_error=known, facts=json.loads(lines[-1]))


def _ssh(
    file: ClusterFile, address: str, command: str, text: str, timeout: float
) -> "subprocess.CompletedProcess[str]":
    """Log in as `ray up` will."""
    options = {
        "BatchMode": "yes",
        "ConnectTimeout": str(_CONNECT_SECONDS),
        "StrictHostKeyChecking": "no",
        "UserKnownHostsFile": "/dev/null",
        "LogLevel": "ERROR",
        "ServerAliveInterval": "5",
        "ServerAliveCountMax": "3",
    }
    key, proxy = file.auth.get("ssh_private_key"), file.auth.get("ssh_proxy_command")
    if proxy:
        options["ProxyCommand"] = str(proxy)
    line = ["ssh"]
    if key:
        line += ["-i", str(Path(str(key)).expanduser())]
        options["IdentitiesOnly"] = "yes"
    for name, value in options.items():
        line += ["-o", f"{name}={value}"]
    user = file.auth.get("ssh_user")
    line += [f"{user}@{address}" if user else address, command]
    return subprocess.run(line, input=text, capture_output=True, text=True, timeout=timeout, errors="replace")


def _login_problem(file: ClusterFile, address: str, stderr: str) -> tuple[str, str]:
    reason = (stderr.strip().splitlines() or ["no reason given"])[-1]
    user, key = file.auth.get("ssh_user", "USER"), file.auth.get("ssh_private_key")
    copy = f"ssh-copy-id {f'-i {key} ' if key else ''}{user}@{address}"
    fix = f"{copy}, then try: ssh {user}@{address} true; the key must have no passphrase"
    return f"must let {user} log in with the key, without a password, but: {reason}", fix


def _remote_python(file: ClusterFile) -> str:
    """The Python that the start commands use; before the first `ray up`, the one that setup will build upon."""
    environment = file.environment()
    first = f"P={environment}/bin/python; [ -x $P ] || " if environment else ""
    return f"{first}P=$(command -v python3) || exit 97; exec $P -"


def _program(file: ClusterFile, is_head: bool) -> str:
    folders = (file.environment() or "~", "/tmp")
    if is_head:  # the head logs in to the workers
        peers = [(address, 22) for address in file.worker_addresses]
    else:
        peers = [(str(file.provider.get("head_ip")), _head_port(file))]
    source = Path(probe.__file__).read_text(encoding="utf-8")
    return (
        f"{source}\nimport json\nanswer = facts({folders!r})\n"
        f"answer['reach'] = {{address: reach(address, port) for address, port in {peers!r}}}\n"
        "print('\\n' + json.dumps(answer))\n"
    )


def _head_port(file: ClusterFile) -> int:
    port = file.start_option("head", "--port") or ""
    return int(port) if port.isdigit() else 6379


def _clock(answer: Answer) -> Iterator[Finding]:
    offset = answer.clock_offset
    if abs(offset) - answer.clock_error > MAX_CLOCK_OFFSET:
        side = "ahead of" if offset > 0 else "behind"
        what = (
            f"must have the time of this machine to {MAX_CLOCK_OFFSET:.0f} s, but is {abs(offset):.1f} s {side} it: "
            "ages of files, locks and logs are compared across hosts, and object storage refuses wrong clocks"
        )
        yield error(answer.name, what, _NTP)


def _software(file: ClusterFile, answer: Answer) -> Iterator[Finding]:
    facts = answer.facts
    versions = facts["versions"]
    if tuple(int(part) for part in versions["python"].split(".")[:2]) < OLDEST_PYTHON:
        fix = "install a newer Python, and let the setup commands make the virtual environment with it"
        yield error(answer.name, f"must have Python 3.11 or newer, but has {versions['python']}", fix)
    absent = [name for name in ("ray", "crystune") if versions[name] == probe.ABSENT]
    if absent and not _installs(file):
        fix = "install it there, or let setup_commands do so (cluster.yaml shows how)"
        yield error(answer.name, f"must have {' and '.join(absent)} in {facts['executable']}", fix)
    head = str(file.provider.get("head_ip"))
    for other in facts["raylets"]:
        if other.rpartition(":")[0] == head:
            fix = "nothing, if you want to update this cluster; `ray up` restarts it, which ends what runs"
            yield warning(answer.name, "runs Ray for this cluster already", fix)
        else:
            fix = "ray stop, on that host, unless somebody uses it"
            yield error(answer.name, f"must be free, but runs Ray for the head at {other}", fix)


def _room(file: ClusterFile, answer: Answer) -> Iterator[Finding]:
    facts, role = answer.facts, "head" if answer.is_head else "worker"
    environment = file.environment() or "~"
    free, temporary = (facts["free_disk"][folder] for folder in (environment, "/tmp"))
    needed = SETUP_BYTES if facts["versions"]["torch"] == probe.ABSENT and _installs(file) else 1e9
    if free is not None and free < needed:
        what = f"must have {gigabytes(needed)} free at {environment}, but has {gigabytes(free)}"
        yield error(answer.name, what, "make room, or name another folder in the commands")
    if temporary is not None and temporary < 1e9:
        what = f"must have {gigabytes(1e9)} free at /tmp for Ray, but has {gigabytes(temporary)}"
        yield error(answer.name, what, "make room")
    memory, shared = facts["memory"], facts["shared_memory"]
    if memory is not None and memory < ENOUGH_MEMORY:
        what = f"has {gigabytes(memory)} of memory; a trial needs about 0.5 GB, Ray 1 GB"
        yield warning(answer.name, what, "run few trials there")
    wanted = file.start_option(role, "--object-store-memory")
    store = float(wanted) if wanted and wanted.isdigit() else 0.3 * (memory or 0)
    if shared is not None and shared < store:
        what = f"/dev/shm has {gigabytes(shared)}, less than Ray's object store of {gigabytes(store)}, which gets slow"
        fix = f"--object-store-memory={int(0.9 * shared)} in the start command, or enlarge /dev/shm"
        yield warning(answer.name, what, fix)


def _network(file: ClusterFile, answer: Answer) -> Iterator[Finding]:
    for address, state in answer.facts["reach"].items():
        port = 22 if answer.is_head else _head_port(file)
        if state not in ("open", "closed"):
            what = f"must reach {address} on port {port}, but: {state}"
            fix = "let the hosts reach each other on all ports (their firewalls, the switch's rules)"
            yield error(answer.name, what, fix)
        elif state == "closed" and answer.is_head:
            fix = "the head logs in to the workers: let its SSH through"
            yield error(answer.name, f"must reach {address} on port {port}, but it is closed", fix)


def _gpus(file: ClusterFile, answered: Sequence[Answer]) -> Iterator[Finding]:
    workers = [answer for answer in answered if not answer.is_head]
    option = file.start_option("worker", "--num-gpus")
    told = int(option) if option and option.isdigit() else None
    if workers and not any(worker.facts["gpus"] for worker in workers):
        problems = ", ".join(sorted({str(worker.facts["gpu_problem"]) for worker in workers}))
        extra = f", though --num-gpus={told} says so" if told else ""
        yield warning("", f"no worker has a GPU{extra} ({problems})", "fine if you train on CPUs")
        return
    for worker in workers:
        names = worker.facts["gpus"]
        if not names:
            fix = "install NVIDIA's driver (sudo ubuntu-drivers install; reboot) until nvidia-smi lists the GPU there"
            what = f"must have a working GPU driver, as other workers have, but: {worker.facts['gpu_problem']}"
            yield error(worker.name, what, fix)
            continue
        if told is not None and len(names) < told:
            fix = "leave --num-gpus out, so that Ray counts for itself"
            yield error(worker.name, f"must have the {told} GPUs of --num-gpus, but has {len(names)}", fix)
        elif told is not None and len(names) > told:
            yield warning(worker.name, f"has {len(names)} GPUs, but --num-gpus={told}", "leave --num-gpus out")
        seen = worker.facts["torch_gpus"]
        if seen is not None and seen < len(names):
            build = worker.facts["versions"]["torch"]
            fix = "install torch for CUDA (its version must not end in +cpu), or a newer driver"
            yield error(worker.name, f"torch {build} must see the {len(names)} GPUs, but sees {seen}", fix)


def _differences(file: ClusterFile, answered: Sequence[Answer]) -> Iterator[Finding]:
    """Ray demands equal versions of Python, to the last number, and of itself."""
    for name in ("python", *probe.DISTRIBUTIONS):
        groups: dict[str, list[str]] = {}
        for answer in answered:
            version = answer.facts["versions"][name].partition("+")[0]
            if version != probe.ABSENT or name == "python":
                groups.setdefault(version, []).append(answer.name)
        if len(groups) < 2:
            continue
        came = "; ".join(f"{version} on {', '.join(hosts)}" for version, hosts in groups.items())
        if name != "python" and _installs(file):
            yield warning("", f"{name} differs: {came}", "the setup commands must make it equal; look again afterwards")
        else:
            fix = "install the same everywhere; uv or conda give every host the same Python to the last number"
            yield error("", f"{name} must be the same on all hosts, but is {came}", fix)


def _installs(file: ClusterFile) -> bool:
    return any(re.search(r"\b(pip|uv)\b.* install\b", command) for _, command in file.commands("setup_commands"))


def _summary(answer: Answer) -> str:
    facts, found = answer.facts, []
    found.append(f"Python {facts['versions']['python']}")
    if facts["gpus"]:
        found.append(f"{len(facts['gpus'])} GPU ({facts['gpus'][0]})")
    if facts["memory"]:
        found.append(f"{gigabytes(facts['memory'])} of memory")
    disk = min((size for size in facts["free_disk"].values() if size is not None), default=None)
    if disk is not None:
        found.append(f"{gigabytes(disk)} of disk free")
    found.append(f"clock {answer.clock_offset:+.2f} s (±{answer.clock_error:.2f})")
    return f"{answer.name}: {', '.join(found)}"
