"""Graphs of random numbers for tests."""

import numpy as np

from graphdb.graph import CrystalGraph

ARRAYS = ("atomic_numbers", "multiplicity", "neighbor_count", "neighbor_index", "neighbor_distance", "neighbor_weight")


def random_graph(rng: np.random.Generator, nodes: int, *, large: int = 1, ones: bool = False) -> CrystalGraph:
    count = rng.integers(1, 20, nodes).astype(np.int32)
    edges = int(count.sum())
    weight = np.ones(edges) if ones else rng.random(edges)
    return CrystalGraph(
        num_atoms=nodes * 3,
        atomic_numbers=rng.integers(1, 101, nodes).astype(np.uint8),
        multiplicity=(rng.integers(1, 5, nodes) * large).astype(np.int32),
        neighbor_count=count,
        neighbor_index=rng.integers(0, nodes, edges).astype(np.int32),
        neighbor_distance=rng.random(edges).astype(np.float32),
        neighbor_weight=weight.astype(np.float32),
    )


def assert_same(found: CrystalGraph, wanted: CrystalGraph) -> None:
    assert found.num_atoms == wanted.num_atoms
    for name in ARRAYS:
        ours, theirs = getattr(found, name), getattr(wanted, name)
        assert ours.dtype == theirs.dtype, name
        assert np.array_equal(ours, theirs), name
