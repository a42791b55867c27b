"""The crystal graph: which atoms are neighbors, and which atoms are the same atom twice.

Two ideas make the graph a property of the crystal rather than of the file it came from.

*Soft nearest neighbors.* CGCNN cuts the neighbor list after the 12th, and in most crystals that cut goes through a
shell of equidistant neighbors, where rounding decides who survives. Here each neighbor at distance d gets the weight
``clip((reach - d) / shell_width, 0, 1)`` and the reach of every atom is solved so that its weights add up to 12. The
members of a shell share what is left of the 12, and the graph is a continuous function of the atomic positions.

*Merged atoms.* Atoms that see the same surroundings (all symmetry-equivalent atoms do) carry the same feature vector
through every convolution, so one node with a multiplicity stands for all of them, and one edge with a weight for all
equal bonds. The network computes the same function on about a third of the nodes; a supercell and its primitive cell
become the same graph. The classes come from color refinement (1-dimensional Weisfeiler-Leman) on the bond distances.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from graphdb.records import read_record

MAX_ATOMIC_NUMBER = 100
"""Largest atomic number with a row in the element table of `model`."""
MIN_DISTANCE = 0.5
"""Atoms closer than this (Å) coincide: the shortest bond in nature, H-H, has 0.74 Å."""
_FIRST_RADIUS_FACTOR = (
    1.35  # times the radius of a sphere that holds the wanted number of atoms: 9 of 10 crystals suffice
)
_RADIUS_GROWTH = 1.25
MAX_ATOMS = 5_000
"""A cell with more is far beyond the crystals that such models are trained on; its graph may take minutes."""
_MAX_PAIRS = 10_000_000


class GraphError(ValueError):
    """A crystal that cannot become a graph.

    Attributes:
        reason: one of the short reasons that `graphdb.build` counts by.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, kw_only=True, slots=True)
class GraphSettings:
    """What decides the graph of a crystal; a store and a checkpoint both remember it."""

    neighbors: Literal["shell", "cgcnn"] = "shell"
    """The soft nearest neighbors above ("shell"), or the original code's: cut through shells, and padded ("cgcnn")."""
    num_neighbors: int = 12
    """Sum of the neighbor weights of every atom."""
    cutoff: float = 0.0
    """Å; 0 means 8 for "cgcnn", which searches within it, and 20 for "shell", which refuses an atom that needs more."""
    shell_width: float = 0.03
    """Å over which a neighbor's weight falls from 1 to 0; "shell" only."""
    merge_tolerance: float = 1e-4
    """Å within which distances count as equal when equivalent atoms are merged; 0 merges nothing; "shell" only."""

    def __post_init__(self) -> None:
        if self.neighbors not in ("shell", "cgcnn"):
            raise ValueError(f'neighbors must be "shell" or "cgcnn", got {self.neighbors!r}')
        if self.neighbors == "cgcnn":  # settings without a meaning must not make two equal graphs look different
            object.__setattr__(self, "shell_width", 0.0)
            object.__setattr__(self, "merge_tolerance", 0.0)
        if self.cutoff == 0.0:
            object.__setattr__(self, "cutoff", 8.0 if self.neighbors == "cgcnn" else 20.0)
        if not isinstance(self.num_neighbors, int) or not 1 <= self.num_neighbors <= 100:
            raise ValueError(f"num_neighbors must be an integer in 1 to 100, got {self.num_neighbors}; CGCNN uses 12")
        if not (math.isfinite(self.cutoff) and 1.0 <= self.cutoff <= 50.0):
            raise ValueError(f"cutoff must be in 1 to 50 Å, got {self.cutoff}")
        if self.neighbors == "shell" and not 1e-3 <= self.shell_width <= 1.0:
            raise ValueError(f"shell_width must be in 0.001 to 1 Å, got {self.shell_width}")
        if not 0.0 <= self.merge_tolerance <= 1e-2:
            raise ValueError(f"merge_tolerance must be in 0 to 0.01 Å, got {self.merge_tolerance}")

    def as_dict(self) -> dict[str, Any]:
        """The settings as JSON-able values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The settings that `as_dict` wrote.

        Raises:
            ValueError: for an unknown or a missing key, or a value out of range.
        """
        return read_record(cls, values, "graph settings", complete=True)

    def differences(self, other: "GraphSettings") -> list[str]:
        """Each setting that differs, as ``name: mine, not theirs``; empty when the graphs are the same."""
        mine, theirs = asdict(self), asdict(other)
        return [f"{name}: {mine[name]}, not {theirs[name]}" for name in mine if mine[name] != theirs[name]]


