"""Which atoms are merged: equivalent ones, also with the noise of a file, and no others."""

import numpy as np
import pytest

from graphdb.graph import CrystalGraph
from graphdb.graphsettings import SoftNeighbors
from graphdb.neighbors import build_graph

FCC = np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])


def disturbed_copper(displacement: float) -> CrystalGraph:
    """108 atoms of fcc copper, each moved by up to `displacement` Å along each axis."""
    shifts = np.array(np.meshgrid(*[range(3)] * 3)).reshape(3, -1).T
    positions = ((FCC[None] + shifts[:, None]) / 3).reshape(-1, 3)
    noise = np.random.default_rng(0).uniform(-displacement, displacement, positions.shape) / 12
    return build_graph(np.full(108, 29), 12 * np.eye(3), positions + noise, SoftNeighbors())


@pytest.mark.parametrize("displacement", [0.0, 1e-7, 1e-5])
def test_rounding_of_coordinates_does_not_keep_equivalent_atoms_apart(displacement: float) -> None:
    graph = disturbed_copper(displacement)
    assert graph.multiplicity.tolist() == [108]
    assert graph.neighbor_weight.tolist() == [12.0]


@pytest.mark.parametrize("displacement", [5e-4, 2e-3, 0.05])
def test_chains_of_close_distances_do_not_merge_a_disturbed_cell(displacement: float) -> None:
    assert disturbed_copper(displacement).multiplicity.tolist() == [1] * 108


def test_atoms_of_one_element_in_different_surroundings_stay_apart() -> None:
    # fluorite with one fluorine of eight replaced: the others lie at three distances from it, calcium at one
    fluorine = [[x, y, z] for x in (0.25, 0.75) for y in (0.25, 0.75) for z in (0.25, 0.75)]
    numbers = np.array([20] * 4 + [9] * 7 + [17])
    graph = build_graph(numbers, 5.46 * np.eye(3), np.concatenate([FCC, fluorine]), SoftNeighbors())
    classes = zip(graph.atomic_numbers.tolist(), graph.multiplicity.tolist(), strict=True)
    assert sorted(classes) == [(9, 1), (9, 3), (9, 3), (17, 1), (20, 4)]
