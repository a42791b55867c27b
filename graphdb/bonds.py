"""Bonds: all pairs of atoms up to a distance, periodic images included."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from graphdb.errors import Reason, Unusable

MIN_DISTANCE = 0.5
"""Atoms closer than this (Å) coincide: the shortest bond in nature, H-H, has 0.74 Å."""
_MAX_PAIRS = 10_000_000


@dataclass(frozen=True, slots=True)
class Bonds:
    """Directed bonds sorted by receiving atom, then distance: receiver, sender (E,), distance (E,), count per atom."""

    receiver: NDArray[np.int64]
    sender: NDArray[np.int64]
    distance: NDArray[np.float64]
    count: NDArray[np.int64]

    @property
    def first(self) -> NDArray[np.int64]:
        """(A,) index of each atom's first bond."""
        return np.cumsum(self.count) - self.count

    def select(self, keep: NDArray[np.bool_]) -> "Bonds":
        """Those for which `keep` is true."""
        receiver = self.receiver[keep]
        count = np.bincount(receiver, minlength=len(self.count))
        return Bonds(receiver, self.sender[keep], self.distance[keep], count)


def find_bonds(cell: NDArray[np.float64], positions: NDArray[np.float64], radius: float) -> Bonds:
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
    receiver, sender, distance = receiver[~itself], sender[~itself], distance[~itself]
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