@dataclass(frozen=True, slots=True, kw_only=True)
class CrystalGraph:
    """One crystal's graph of A nodes (classes of equivalent atoms) and E edges, grouped by receiving node.

    Edge e of node i says: in the sum over i's neighbors, node ``neighbor_index[e]`` at ``neighbor_distance[e]`` counts
    ``neighbor_weight[e]`` times.
    """

    num_atoms: int
    """Atoms in the cell, before merging; the multiplicities add up to it."""
    atomic_numbers: NDArray[np.uint8]
    """(A,)"""
    multiplicity: NDArray[np.int32]
    """(A,) atoms of the cell that the node stands for."""
    neighbor_count: NDArray[np.int32]
    """(A,) edges of each node; adds up to E."""
    neighbor_index: NDArray[np.int32]
    """(E,) the sending node, 0 to A - 1."""
    neighbor_distance: NDArray[np.float32]
    """(E,) Å."""
    neighbor_weight: NDArray[np.float32]
    """(E,) above 0; each node's add up to `GraphSettings.num_neighbors`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlatGraphs:
    """The graphs of N crystals end to end: crystal n owns nodes ``atom_ptr[n]:atom_ptr[n+1]`` and edges likewise."""

    num_atoms: NDArray[np.int32]
    """(N,)"""
    atom_ptr: NDArray[np.int64]
    """(N + 1,)"""
    edge_ptr: NDArray[np.int64]
    """(N + 1,)"""
    atomic_numbers: NDArray[np.uint8]
    """(sum A,)"""
    multiplicity: NDArray[np.int32]
    """(sum A,)"""
    neighbor_count: NDArray[np.int32]
    """(sum A,)"""
    neighbor_index: NDArray[np.int32]
    """(sum E,), counted from the crystal's own first node."""
    neighbor_distance: NDArray[np.float32]
    """(sum E,) Å."""
    neighbor_weight: NDArray[np.float32]
    """(sum E,)"""

    @classmethod
    def from_graphs(cls, graphs: "list[CrystalGraph]") -> Self:
        """Lay graphs end to end."""

        def ptr(lengths: list[int]) -> NDArray[np.int64]:
            return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)

        def join(name: str, dtype: type[np.generic]) -> NDArray[Any]:
            return np.concatenate([np.empty(0, dtype), *(getattr(graph, name) for graph in graphs)]).astype(dtype)

        return cls(
            num_atoms=np.array([graph.num_atoms for graph in graphs], np.int32),
            atom_ptr=ptr([len(graph.atomic_numbers) for graph in graphs]),
            edge_ptr=ptr([len(graph.neighbor_index) for graph in graphs]),
            atomic_numbers=join("atomic_numbers", np.uint8),
            multiplicity=join("multiplicity", np.int32),
            neighbor_count=join("neighbor_count", np.int32),
            neighbor_index=join("neighbor_index", np.int32),
            neighbor_distance=join("neighbor_distance", np.float32),
            neighbor_weight=join("neighbor_weight", np.float32),
        )


@dataclass(frozen=True, slots=True)
class _Bonds:
    """Directed bonds sorted by receiving atom, then distance: receiver, sender (E,), distance (E,), count per atom."""

    receiver: NDArray[np.int64]
    sender: NDArray[np.int64]
    distance: NDArray[np.float64]
    count: NDArray[np.int64]

    @property
    def first(self) -> NDArray[np.int64]:
        """(A,) index of each atom's first bond."""
        return np.cumsum(self.count) - self.count

    def select(self, keep: NDArray[np.bool_]) -> "_Bonds":
        receiver = self.receiver[keep]
        count = np.bincount(receiver, minlength=len(self.count))
        return _Bonds(receiver, self.sender[keep], self.distance[keep], count)


