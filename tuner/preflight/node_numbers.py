"""How many nodes the cluster file asks for, and of which types."""

from collections.abc import Iterator

from tuner.cluster.cluster_file import ClusterFile, NodeType
from tuner.preflight.finding import Finding, error, fix_for, ok, warning


def check_numbers_of_nodes(file: ClusterFile) -> list[Finding]:
    """Head type and numbers of workers fit together."""
    most = file.config.get("max_workers", len(file.worker_addresses) if file.is_local else 2)
    findings = list(_own_hosts(file) if file.is_local else _types(file))
    return findings or [ok(f"at least {file.min_workers} workers, at most {most}")]


def _own_hosts(file: ClusterFile) -> Iterator[Finding]:
    if "coordinator_address" in file.provider:
        return
    head, workers = file.provider.get("head_ip"), file.worker_addresses
    if not head or not workers:
        fix = "add head_ip: ADDRESS and worker_ips: [ADDRESS, ...]"
        yield error(file.where("provider"), "must name head_ip and at least one of worker_ips", fix)
        return
    for index, address in enumerate(workers):
        where = file.where("provider", "worker_ips", index)
        if address == head:
            fix = "remove it here; to train on the head as well, raise --num-cpus and --num-gpus of its start command"
            yield error(where, f"must not be the head, but {address} is head_ip too", fix)
        elif address in workers[:index]:
            yield error(where, f"must stand once, but {address} stands twice", "remove one")
    for key in ("min_workers", "max_workers"):
        number = file.config.get(key)
        if isinstance(number, int) and number > len(workers):
            fix = f"set it to {len(workers)}, or add the missing addresses"
            yield error(file.where(key), f"must be at most the {len(workers)} worker_ips, got {number}", fix)
        elif isinstance(number, int) and number < len(workers):
            fix = f"set it to {len(workers)} to use all of worker_ips"
            yield warning(file.where(key), f"{number}, but there are {len(workers)} worker_ips", fix)


def _types(file: ClusterFile) -> Iterator[Finding]:
    names, head = [kind.name for kind in file.node_types], file.config.get("head_node_type")
    if not names:
        yield error(file.path, "must have available_node_types", "see cluster.yaml for an example")
        return
    if not any(kind.is_head for kind in file.node_types):
        where = file.where("head_node_type") if head else file.path
        yield error(where, f"must be one of available_node_types, got {head!r}", fix_for(str(head), names))
        return
    if "min_workers" in file.config:
        fix = "put min_workers into the node type"
        yield error(file.where("min_workers"), "is ignored here when there are available_node_types", fix)
    limit = file.config.get("max_workers", 2)
    if isinstance(limit, int):
        yield from _worker_types(file, file.worker_types, limit)


def _worker_types(file: ClusterFile, kinds: list[NodeType], limit: int) -> Iterator[Finding]:
    """Their numbers against those of the whole cluster."""
    if not kinds:
        yield error(file.where("available_node_types"), "must have a type besides the head's", "add a type of workers")
    least_of_all = most_of_all = 0
    for kind in kinds:
        least, most = kind.options.get("min_workers", 0), kind.options.get("max_workers", limit)
        if not isinstance(least, int) or not isinstance(most, int):
            return
        if least > most:
            what = f"must be at most max_workers = {most} of this type, got {least}"
            yield error(kind.where("min_workers"), what, f"set it to {most}")
        least_of_all, most_of_all = least_of_all + least, most_of_all + most
    where = file.where("max_workers") if "max_workers" in file.config else f"max_workers (left out: {limit})"
    if least_of_all > limit:
        what = f"must be at least {least_of_all}, the sum of min_workers, got {limit}"
        yield error(where, what, f"raise it to {least_of_all}")
    if most_of_all < limit:
        fix = f"raise max_workers of the node types, or set it to {most_of_all}"
        yield warning(where, f"{limit}, but the node types allow {most_of_all} workers together", fix)
    if limit == 0 or most_of_all == 0:
        yield error(where, "must be above 0, or there is nobody to train", "set it to the number of workers you want")
