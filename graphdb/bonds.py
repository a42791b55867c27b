"""Bonds: all pairs of atoms up to a distance, periodic images included."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from graphdb.errors import Reason, Unusable
from graphdb.shapes import Bool, Float, Int

MIN_DISTANCE = 0.5
"""Atoms closer than this (Å) coincide: the shortest bond in nature, H-H, has 0.74 Å."""
_MAX_PAIRS = 10_000_000


@dataclass(frozen=True, slots=True)
class Bonds:
    """Directed bonds sorted by receiving atom, then distance."""

    receiver: Int[NDArray[np.int64], " bonds"]
    sender: Int[NDArray[np.int64], " bonds"]
    distance: Float[NDArray[np.float64], " bonds"]
    """Å."""
    count: Int[NDArray[np.int64], " atoms"]
    """Bonds of each receiver."""

    @property
    def first(self) -> Int[NDArray[np.int64], " atoms"]:
        """Index of each atom's first bond."""
        return np.cumsum(self.count) - self.count

    def select(self, keep: Bool[NDArray[np.bool_], " bonds"]) -> "Bonds":
        """Those for which `keep` is true."""
        receiver = self.receiver[keep]
        count = np.bincount(receiver, minlength=len(self.count))
        return Bonds(receiver, self.sender[keep], self.distance[keep], count)


def find_bonds(
    cell: Float[NDArray[np.float64], "3 3"], positions: Float[NDArray[np.float64], "atoms 3"], radius: float
) -> Bonds:
    """All bonds up to `radius`; among equal distances in the order of pymatgen's ``Structure.get_neighbor_list``."""
    from pymatgen.optimization.neighbors import find_points_in_spheres  # Cython: no Python object per neighbor

    volume = abs(np.linalg.det(cell))
    if len(positions) ** 2 * 4.19 * radius**3 / volume > _MAX_PAIRS:
        raise Unusable(
            Reason.TOO_LARGE, f"the graph must stay below {_MAX_PAIRS:,} bonds ({len(positions)} atoms came)"
        )
    # Not a matrix product: it rounds differently on each kind of CPU, and CGCNN's choice among equal distances hangs on
    # the last bit: with AVX-512 the original code's own predictions are others than without.
    points = positions[:, :1] * cell[0] + positions[:, 1:2] * cell[1] + positions[:, 2:] * cell[2]
    receiver, sender, image, distance = find_points_in_spheres(
        points, points, r=radius, pbc=np.ones(3, dtype=np.int64), lattice=cell, tol=1e-8
    )
    itself = (receiver == sender) & (image == 0).all(axis=1)
    receiver, sender = receiver[~itself].view(np.int64), sender[~itself].view(np.int64)  # they come as long long
    distance = distance[~itself]
    order = np.lexsort((distance, receiver))
    count = np.bincount(receiver, minlength=len(points))
    bonds = Bonds(receiver[order], sender[order], distance[order], count)
    if len(distance) and distance.min() < MIN_DISTANCE:
        e = int(bonds.distance.argmin())
        raise Unusable(
            Reason.COINCIDING_ATOMS,
            f"atoms must be at least {MIN_DISTANCE} Å apart, got {bonds.distance[e]:.3f} Å between atoms "
            f"{bonds.receiver[e]} and {bonds.sender[e]} (counted from 0)",
        )
    return bonds