def build_graph(
    atomic_numbers: NDArray[Any], lattice: NDArray[Any], frac_coords: NDArray[Any], settings: GraphSettings
) -> CrystalGraph:
    """The graph of one crystal.

    Args:
        atomic_numbers: (atoms,) integers, 1 to `MAX_ATOMIC_NUMBER`.
        lattice: (3, 3) cell vectors as rows, Å.
        frac_coords: (atoms, 3) fractional coordinates.
        settings: which neighbors count.

    Returns:
        The graph, the same (up to rounding) for every way to write the crystal down, unless ``neighbors="cgcnn"``.

    Raises:
        GraphError: with a reason ("no atoms", "element without features", "invalid cell", "coinciding atoms",
            "too sparse", "too large") when the crystal has no usable graph.
    """
    numbers = np.asarray(atomic_numbers, dtype=np.int64)
    cell = np.ascontiguousarray(lattice, dtype=np.float64)
    positions = np.asarray(frac_coords, dtype=np.float64).reshape(-1, 3)
    _check(numbers, cell, positions)
    if settings.neighbors == "cgcnn":
        return _cgcnn_graph(numbers, cell, positions, settings)
    bonds, weight = _soft_neighbors(cell, positions, settings)
    return _merge(numbers, bonds, weight, settings.merge_tolerance)


def _check(numbers: NDArray[np.int64], cell: NDArray[np.float64], positions: NDArray[np.float64]) -> None:
    if len(numbers) == 0:
        raise GraphError("no atoms", "a crystal must have at least one atom, got none")
    if len(numbers) > MAX_ATOMS:
        raise GraphError("too large", f"a cell may have {MAX_ATOMS:,} atoms, got {len(numbers):,}")
    if cell.shape != (3, 3) or not np.isfinite(cell).all() or abs(np.linalg.det(cell)) < 0.1:
        raise GraphError("invalid cell", "the cell must be three finite vectors that span a volume above 0.1 Å^3")
    if positions.shape != (len(numbers), 3) or not np.isfinite(positions).all():
        raise GraphError("invalid cell", "every atom must have three finite coordinates")
    strange = numbers[(numbers < 1) | (numbers > MAX_ATOMIC_NUMBER)]
    if len(strange):
        raise GraphError(
            "element without features",
            f"atomic numbers must be in 1 to {MAX_ATOMIC_NUMBER}, got {sorted(set(strange.tolist()))}",
        )


def _find_bonds(cell: NDArray[np.float64], positions: NDArray[np.float64], radius: float) -> _Bonds:
    """All bonds up to `radius`; among equal distances in the order of pymatgen's ``Structure.get_neighbor_list``."""
    from pymatgen.optimization.neighbors import find_points_in_spheres  # Cython: no Python object per neighbor

    volume = abs(np.linalg.det(cell))
    if len(positions) ** 2 * 4.19 * radius**3 / volume > _MAX_PAIRS:
        raise GraphError("too large", f"the graph must stay below {_MAX_PAIRS:,} bonds ({len(positions)} atoms came)")
    # Not a matrix product: it rounds differently on each kind of CPU, and CGCNN's choice among equal distances hangs on
    # the last bit: with AVX-512 the original code's own predictions are others than without.
    points = positions[:, :1] * cell[0] + positions[:, 1:2] * cell[1] + positions[:, 2:] * cell[2]
    receiver, sender, image, distance = find_points_in_spheres(
        points, points, r=radius, pbc=np.ones(3, dtype=np.int64), lattice=cell, tol=1e-8
    )
    itself = (receiver == sender) & (image == 0).all(axis=1)
    receiver, sender, distance = receiver[~itself], sender[~itself], distance[~itself]
    order = np.lexsort((distance, receiver))
    count = np.bincount(receiver, minlength=len(points))
    bonds = _Bonds(receiver[order], sender[order], distance[order], count)
    if len(distance) and distance.min() < MIN_DISTANCE:
        e = int(bonds.distance.argmin())
        raise GraphError(
            "coinciding atoms",
            f"atoms must be at least {MIN_DISTANCE} Å apart, got {bonds.distance[e]:.3f} Å between atoms "
            f"{bonds.receiver[e]} and {bonds.sender[e]} (counted from 0)",
        )
    return bonds


