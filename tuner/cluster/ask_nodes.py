"""The nodes of a running Ray: what each one is, and whether all can train together."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from tuner.cluster import machine_facts
from tuner.cluster.machine import NodeFacts, version_differences
from tuner.errors import SearchError

_DYING_SECONDS = 30.0
"""A node that is gone may be silent for this long before Ray knows; so long, one without an answer is asked again."""
_AGAIN_SECONDS = 1.0


def probe_nodes(
    *, folders: Sequence[str] = (), with_gpus: bool = False, with_clock: bool = False, timeout: float = 60.0
) -> list[NodeFacts]:
    """Ask every node that is alive; needs a Ray that `ray.init` has connected to.

    Args:
        folders: whose free space is wanted.
        with_gpus: whether to ask the driver and torch of each node for GPUs (some seconds).
        with_clock: whether to compare the clocks.
        timeout: in s, for all nodes together; a node that is silent until then has not answered.

    Returns:
        The head first, then by address.
    """
    source = Path(machine_facts.__file__).read_text(encoding="utf-8")

    # Inside a function, so that Ray sends it by value: the node may lack this package, and shall say so.
    def answer(function: str, *arguments: Any) -> Any:
        namespace: dict[str, Any] = {"__name__": "machine_facts"}
        exec(compile(source, "machine_facts.py", "exec"), namespace)
        return namespace[function](*arguments)

    def now() -> float:
        import time

        return time.time()

    def on(node: dict[str, Any], function: Any, *arguments: Any) -> Any:
        where: Any = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        return ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=where)(function).remote(*arguments)

    nodes = alive_nodes()
    asked = {on(node, answer, "facts", tuple(folders), with_gpus): node for node in nodes}
    done, _ = ray.wait(list(asked), num_returns=len(asked), timeout=timeout) if asked else ([], [])
    facts = []
    for reference, node in asked.items():
        machine: dict[str, Any] = {}
        offset = error = 0.0
        try:
            if reference in done:
                machine = ray.get(reference)
                if with_clock:  # the first answer waited for a process to start; this one travels only
                    before = time.time()
                    there = ray.get(on(node, now), timeout=10)
                    error = (time.time() - before) / 2
                    offset = there - before - error
        except ray.exceptions.RayError:
            machine = {}  # it died, or cannot start processes
        resources = node["Resources"]
        facts.append(
            NodeFacts(
                node_id=node["NodeID"],
                address=node["NodeManagerAddress"],
                head="node:__internal_head__" in resources,
                cpus=resources.get("CPU", 0.0),
                gpus=resources.get("GPU", 0.0),
                object_store=int(resources.get("object_store_memory", 0)),
                facts=machine,
                clock_offset=offset,
                clock_error=error,
            )
        )
    return sorted(facts, key=lambda fact: (not fact.head, fact.address))


def check_versions(nodes: Sequence[NodeFacts], mine: Mapping[str, str] | None = None) -> None:
    """Refuse to search over nodes that would not compute the same, or not even understand each other.

    Args:
        nodes: from `probe_nodes`.
        mine: the versions that all must have; those of this process when left out.

    Raises:
        SearchError: naming each difference once, with the nodes that have it, and each node that does not answer.
    """
    differences = version_differences(nodes, machine_facts.versions() if mine is None else mine)
    lines = [f"{', '.join(node.name for node in them)}: {what}" for what, them in differences.items()]
    silent = [node.name for node in nodes if not node.answered]
    if silent:
        lines.append(f"{', '.join(silent)}: no answer")
    if lines:
        raise SearchError(
            "every node must have the versions that the driver of the search has, but these differ: "
            + "; ".join(lines)
            + "; install the same wheel with the same constraints.txt on all (`make wheel`, then `ray up` on the "
            "cluster file, which runs the setup commands again), or take those nodes out of the cluster"
        )


def check_nodes(*, timeout: float = 60.0) -> list[NodeFacts]:
    """Probe all nodes of the connected Ray and compare their versions with those of this process.

    Returns:
        The nodes that are there.

    Raises:
        SearchError: as `check_versions`.
    """
    deadline = time.monotonic() + _DYING_SECONDS
    while True:
        nodes = probe_nodes(timeout=timeout)
        alive = {node["NodeID"] for node in alive_nodes()}
        nodes = [node for node in nodes if node.node_id in alive]  # one that went meanwhile is no reason to refuse
        if all(node.answered for node in nodes) or time.monotonic() > deadline:
            check_versions(nodes)
            return nodes
        time.sleep(_AGAIN_SECONDS)


def alive_nodes() -> list[dict[str, Any]]:
    """As Ray describes them."""
    return [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
