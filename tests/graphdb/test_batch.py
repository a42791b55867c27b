"""Batches: crystals put together with a plain loop are the crystals that the gather puts together."""

import numpy as np
import pytest
import torch

from graphdb.batch import Task, collate, sender_order
from graphdb.graph import CrystalGraph, FlatGraphs
from graphdb.graphsettings import SoftNeighbors
from graphdb.neighbors import build_graph


@pytest.fixture(scope="module")
def graphs() -> list[CrystalGraph]:
    rng = np.random.default_rng(0)
    result = [build_graph(np.array([29]), 3.6 * (1 - np.eye(3)) / 2, np.zeros((1, 3)), SoftNeighbors())]
    for atoms in (4, 2, 6):
        grid = np.array([[0, 0, 0], [1, 0, 1], [0, 1, 1], [1, 1, 0], [0, 0, 1], [1, 0, 0]])[:atoms]
        frac = (grid + rng.uniform(-0.1, 0.1, (atoms, 3))) / 2
        result.append(build_graph(rng.integers(1, 90, atoms), np.diag([4.0, 4.4, 5.0]), frac, SoftNeighbors()))
    return result


def test_batch_is_what_a_loop_over_crystals_puts_together(graphs: list[CrystalGraph]) -> None:
    targets = np.array([[1.0, 2.0], [np.nan, 4.0], [5.0, np.nan], [7.0, 8.0]], dtype=np.float32)
    rows = [3, 0, 2, 0]
    batch = collate(FlatGraphs.from_graphs(graphs), np.array(rows), targets)
    offset, numbers, senders, counts, distances = 0, [], [], [], []
    for row in rows:
        graph = graphs[row]
        numbers += graph.atomic_numbers.tolist()
        senders += (graph.neighbor_index + offset).tolist()
        counts += graph.neighbor_count.tolist()
        distances += graph.neighbor_distance.tolist()
        offset += len(graph.atomic_numbers)
    assert batch.num_crystals == 4
    assert batch.atomic_numbers.tolist() == numbers
    assert batch.neighbor_index.tolist() == senders
    assert batch.neighbor_ptr.diff().tolist() == counts
    assert batch.neighbor_distance.tolist() == distances
    assert batch.atom_ptr.diff().tolist() == [len(graphs[row].atomic_numbers) for row in rows]
    assert batch.target.tolist() == [[7, 8], [1, 2], [5, 0], [1, 2]]
    assert batch.target_mask.tolist() == [[True, True], [True, True], [True, False], [True, True]]
    assert batch.index.tolist() == rows
    assert batch.crystal.tolist() == [b for b, row in enumerate(rows) for _ in graphs[row].atomic_numbers]
    assert batch.receiver.tolist() == [a for a, count in enumerate(counts) for _ in range(count)]
    assert batch.sender_ptr.diff().tolist() == [senders.count(a) for a in range(len(numbers))]


def test_precomputed_order_of_senders_is_the_computed_one(graphs: list[CrystalGraph]) -> None:
    flat, rows, targets = FlatGraphs.from_graphs(graphs), np.array([2, 2, 1, 3]), np.zeros((4, 1), np.float32)
    computed = collate(flat, rows, targets)
    gathered = collate(flat, rows, targets, order=sender_order(flat))
    assert gathered.edge_by_sender.tolist() == computed.edge_by_sender.tolist()
    assert gathered.sender_ptr.tolist() == computed.sender_ptr.tolist()
    senders = computed.neighbor_index[computed.edge_by_sender]
    assert senders.tolist() == sorted(senders.tolist())


def test_no_graphs_make_an_empty_array_of_each_kind() -> None:
    flat = FlatGraphs.from_graphs([])
    assert flat.atom_ptr.tolist() == flat.edge_ptr.tolist() == [0]
    assert flat.atomic_numbers.dtype == np.uint8


def test_moving_to_the_device_it_is_on_copies_nothing(graphs: list[CrystalGraph]) -> None:
    batch = collate(FlatGraphs.from_graphs(graphs), np.arange(4), np.zeros((4, 1), np.float32))
    assert batch.to("cpu") is batch
    assert batch.to("meta").neighbor_weight.device == torch.device("meta")


def test_label_of_a_task_has_its_unit_if_it_has_one() -> None:
    assert (Task("band_gap", "eV").label, Task("ratio").label) == ("band_gap [eV]", "ratio")