def _cgcnn_graph(
    numbers: NDArray[np.int64], cell: NDArray[np.float64], positions: NDArray[np.float64], settings: GraphSettings
) -> CrystalGraph:
    """The original choice: the first 12 by distance; what is missing is a bond to atom 0 at ``cutoff + 1`` Å.

    Source:
        cgcnn ``data.py:331-347@f42ab23``.
    """
    k, atoms = settings.num_neighbors, len(numbers)
    bonds = _find_bonds(cell, positions, settings.cutoff)
    rank = np.arange(len(bonds.receiver)) - np.repeat(bonds.first, bonds.count)
    bonds, rank = bonds.select(rank < k), rank[rank < k]
    index = np.zeros((atoms, k), np.int32)
    distance = np.full((atoms, k), settings.cutoff + 1.0, np.float32)
    index[bonds.receiver, rank] = bonds.sender
    distance[bonds.receiver, rank] = bonds.distance
    return CrystalGraph(
        num_atoms=atoms,
        atomic_numbers=numbers.astype(np.uint8),
        multiplicity=np.ones(atoms, np.int32),
        neighbor_count=np.full(atoms, k, np.int32),
        neighbor_index=index.ravel(),
        neighbor_distance=distance.ravel(),
        neighbor_weight=np.ones(atoms * k, np.float32),
    )


def _soft_neighbors(
    cell: NDArray[np.float64], positions: NDArray[np.float64], settings: GraphSettings
) -> tuple[_Bonds, NDArray[np.float64]]:
    """The bonds of positive weight and their weights (E,), by a search radius that grows until it suffices."""
    k, width = settings.num_neighbors, settings.shell_width
    density = len(positions) / abs(np.linalg.det(cell))
    radius = _FIRST_RADIUS_FACTOR * (3 * (k + 1) / (4 * math.pi * density)) ** (1 / 3)
    while True:
        radius = min(radius, settings.cutoff + width)
        bonds = _find_bonds(cell, positions, radius)
        if bonds.count.min() >= k:
            kth = bonds.distance[bonds.first + k - 1]
            if kth.max() + width < radius:
                break
        if radius >= settings.cutoff + width:
            within = bonds.select(bonds.distance < settings.cutoff).count
            raise GraphError(
                "too sparse",
                f"every atom must have {k} neighbors within {settings.cutoff} Å, "
                f"atom {int(within.argmin())} (counted from 0) has {within.min()}",
            )
        radius *= _RADIUS_GROWTH
    bonds = bonds.select(bonds.distance < np.repeat(kth + width, bonds.count))
    rank = np.arange(len(bonds.receiver)) - np.repeat(bonds.first, bonds.count)
    table = np.full((len(positions), int(bonds.count.max())), np.inf)
    table[bonds.receiver, rank] = bonds.distance
    reach = _solve_reach(table, k, width)
    weight = np.clip((reach[bonds.receiver] - bonds.distance) / width, 0.0, 1.0)
    return bonds.select(weight > 0), weight[weight > 0]


def _solve_reach(distance: NDArray[np.float64], k: int, width: float) -> NDArray[np.float64]:
    """The reach of every atom: ``sum_j clip((reach - d_j) / width, 0, 1) = k``.

    The sum is continuous, does not fall with the reach, and is piecewise linear: Newton steps kept inside a bracket
    hit it exactly, most often at once.

    Args:
        distance: (atoms, neighbors) ascending in each row, padded with inf, at least k finite ones.
        k: the wanted sum.
        width: Å.
    """
    low = distance[:, k - 1].copy()
    high = low + width
    reach = high.copy()  # already the answer where no shell is cut
    for _ in range(60):
        ramp = (reach[:, None] - distance) / width
        excess = np.clip(ramp, 0.0, 1.0).sum(axis=1) - k
        if np.abs(excess).max() < 1e-12:
            break
        slope = ((ramp > 0) & (ramp < 1)).sum(axis=1) / width
        high = np.where(excess > 0, reach, high)
        low = np.where(excess <= 0, reach, low)
        step = reach - excess / np.maximum(slope, 1e-9)
        inside = (step > low) & (step < high)  # strictly: from one end to the other and back would go on for ever
        reach = np.where(np.abs(excess) < 1e-12, reach, np.where(inside, step, (low + high) / 2))
    return reach


