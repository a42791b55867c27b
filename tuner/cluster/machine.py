"""What a machine of a cluster answered, whether it was asked through Ray or by SSH."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tuner.cluster import machine_facts

_ALWAYS_EQUAL = ("python", "ray")  # also where nothing is trained


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """A head or a worker."""

    address: str
    head: bool
    facts: Mapping[str, Any] = field(default_factory=dict)
    """As `tuner.cluster.machine_facts.facts` gives them; empty if it did not answer."""
    clock_offset: float = 0.0
    """Its clock minus ours, in s."""
    clock_error: float = 0.0
    """Half the round trip that the offset was estimated from, in s."""

    @property
    def answered(self) -> bool:
        """Whether there are facts."""
        return bool(self.facts)

    @property
    def versions(self) -> Mapping[str, str]:
        """As `tuner.cluster.machine_facts.versions` gives them."""
        versions: Mapping[str, str] = self.facts.get("versions", {})
        return versions

    @property
    def name(self) -> str:
        """Host name and address."""
        host = self.facts.get("hostname")
        return f"{host} ({self.address})" if host else self.address


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeFacts(Machine):
    """A machine that Ray runs on, and what Ray was told it has."""

    node_id: str
    cpus: float
    """Trials are placed by it."""
    gpus: float
    object_store: int
    """Bytes of Ray's object store."""


def version_differences(nodes: Sequence[NodeFacts], mine: Mapping[str, str]) -> dict[str, list[NodeFacts]]:
    """In what nodes differ from the driver: a text like ``torch 2.11.0 instead of 2.13.0`` -> the nodes that do so.

    torch is compared without its build (``+cpu``, ``+cu130``): a head without a GPU has another than the workers.
    A head that trains nothing need not have torch, numpy and crystune.
    """
    found: dict[str, list[NodeFacts]] = {}
    for node in nodes:
        names = [name for name in mine if node.cpus > 0 or not node.head or name in _ALWAYS_EQUAL]
        differing = [
            f"{name} {there} instead of {mine[name]}"
            for name in names
            if (there := node.versions.get(name, machine_facts.ABSENT)).partition("+")[0]
            != mine[name].partition("+")[0]
        ]
        if node.answered and differing:
            found.setdefault(", ".join(differing), []).append(node)
    return found
