"""From sites and symmetry operations to all atoms of a cell, each once."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphdb.errors import Reason, Unusable
from graphdb.neighbors import MAX_ATOMS
from graphdb.shapes import Bool, Float, Int
from graphdb.symmetry import Operations

#: Images of a site closer than this (Å) are one atom, written with few digits.
_SAME_IMAGE = 0.15
#: Equal elements closer than this (Å) are one atom, listed twice.
_SAME_ATOM = 0.1
#: Positions before equal ones are merged; files list an atom a few times at most.
_MAX_POSITIONS = 4 * MAX_ATOMS
_BATCH = 200_000
#: Up to here every pair is looked at, which is quickest.
_FEW = 100
#: Spread (Å) of the distances that `same_crystal` compares, and how many neighbors it looks at.
_SPREAD = 0.1
_NUM_NEIGHBORS = 60

Arrays = tuple[Int[NDArray[Any], " _"], Float[NDArray[np.float64], "3 3"], Float[NDArray[np.float64], "_ 3"]]
"""Atomic numbers, cell vectors as rows (Å), and fractional coordinates of a crystal."""


def expand(
    fractions: Float[NDArray[np.float64], "sites 3"], operations: Operations, lattice: Float[NDArray[np.float64], "3 3"]
) -> tuple[Float[NDArray[np.float64], "atoms 3"], Int[NDArray[np.int64], " atoms"]]:
    """All images of each site, those of a special position once and exactly there.

    Args:
        fractions: fractional coordinates.
        operations: of the space group.
        lattice: cell vectors as rows, Å.

    Returns:
        Coordinates, and the site that each belongs to.

    Raises:
        Unusable: too large.
    """
    if len(operations) == 1:
        check_positions(len(fractions))
        return fractions, np.arange(len(fractions))
    check_positions(len(fractions))
    num_operations = len(operations)
    step = max(1, _BATCH // num_operations)
    places: list[NDArray[np.float64]] = []
    sites: list[NDArray[np.int64]] = []
    total = 0
    for first in range(0, len(fractions), step):
        batch = fractions[first : first + step]
        images = _images(batch, operations)
        shift = images - batch[:, None]
        shift -= np.rint(shift)
        stays = np.linalg.norm(shift @ lattice, axis=2) < _SAME_IMAGE
        order = stays.sum(axis=1)
        total += int((num_operations / order).sum())
        check_positions(total)
        general = order == 1
        places.append(images[general].reshape(-1, 3))
        sites.append(np.repeat(first + np.flatnonzero(general), num_operations))
        for i in np.flatnonzero(~general):
            centre = batch[i] + shift[i, stays[i]].mean(axis=0)
            orbit = _distinct(_images(centre[None], operations)[0], lattice)
            places.append(orbit)
            sites.append(np.full(len(orbit), first + i))
    return np.concatenate(places), np.concatenate(sites)


def independent(
    numbers: Int[NDArray[Any], " sites"],
    fractions: Float[NDArray[np.float64], "sites 3"],
    operations: Operations,
    lattice: Float[NDArray[np.float64], "3 3"],
) -> Bool[NDArray[np.bool_], " sites"]:
    """Which sites are not images of an earlier one of the same element: some files list them all.

    Raises:
        Unusable: too large.
    """
    if len(operations) == 1:
        return np.ones(len(numbers), dtype=bool)
    keep = merge_equal(numbers, fractions, lattice)
    _check_at_least(int(keep.sum()), MAX_ATOMS)
    reach = _SAME_IMAGE * np.linalg.norm(np.linalg.inv(lattice)[:, 0])
    total = 0
    for i in range(len(numbers)):
        if not keep[i]:
            continue
        others = i + np.flatnonzero(keep[i:] & (numbers[i:] == numbers[i]))
        images = _images(fractions[i : i + 1], operations)[0]
        along = images[:, :1] - fractions[others, 0]
        image, other = np.nonzero(np.abs(along - np.rint(along)) < reach)  # the first axis leaves few to look at
        away = images[image] - fractions[others[other]]
        away -= np.rint(away)
        distance = np.linalg.norm(away @ lattice, axis=1)
        total += len(operations) // max(1, int(((distance < _SAME_IMAGE) & (other == 0)).sum()))
        _check_at_least(total, MAX_ATOMS)
        keep[others[other[(distance < _SAME_ATOM) & (other > 0)]]] = False
    return keep


def check_positions(num_positions: int) -> None:
    """Refuse more positions than can be compared in a moment.

    Raises:
        Unusable: too large.
    """
    _check_at_least(num_positions, _MAX_POSITIONS)


def _check_at_least(number: int, limit: int) -> None:
    if number > limit:
        raise Unusable(Reason.TOO_LARGE, f"a cell may have {MAX_ATOMS:,} atoms, got at least {number:,}")


def merge_equal(
    numbers: Int[NDArray[Any], " atoms"],
    fractions: Float[NDArray[np.float64], "atoms 3"],
    lattice: Float[NDArray[np.float64], "3 3"],
) -> Bool[NDArray[np.bool_], " atoms"]:
    """Which atoms to keep, so that none stands at the place of an earlier one of the same element."""
    if len(numbers) <= _FEW:
        away = fractions[:, None] - fractions[None]
        away -= np.rint(away)
        close = ((away @ lattice) ** 2).sum(axis=2) < _SAME_ATOM**2
        close &= numbers[:, None] == numbers[None]
        twice: NDArray[np.bool_] = np.tril(close, -1).any(axis=1)
        return ~twice
    keep = np.ones(len(numbers), dtype=bool)
    wrapped = fractions - np.floor(fractions)
    reach = _SAME_ATOM * np.linalg.norm(np.linalg.inv(lattice)[:, 0])  # how far along the first axis it may be
    order = np.argsort(wrapped[:, 0], kind="stable")
    ahead = np.flatnonzero(wrapped[order, 0] < reach)
    order = np.concatenate([order, order[ahead]])
    x = wrapped[order, 0].copy()
    x[len(numbers) :] += 1
    for k in range(1, len(order)):
        near = np.flatnonzero(x[k:] - x[:-k] <= reach)
        if len(near) == 0:
            break
        first, second = order[near], order[near + k]
        difference = wrapped[first] - wrapped[second]
        difference -= np.rint(difference)
        close = np.linalg.norm(difference @ lattice, axis=1) < _SAME_ATOM
        close &= (numbers[first] == numbers[second]) & (first != second)
        keep[np.maximum(first[close], second[close])] = False  # what is close to an earlier one goes
    return keep


def same_crystal(
    one: Arrays,
    other: Arrays,
    tolerance: float,
) -> bool:
    """Whether two crystals are one in two settings: whether their elements have the same distances.

    Args:
        one: atomic numbers, cell vectors as rows, fractional coordinates.
        other: the same.
        tolerance: how much the numbers of neighbors at a distance may differ, relative to the largest.
    """
    (numbers, lattice, _), (numbers2, lattice2, _) = one, other
    elements, counts = np.unique(numbers, return_counts=True)
    elements2, counts2 = np.unique(numbers2, return_counts=True)
    if elements.tolist() != elements2.tolist() or not np.allclose(counts / len(numbers), counts2 / len(numbers2)):
        return False
    volume, volume2 = (abs(np.linalg.det(cell)) / len(z) for cell, z in ((lattice, numbers), (lattice2, numbers2)))
    if abs(volume / volume2 - 1) > 0.01:
        return False
    radius = (3 * _NUM_NEIGHBORS * volume / (4 * np.pi)) ** (1 / 3)
    curves, curves2 = (_distances(*crystal, radius) for crystal in (one, other))
    return bool(np.abs(curves - curves2).max() <= tolerance * curves.max())


def _distances(
    numbers: Int[NDArray[Any], " atoms"],
    lattice: Float[NDArray[np.float64], "3 3"],
    fractions: Float[NDArray[np.float64], "atoms 3"],
    radius: float,
) -> Float[NDArray[np.float64], "pairs steps"]:
    """How many neighbors an atom has at each distance, for each pair of elements."""
    from pymatgen.optimization.neighbors import find_points_in_spheres

    points = fractions @ lattice
    first, second, image, distance = find_points_in_spheres(
        points, points, r=radius, pbc=np.ones(3, dtype=np.int64), lattice=np.ascontiguousarray(lattice), tol=1e-8
    )
    itself = (first == second) & (image == 0).all(axis=1)
    elements, index = np.unique(numbers, return_inverse=True)
    pair = (index[first] * len(elements) + index[second])[~itself]
    distance = distance[~itself]
    curves = np.zeros((len(elements) ** 2, int(radius / _SPREAD) + 2))
    step, share = np.divmod(distance / _SPREAD, 1)  # each counts at the two steps that it lies between
    weight = 1 - distance / radius
    np.add.at(curves, (pair, step.astype(int)), weight * (1 - share))
    np.add.at(curves, (pair, step.astype(int) + 1), weight * share)
    return np.asarray(curves / len(numbers), dtype=np.float64)


def _images(
    fractions: Float[NDArray[np.float64], "sites 3"], operations: Operations
) -> Float[NDArray[np.float64], "sites operations 3"]:
    """Images of sites under operations."""
    images: NDArray[np.float64] = np.einsum("kij,nj->nki", operations.rotation, fractions)
    return images + operations.translation


def _distinct(
    places: Float[NDArray[np.float64], "places 3"], lattice: Float[NDArray[np.float64], "3 3"]
) -> Float[NDArray[np.float64], "distinct 3"]:
    """Places that differ, the first of each."""
    difference = places[:, None] - places[None]
    difference -= np.rint(difference)
    near = np.linalg.norm(difference @ lattice, axis=2) < _SAME_IMAGE
    first = near.argmax(axis=1)
    kept: NDArray[np.float64] = places[first == np.arange(len(places))]
    return kept