def _merge(numbers: NDArray[np.int64], bonds: _Bonds, weight: NDArray[np.float64], tolerance: float) -> CrystalGraph:
    """One node per class of equivalent atoms, one edge per (class, class, distance)."""
    atoms = len(numbers)
    if tolerance > 0:
        label, num_labels = _cluster(bonds.distance, tolerance)
        node_of, multiplicity, number = _equivalence_classes(numbers, bonds, label)
    else:
        label, num_labels = np.arange(len(weight)), len(weight)
        node_of, multiplicity, number = np.arange(atoms), np.ones(atoms, np.int64), numbers
    key = (node_of[bonds.receiver] * len(number) + node_of[bonds.sender]) * num_labels + label
    edges, edge_of = np.unique(key, return_inverse=True)  # ascending: grouped by receiving node
    node = edges // (num_labels * len(number))
    total = np.bincount(edge_of, weight)  # over all members of the class: a mean is independent of their order
    return CrystalGraph(
        num_atoms=atoms,
        atomic_numbers=number.astype(np.uint8),
        multiplicity=multiplicity.astype(np.int32),
        neighbor_count=np.bincount(node, minlength=len(number)).astype(np.int32),
        neighbor_index=(edges // num_labels % len(number)).astype(np.int32),
        neighbor_distance=(np.bincount(edge_of, weight * bonds.distance) / total).astype(np.float32),
        neighbor_weight=(total / multiplicity[node]).astype(np.float32),
    )


def _cluster(values: NDArray[np.float64], tolerance: float) -> tuple[NDArray[np.int64], int]:
    """Label values by rank, where neighbors in the sorted order closer than `tolerance` share a label.

    A chain of small steps must not join what lies far apart, as the many distances of a large disturbed cell would:
    in a cluster wider than ten tolerances only what agrees to a hundredth of one shares a label.
    """
    order = np.argsort(values, kind="stable")
    ascending = values[order]
    gap = np.diff(ascending)
    cluster = np.concatenate([[0], np.cumsum(gap > tolerance)])
    first, last = np.searchsorted(cluster, [cluster, cluster + 1])
    wide = ascending[last - 1] - ascending[first] > 10 * tolerance
    limit = np.where(wide[1:], tolerance / 100, tolerance)
    label = np.empty(len(values), np.int64)
    label[order] = np.concatenate([[0], np.cumsum(gap > limit)])
    return label, int(label.max()) + 1


def _equivalence_classes(
    numbers: NDArray[np.int64], bonds: _Bonds, label: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Classes of atoms that color refinement cannot tell apart: their features agree after any number of convolutions.

    Colors are 64-bit hashes of (own color, multiset of (neighbor color, distance label)); they do not depend on the
    order of atoms. The coarsest stable coloring is reached when a round splits no class.

    Returns:
        (atoms,) class of each atom, (A,) members of each class, (A,) its atomic number.
    """
    length = _mix(_mix(label.astype(np.uint64)))
    color = _mix(numbers.astype(np.uint64))
    num_classes = len(np.unique(color))
    while True:  # as many rounds for a supercell as for its primitive cell, so that the nodes come in the same order
        surroundings = np.add.reduceat(_mix(color[bonds.sender] ^ length), bonds.first)
        color = _mix(color * np.uint64(3) + surroundings)
        refined = len(np.unique(color))
        if refined == num_classes:
            break
        num_classes = refined
    _, member, node_of, multiplicity = np.unique(color, return_index=True, return_inverse=True, return_counts=True)
    return node_of, multiplicity, numbers[member]


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Scramble 64-bit integers, each to a unique other one (finalizer of SplitMix64, Steele et al. 2014)."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
