"""The graph of a crystal, a property of the crystal rather than of the file that it came from.

CGCNN cuts the neighbor list after the 12th, in most crystals through a shell of equidistant neighbors, where rounding
decides who survives. Soft nearest neighbors: here each neighbor at distance d gets the weight ``clip((reach - d) /
shell_width, 0, 1)`` and the reach of every atom is solved so that its weights add up to 12. The members of a shell
share what is left of the 12, and the graph is a continuous function of the atomic positions. Equivalent atoms are then
merged, see `graphdb.merging`.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphdb.bonds import Bonds, find_bonds
from graphdb.errors import Reason, Unusable
from graphdb.graph import CrystalGraph
from graphdb.graphsettings import GraphSettings, HardNeighbors, SoftNeighbors
from graphdb.merging import merge
from graphdb.shapes import Float, Int

MAX_ATOMIC_NUMBER = 100
"""Largest atomic number with a row in the element table of `model`."""
MAX_ATOMS = 5_000
"""A cell with more is far beyond the crystals that such models are trained on; its graph may take minutes."""
_FIRST_RADIUS_FACTOR = 1.35
"""Times the radius of a sphere that holds the wanted number of atoms: 9 of 10 crystals suffice."""
_RADIUS_GROWTH = 1.25


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
        The graph, the same (up to rounding) for every way to write the crystal down, unless by `HardNeighbors`.

    Raises:
        Unusable: with the reason: no atoms, an element without features, an invalid cell, coinciding atoms, too sparse,
            too large.
    """
    numbers = np.asarray(atomic_numbers, dtype=np.int64)
    cell = np.ascontiguousarray(lattice, dtype=np.float64)
    positions = np.asarray(frac_coords, dtype=np.float64).reshape(-1, 3)
    _check(numbers, cell, positions)
    if isinstance(settings, HardNeighbors):
        return _hard_graph(numbers, cell, positions, settings)
    assert isinstance(settings, SoftNeighbors)
    bonds, weight = _soft_neighbors(cell, positions, settings)
    return merge(numbers, bonds, weight, settings.merge_tolerance)


def _check(numbers: NDArray[np.int64], cell: NDArray[np.float64], positions: NDArray[np.float64]) -> None:
    if len(numbers) == 0:
        raise Unusable(Reason.NO_ATOMS, "a crystal must have at least one atom, got none")
    if len(numbers) > MAX_ATOMS:
        raise Unusable(Reason.TOO_LARGE, f"a cell may have {MAX_ATOMS:,} atoms, got {len(numbers):,}")
    if cell.shape != (3, 3) or not np.isfinite(cell).all() or abs(np.linalg.det(cell)) < 0.1:
        raise Unusable(Reason.INVALID_CELL, "the cell must be three finite vectors that span a volume above 0.1 Å^3")
    if positions.shape != (len(numbers), 3) or not np.isfinite(positions).all():
        raise Unusable(Reason.INVALID_CELL, "every atom must have three finite coordinates")
    strange = numbers[(numbers < 1) | (numbers > MAX_ATOMIC_NUMBER)]
    if len(strange):
        raise Unusable(
            Reason.ELEMENT_WITHOUT_FEATURES,
            f"atomic numbers must be in 1 to {MAX_ATOMIC_NUMBER}, got {sorted(set(strange.tolist()))}",
        )


def _hard_graph(
    numbers: Int[NDArray[np.int64], " atoms"],
    cell: Float[NDArray[np.float64], "3 3"],
    positions: Float[NDArray[np.float64], "atoms 3"],
    settings: HardNeighbors,
) -> CrystalGraph:
    """The original choice: the first 12 by distance; what is missing is a bond to atom 0 at ``cutoff + 1`` Å.

    Source:
        cgcnn ``data.py:331-347@f42ab23``.
    """
    k, atoms = settings.num_neighbors, len(numbers)
    bonds = find_bonds(cell, positions, settings.cutoff)
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
    cell: Float[NDArray[np.float64], "3 3"], positions: Float[NDArray[np.float64], "atoms 3"], settings: SoftNeighbors
) -> tuple[Bonds, Float[NDArray[np.float64], " bonds"]]:
    """The bonds of positive weight and their weights, by a search radius that grows until it suffices."""
    k, width = settings.num_neighbors, settings.shell_width
    density = len(positions) / abs(np.linalg.det(cell))
    radius = _FIRST_RADIUS_FACTOR * (3 * (k + 1) / (4 * math.pi * density)) ** (1 / 3)
    while True:
        radius = min(radius, settings.cutoff + width)
        bonds = find_bonds(cell, positions, radius)
        if bonds.count.min() >= k:
            kth = bonds.distance[bonds.first + k - 1]
            if kth.max() + width < radius:
                break
        if radius >= settings.cutoff + width:
            within = bonds.select(bonds.distance < settings.cutoff).count
            raise Unusable(
                Reason.TOO_SPARSE,
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


def _solve_reach(
    distance: Float[NDArray[np.float64], "atoms neighbors"], k: int, width: float
) -> Float[NDArray[np.float64], " atoms"]:
    """The reach of every atom: ``sum_j clip((reach - d_j) / width, 0, 1) = k``.

    The sum is continuous, does not fall with the reach, and is piecewise linear: Newton steps kept inside a bracket
    hit it exactly, most often at once.

    Args:
        distance: ascending in each row, padded with inf, at least k finite ones.
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
