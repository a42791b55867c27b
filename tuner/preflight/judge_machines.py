"""What follows from the answers of machines: of hosts before Ray is up, and of the nodes of a Ray that is."""

import re
from collections.abc import Iterator, Mapping, Sequence

from tuner.cluster import machine_facts
from tuner.cluster.cluster_file import ClusterFile
from tuner.cluster.machine import Machine, NodeFacts, version_differences
from tuner.preflight.finding import Finding, Severity, error, gigabytes, ok, otherwise, warning

CACHE = "~/.cache/crystune"
TEMPORARY = "/tmp"
ANSWER_SECONDS = 150.0  # torch may take two minutes to start from a slow disk
_OLDEST_PYTHON = (3, 11)
_SETUP_BYTES = 7e9  # torch with CUDA, its packages and pip's cache
_ENOUGH_MEMORY = 4e9
_MAX_CLOCK_OFFSET = 2.0  # s


def judge_hosts(file: ClusterFile, hosts: Sequence[Machine]) -> list[Finding]:
    """What keeps hosts that answered from becoming the cluster of this file."""
    findings = []
    for host in hosts:
        found = [*_clocks([host]), *_software(file, host), *_space(file, host), *_network(file, host)]
        findings += found
        if not any(finding.severity is Severity.ERROR for finding in found):
            findings.append(ok(_summary(host)))
    workers = [host for host in hosts if not host.head]
    return [*findings, *_host_gpus(file, workers), *_version_groups(file, hosts)]


def judge_nodes(
    nodes: Sequence[NodeFacts], *, min_workers: int | None, store_bytes: int | None, mine: Mapping[str, str]
) -> list[Finding]:
    """Whether all of a cluster is there and can train together, and hold a store of that size.

    Args:
        nodes: all that Ray knows of.
        min_workers: how many workers there should be.
        store_bytes: size of the store that will be searched over.
        mine: versions of this process, which all must have.
    """
    workers = sum(not node.head for node in nodes)
    gpus = sum(node.gpus for node in nodes)
    return [
        *otherwise(f"{workers} workers are there")(_missing)(nodes, workers, min_workers),
        *otherwise(f"the same Python {mine['python']}, Ray {mine['ray']} on all nodes")(_versions)(nodes, mine),
        *otherwise(f"{gpus:g} GPUs, all seen by torch")(_node_gpus)(nodes),
        *otherwise("the clocks agree")(_clocks)(nodes),
        *(otherwise("room for the store")(_room)(nodes, store_bytes) if store_bytes is not None else ()),
    ]


def _clocks(machines: Sequence[Machine]) -> Iterator[Finding]:
    for machine in machines:
        offset = machine.clock_offset
        if abs(offset) - machine.clock_error > _MAX_CLOCK_OFFSET:
            what = (
                f"must have the time of this machine to {_MAX_CLOCK_OFFSET:.0f} s, but is {abs(offset):.1f} s "
                f"{'ahead of' if offset > 0 else 'behind'} it: ages of files, locks and logs are compared across "
                "hosts, and object storage refuses wrong clocks"
            )
            yield error(machine.name, what, "sudo timedatectl set-ntp true (or install chrony) on that host")


def _software(file: ClusterFile, host: Machine) -> Iterator[Finding]:
    facts, versions = host.facts, host.versions
    if tuple(int(part) for part in versions["python"].split(".")[:2]) < _OLDEST_PYTHON:
        fix = "install a newer Python, and let the setup commands make the virtual environment with it"
        yield error(host.name, f"must have Python 3.11 or newer, but has {versions['python']}", fix)
    absent = [name for name in ("ray", "crystune") if versions[name] == machine_facts.ABSENT]
    if absent and not _installs(file):
        fix = "install it there, or let setup_commands do so (cluster.yaml shows how)"
        yield error(host.name, f"must have {' and '.join(absent)} in {facts['executable']}", fix)
    for other in facts["raylets"]:
        if other.rpartition(":")[0] == str(file.provider.get("head_ip")):
            fix = "nothing, if you want to update this cluster; `ray up` restarts it, which ends what runs"
            yield warning(host.name, "runs Ray for this cluster already", fix)
        else:
            fix = "ray stop, on that host, unless somebody uses it"
            yield error(host.name, f"must be free, but runs Ray for the head at {other}", fix)


