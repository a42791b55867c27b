"""A cluster that is up: whether all of it is there, and whether it can train together. To be run on its head."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from tuner.cluster import probe
from tuner.cluster.nodes import NodeFacts, probe_nodes, version_differences
from tuner.preflight.clusterfile import ClusterFile
from tuner.preflight.finding import Finding, error, gigabytes, ok, unless_found, warning
from tuner.preflight.hosts import MAX_CLOCK_OFFSET

CACHE = "~/.cache/crystune"
TEMPORARY = "/tmp"
_ACCESS = "check the name, and that the instance profile (or your credentials) may read and write there"
_TIMEOUT = 150.0  # s; torch may take two minutes to start from a slow disk


def check_running(address: str, file: ClusterFile | None, store_bytes: int | None) -> list[Finding]:
    """Ask all nodes.

    Args:
        address: of the cluster; "auto" finds the one of this machine.
        file: what it was started with, to know how many workers there should be.
        store_bytes: size of the store that will be searched over.

    Raises:
        SearchError: if no Ray answers there.
    """
    from tuner.cluster.session import Cluster

    with Cluster(address):
        nodes = probe_nodes(folders=(CACHE, TEMPORARY), with_gpus=True, with_clock=True, timeout=_TIMEOUT)
    return judge(nodes, min_workers=file.min_workers if file else None, store_bytes=store_bytes)


def judge(
    nodes: Sequence[NodeFacts], *, min_workers: int | None, store_bytes: int | None, mine: dict[str, str] | None = None
) -> list[Finding]:
    """What follows from the answers of all nodes; versions are compared with `mine`, or those of this process."""
    mine = probe.versions() if mine is None else mine
    return [
        *unless_found(list(_count(nodes, min_workers)), f"{_workers(nodes)} workers are there"),
        *unless_found(
            list(_versions(nodes, mine)), f"the same Python {mine['python']}, Ray {mine['ray']} on all nodes"
        ),
        *unless_found(list(_gpus(nodes)), f"{sum(node.gpus for node in nodes):g} GPUs, all seen by torch"),
        *unless_found(list(_clocks(nodes)), "the clocks agree"),
        *(unless_found(list(_room(nodes, store_bytes)), "room for the store") if store_bytes is not None else ()),
    ]


def _workers(nodes: Sequence[NodeFacts]) -> int:
    return sum(not node.head for node in nodes)


def _count(nodes: Sequence[NodeFacts], min_workers: int | None) -> Iterator[Finding]:
    there = _workers(nodes)
    if min_workers is not None and there < min_workers:
        fix = (
            "look for the reason: ray monitor CLUSTER_FILE; a worker whose setup failed is not tried again before the "
            "next `ray up` (own machines: RAY_UP_enable_autoscaler_v2=0 ray up, or one is missing always)"
        )
        what = f"must have {min_workers} workers, has {there}; `ray up` reports success all the same"
        yield error("", what, fix)
    elif not any(node.cpus for node in nodes):
        fix = "nothing, if workers start on demand: the search asks for them"
        yield warning("", "nobody is there to train yet", fix)
    for node in nodes:
        if not node.answered:
            fix = f"ssh {node.address}; look into /tmp/ray/session_latest/logs"
            yield error(node.name, f"must answer within {_TIMEOUT:.0f} s, but is silent", fix)


def _versions(nodes: Sequence[NodeFacts], mine: dict[str, str]) -> Iterator[Finding]:
    for what, them in version_differences(nodes, mine).items():
        fix = "make wheel, then `ray up` on the cluster file: it runs the setup commands again"
        yield error(", ".join(node.name for node in them), f"must have the versions of this driver, has {what}", fix)


def _gpus(nodes: Sequence[NodeFacts]) -> Iterator[Finding]:
    told = [node for node in nodes if node.answered and node.gpus]
    blind = [node for node in told if (node.machine.get("torch_gpus") or 0) < node.gpus]
    if not any(node.gpus for node in nodes):
        yield warning("", "no node has a GPU: trials train on CPUs")
    elif blind == told:
        yield warning("", "Ray was told of GPUs, but torch sees none on any node", "leave --num-gpus out of ray start")
    else:
        for node in blind:
            seen = node.machine.get("torch_gpus") or 0
            problem = node.machine.get("gpu_problem") or f"torch {node.versions['torch']} may be built for CPUs"
            fix = "install NVIDIA's driver and torch for CUDA there, or start it with --num-gpus=0"
            yield error(node.name, f"must see the {node.gpus:g} GPUs that Ray was told of, sees {seen}: {problem}", fix)


def _clocks(nodes: Sequence[NodeFacts]) -> Iterator[Finding]:
    for node in nodes:
        if abs(node.clock_offset) - node.clock_error > MAX_CLOCK_OFFSET:
            what = (
                f"must have the time of this machine to {MAX_CLOCK_OFFSET:.0f} s, is off by {node.clock_offset:+.1f} s"
            )
            yield error(node.name, what, "sudo timedatectl set-ntp true (or install chrony) there")


def _room(nodes: Sequence[NodeFacts], store_bytes: int) -> Iterator[Finding]:
    from tuner.data import IN_MEMORY_BYTES

    for node in nodes:
        if not node.answered or not node.cpus:
            continue
        if store_bytes <= IN_MEMORY_BYTES:
            if node.object_store < store_bytes:
                what = f"its object store must hold the store of {gigabytes(store_bytes)}, "
                what += f"but has {gigabytes(node.object_store)}"
                fix = f"--object-store-memory={2 * store_bytes} in its start command"
                yield error(node.name, what, fix)
            continue
        free = [size for size in node.machine["free_disk"].values() if size is not None]
        if free and max(free) < store_bytes:
            what = f"must have {gigabytes(store_bytes)} free for its copy of the store, has {gigabytes(max(free))}"
            yield error(node.name, what, "make room, or set CRYSTUNE_CACHE to a folder on a larger disk")


def check_store(store: str) -> tuple[int | None, list[Finding]]:
    """Size in bytes of the store, a file here or a URI; None with the reason if it cannot be seen."""
    from pyarrow.fs import FileSystem, FileType

    try:
        system, path = FileSystem.from_uri(store if "://" in store else f"file://{_absolute(store)}")
        info = system.get_file_info(path)
    except (OSError, ValueError) as problem:
        return None, [error(store, f"must be a store that can be read from here: {_first_line(problem)}", _ACCESS)]
    if info.type == FileType.NotFound:
        return None, [error(store, "must be a store, but there is nothing", "give --store, as it is seen from here")]
    return info.size, [ok(f"store {store}: {gigabytes(info.size or 0)}")]


def check_results(runs: str) -> list[Finding]:
    """Whether the driver of a search can write its results: a folder here, or a URI."""
    from pyarrow.fs import FileSystem

    try:
        system, path = FileSystem.from_uri(runs if "://" in runs else f"file://{_absolute(runs)}")
        if "://" not in runs:
            system.create_dir(path, recursive=True)
        probe_path = f"{path.rstrip('/')}/.preflight"
        with system.open_output_stream(probe_path) as stream:
            stream.write(b"can be written\n")
        system.delete_file(probe_path)
    except (OSError, ValueError) as problem:
        return [error(runs, f"must be a place where results can be written, but: {_first_line(problem)}", _ACCESS)]
    return [ok(f"results can be written to {runs}")]


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().absolute())


def _first_line(problem: Exception) -> str:
    return (str(problem).splitlines() or [type(problem).__name__])[0]
