"""Fillers: exactly as many nodes and edges as asked for, none of which counts, in a handful of sizes."""

import numpy as np
import pytest

from graphdb.batch import collate
from graphdb.graph import FlatGraphs
from graphdb.padding import BITS, NUM_FILLERS, SLOTS, BatchSize, batch_size, filler_rows, with_fillers
from tests.graphdb.randomgraphs import random_graph


@pytest.fixture(scope="module")
def flat() -> FlatGraphs:
    rng = np.random.default_rng(0)
    return FlatGraphs.from_graphs([random_graph(rng, nodes) for nodes in (3, 1, 7)])


@pytest.mark.parametrize(
    ("nodes", "edges"), [(0, 0), (1, 0), (1, 1), (4, 15), (9, 67), (1024, 65_535), (2**BITS - 1, 0)]
)
def test_fillers_have_the_nodes_and_edges_asked_for(nodes: int, edges: int, flat: FlatGraphs) -> None:
    rows = filler_rows(nodes, edges)
    if edges == 65_535:
        assert rows is None, "these edges need more nodes"
        nodes += 8
        rows = filler_rows(nodes, edges)
    assert rows is not None
    assert len(rows) == SLOTS
    targets = np.zeros((3 + NUM_FILLERS, 1), np.float32)
    batch = collate(with_fillers(flat), np.array([*(3 + rows), 2, 0]), targets)
    assert len(batch.atomic_numbers) == nodes + 10
    assert len(batch.neighbor_index) == edges + len(collate(flat, np.array([2, 0]), targets).neighbor_index)
    assert batch.num_crystals == SLOTS + 2
    assert (batch.multiplicity[:nodes] == 0).all()
    assert (batch.neighbor_weight[:edges] == 0).all()
    assert (batch.neighbor_index[:edges] < max(nodes, 1)).all(), "fillers send to themselves only"
    assert (batch.neighbor_ptr.diff()[:nodes] <= 64).all()


@pytest.mark.parametrize(("nodes", "edges"), [(0, 1), (1, 3), (-1, 0), (2**BITS, 0), (2**BITS, 2**BITS)])
def test_what_fillers_cannot_make_up_is_told(nodes: int, edges: int) -> None:
    assert filler_rows(nodes, edges) is None


@pytest.mark.parametrize("degree", [0.5, 7.3, 12.0, 24.0])
def test_every_batch_finds_a_size_that_fillers_reach(degree: float) -> None:
    rng = np.random.default_rng(0)
    sizes: set[BatchSize] = set()
    for _ in range(500):
        nodes = int(rng.normal(2000, 80))
        edges = int(nodes * degree * rng.normal(1, 0.02))
        size = batch_size(nodes, edges, degree)
        assert filler_rows(size.num_nodes - nodes, size.num_edges - edges) is not None
        assert size.num_edges < 1.35 * edges + 64 * max(degree, 1)
        sizes.add(size)
    assert len(sizes) < 9


@pytest.mark.parametrize(("nodes", "edges"), [(1, 0), (1, 1), (1000, 1), (1, 1000)])
def test_batches_out_of_proportion_find_a_size_as_well(nodes: int, edges: int) -> None:
    size = batch_size(nodes, edges, 9.0)
    assert filler_rows(size.num_nodes - nodes, size.num_edges - edges) is not None
