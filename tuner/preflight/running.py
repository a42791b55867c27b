"""A cluster that is up, and what a search over it needs. To be run on its head."""

from pathlib import Path

from pyarrow.fs import FileSystem, FileType

from graphdb.errors import first_line
from tuner.cluster import machine_facts
from tuner.cluster.ask_nodes import probe_nodes
from tuner.cluster.cluster_file import ClusterFile
from tuner.cluster.session import Cluster
from tuner.preflight.finding import Finding, error, gigabytes, ok
from tuner.preflight.judge_machines import ANSWER_SECONDS, CACHE, TEMPORARY, judge_nodes

_ACCESS = "check the name, and that the instance profile (or your credentials) may read and write there"


def check_running(address: str, file: ClusterFile | None, store_bytes: int | None) -> list[Finding]:
    """Ask all nodes; a SearchError says that no Ray answers.

    Args:
        address: of the cluster; "auto" finds the one of this machine.
        file: what it was started with, to know how many workers there should be.
        store_bytes: size of the store that will be searched over.
    """
    with Cluster(address):
        nodes = probe_nodes(folders=(CACHE, TEMPORARY), with_gpus=True, with_clock=True, timeout=ANSWER_SECONDS)
    min_workers = file.min_workers if file else None
    return judge_nodes(nodes, min_workers=min_workers, store_bytes=store_bytes, mine=machine_facts.versions())


def check_store(store: str) -> tuple[int | None, list[Finding]]:
    """Size in bytes of the store, a file here or a URI; None with the reason if it cannot be seen."""
    try:
        system, path = _filesystem(store)
        info = system.get_file_info(path)
    except (OSError, ValueError) as problem:
        return None, [error(store, f"must be a store that can be read from here: {first_line(problem)}", _ACCESS)]
    if info.type == FileType.NotFound:
        return None, [error(store, "must be a store, but there is nothing", "give --store, as it is seen from here")]
    return info.size, [ok(f"store {store}: {gigabytes(info.size or 0)}")]


def check_results(runs: str) -> list[Finding]:
    """Whether the driver of a search can write its results: a folder here, or a URI."""
    try:
        system, path = _filesystem(runs)
        if "://" not in runs:
            system.create_dir(path, recursive=True)
        file = f"{path.rstrip('/')}/.preflight"
        with system.open_output_stream(file) as stream:
            stream.write(b"can be written\n")
        system.delete_file(file)
    except (OSError, ValueError) as problem:
        return [error(runs, f"must be a place where results can be written, but: {first_line(problem)}", _ACCESS)]
    return [ok(f"results can be written to {runs}")]


def _filesystem(place: str) -> tuple[FileSystem, str]:
    """Where a folder, file or URI is, and its path there."""
    uri = place if "://" in place else f"file://{Path(place).expanduser().absolute()}"
    found: tuple[FileSystem, str] = FileSystem.from_uri(uri)
    return found