def _space(file: ClusterFile, host: Machine) -> Iterator[Finding]:
    """On disks and in memory."""
    facts, environment = host.facts, file.environment() or "~"
    setup = _SETUP_BYTES if host.versions["torch"] == machine_facts.ABSENT and _installs(file) else 1e9
    for folder, needed, use, fix in (
        (environment, setup, "", "make room, or name another folder in the commands"),
        (TEMPORARY, 1e9, " for Ray", "make room"),
    ):
        free = facts["free_disk"][folder]
        if free is not None and free < needed:
            what = f"must have {gigabytes(needed)} free at {folder}{use}, but has {gigabytes(free)}"
            yield error(host.name, what, fix)
    memory, shared = facts["memory"], facts["shared_memory"]
    if memory is not None and memory < _ENOUGH_MEMORY:
        what = f"has {gigabytes(memory)} of memory; a trial needs about 0.5 GB, Ray 1 GB"
        yield warning(host.name, what, "run few trials there")
    wanted = file.start_option("head" if host.head else "worker", "--object-store-memory") or ""
    store = float(wanted) if wanted.isdigit() else 0.3 * (memory or 0)
    if shared is not None and shared < store:
        what = f"/dev/shm has {gigabytes(shared)}, less than Ray's object store of {gigabytes(store)}, which gets slow"
        fix = f"--object-store-memory={int(0.9 * shared)} in the start command, or enlarge /dev/shm"
        yield warning(host.name, what, fix)


def _network(file: ClusterFile, host: Machine) -> Iterator[Finding]:
    for address, state in host.facts["reach"].items():
        must = f"must reach {address} on port {22 if host.head else file.head_port}, but"
        if state not in ("open", "closed"):
            fix = "let the hosts reach each other on all ports (their firewalls, the switch's rules)"
            yield error(host.name, f"{must}: {state}", fix)
        elif state == "closed" and host.head:
            yield error(host.name, f"{must} it is closed", "the head logs in to the workers: let its SSH through")


def _host_gpus(file: ClusterFile, workers: Sequence[Machine]) -> Iterator[Finding]:
    """What the drivers find, against what the start command will tell Ray and what torch sees."""
    option = file.start_option("worker", "--num-gpus") or ""
    told = int(option) if option.isdigit() else None
    if workers and not any(worker.facts["gpus"] for worker in workers):
        problems = ", ".join(sorted({str(worker.facts["gpu_problem"]) for worker in workers}))
        extra = f", though --num-gpus={told} says so" if told else ""
        yield warning("", f"no worker has a GPU{extra} ({problems})", "fine if you train on CPUs")
        return
    for worker in workers:
        num_gpus, seen = len(worker.facts["gpus"]), worker.facts["torch_gpus"]
        if not num_gpus:
            what = f"must have a working GPU driver, as other workers have, but: {worker.facts['gpu_problem']}"
            fix = "install NVIDIA's driver (sudo ubuntu-drivers install; reboot) until nvidia-smi lists the GPU there"
            yield error(worker.name, what, fix)
            continue
        if told is not None and num_gpus < told:
            fix = "leave --num-gpus out, so that Ray counts for itself"
            yield error(worker.name, f"must have the {told} GPUs of --num-gpus, but has {num_gpus}", fix)
        elif told is not None and num_gpus > told:
            yield warning(worker.name, f"has {num_gpus} GPUs, but --num-gpus={told}", "leave --num-gpus out")
        if seen is not None and seen < num_gpus:
            what = f"torch {worker.versions['torch']} must see the {num_gpus} GPUs, but sees {seen}"
            fix = "install torch for CUDA (its version must not end in +cpu), or a newer driver"
            yield error(worker.name, what, fix)


def _version_groups(file: ClusterFile, hosts: Sequence[Machine]) -> Iterator[Finding]:
    """Ray demands equal versions of Python, to the last number, and of itself."""
    for name in ("python", *machine_facts.DISTRIBUTIONS):
        groups: dict[str, list[str]] = {}
        for host in hosts:
            version = host.versions[name].partition("+")[0]
            if version != machine_facts.ABSENT:
                groups.setdefault(version, []).append(host.name)
        if len(groups) < 2:
            continue
        came = "; ".join(f"{version} on {', '.join(names)}" for version, names in groups.items())
        if name != "python" and _installs(file):
            yield warning("", f"{name} differs: {came}", "the setup commands must make it equal; look again afterwards")
        else:
            fix = "install the same everywhere; uv or conda give every host the same Python to the last number"
            yield error("", f"{name} must be the same on all hosts, but is {came}", fix)


