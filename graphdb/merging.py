"""Merged atoms: one node for all atoms of a crystal that see the same surroundings.

Such atoms (all symmetry-equivalent ones are) carry the same feature vector through every convolution, so one node with
a multiplicity stands for all of them, and one edge with a weight for all equal bonds. The network computes the same
function on about a third of the nodes; a supercell and its primitive cell become the same graph. The classes come from
color refinement (1-dimensional Weisfeiler-Leman) on the bond distances.
"""

import numpy as np
from numpy.typing import NDArray

from graphdb.bonds import Bonds
from graphdb.graph import CrystalGraph
from graphdb.shapes import Float, Int


def merge(
    numbers: Int[NDArray[np.int64], " atoms"],
    bonds: Bonds,
    weight: Float[NDArray[np.float64], " bonds"],
    tolerance: float,
) -> CrystalGraph:
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


def _cluster(
    values: Float[NDArray[np.float64], " values"], tolerance: float
) -> tuple[Int[NDArray[np.int64], " values"], int]:
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
    numbers: Int[NDArray[np.int64], " atoms"], bonds: Bonds, label: Int[NDArray[np.int64], " bonds"]
) -> tuple[Int[NDArray[np.int64], " atoms"], Int[NDArray[np.int64], " classes"], Int[NDArray[np.int64], " classes"]]:
    """Classes of atoms that color refinement cannot tell apart: their features agree after any number of convolutions.

    Colors are 64-bit hashes of (own color, multiset of (neighbor color, distance label)); they do not depend on the
    order of atoms. The coarsest stable coloring is reached when a round splits no class.

    Returns:
        Class of each atom, members of each class, its atomic number.
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