def _installs(file: ClusterFile) -> bool:
    return any(re.search(r"\b(pip|uv)\b.* install\b", command) for _, command in file.commands("setup_commands"))


def _summary(host: Machine) -> str:
    gpus, memory = host.facts["gpus"], host.facts["memory"]
    free = [size for size in host.facts["free_disk"].values() if size is not None]
    found = [
        f"Python {host.versions['python']}",
        f"{len(gpus)} GPU ({gpus[0]})" if gpus else "",
        f"{gigabytes(memory)} of memory" if memory else "",
        f"{gigabytes(min(free))} of disk free" if free else "",
        f"clock {host.clock_offset:+.2f} s (±{host.clock_error:.2f})",
    ]
    return f"{host.name}: {', '.join(filter(None, found))}"


def _missing(nodes: Sequence[NodeFacts], workers: int, min_workers: int | None) -> Iterator[Finding]:
    if min_workers is not None and workers < min_workers:
        what = f"must have {min_workers} workers, has {workers}; `ray up` reports success all the same"
        fix = (
            "look for the reason: ray monitor CLUSTER_FILE; a worker whose setup failed is not tried again before the "
            "next `ray up` (own machines: RAY_UP_enable_autoscaler_v2=0 ray up, or one is missing always)"
        )
        yield error("", what, fix)
    elif not any(node.cpus for node in nodes):
        fix = "nothing, if workers start on demand: the search asks for them"
        yield warning("", "nobody is there to train yet", fix)
    for node in nodes:
        if not node.answered:
            fix = f"ssh {node.address}; look into /tmp/ray/session_latest/logs"
            yield error(node.name, f"must answer within {ANSWER_SECONDS:.0f} s, but is silent", fix)


def _versions(nodes: Sequence[NodeFacts], mine: Mapping[str, str]) -> Iterator[Finding]:
    for what, them in version_differences(nodes, mine).items():
        fix = "make wheel, then `ray up` on the cluster file: it runs the setup commands again"
        yield error(", ".join(node.name for node in them), f"must have the versions of this driver, has {what}", fix)


def _node_gpus(nodes: Sequence[NodeFacts]) -> Iterator[Finding]:
    """What Ray was told, against what torch sees."""
    told = [node for node in nodes if node.answered and node.gpus]
    blind = [node for node in told if (node.facts.get("torch_gpus") or 0) < node.gpus]
    if not any(node.gpus for node in nodes):
        yield warning("", "no node has a GPU: trials train on CPUs")
    elif blind == told:
        yield warning("", "Ray was told of GPUs, but torch sees none on any node", "leave --num-gpus out of ray start")
    else:
        for node in blind:
            seen = node.facts.get("torch_gpus") or 0
            problem = node.facts.get("gpu_problem") or f"torch {node.versions['torch']} may be built for CPUs"
            fix = "install NVIDIA's driver and torch for CUDA there, or start it with --num-gpus=0"
            yield error(node.name, f"must see the {node.gpus:g} GPUs that Ray was told of, sees {seen}: {problem}", fix)


def _room(nodes: Sequence[NodeFacts], store_bytes: int) -> Iterator[Finding]:
    from tuner.data import IN_MEMORY_BYTES  # numpy

    for node in (node for node in nodes if node.answered and node.cpus):
        free = [size for size in node.facts["free_disk"].values() if size is not None]
        if store_bytes <= IN_MEMORY_BYTES:
            if node.object_store < store_bytes:
                has = gigabytes(node.object_store)
                what = f"its object store must hold the store of {gigabytes(store_bytes)}, but has {has}"
                yield error(node.name, what, f"--object-store-memory={2 * store_bytes} in its start command")
        elif free and max(free) < store_bytes:
            what = f"must have {gigabytes(store_bytes)} free for its copy of the store, has {gigabytes(max(free))}"
            yield error(node.name, what, "make room, or set CRYSTUNE_CACHE to a folder on a larger disk")
