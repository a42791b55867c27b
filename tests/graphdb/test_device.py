"""Batches gathered on a device are those that the host puts together; the CPU stands in for the device."""

import pickle
from dataclasses import fields

import numpy as np
import pytest
import torch
from torch import Tensor

from graphdb.batch import GraphBatch, Task
from graphdb.device import FilledRows, fits
from graphdb.graph import FlatGraphs
from graphdb.graphsettings import SoftNeighbors
from graphdb.loader import InMemoryGraphs, Loader
from graphdb.padding import SLOTS
from tests.graphdb.randomgraphs import random_graph


@pytest.fixture(scope="module")
def graphs() -> InMemoryGraphs:
    rng = np.random.default_rng(0)
    targets = rng.normal(size=(60, 2))
    targets[::7, 0] = targets[3:9, 1] = np.nan
    return InMemoryGraphs(
        FlatGraphs.from_graphs([random_graph(rng, int(nodes)) for nodes in rng.integers(1, 12, 60)]),
        material_ids=[str(i) for i in range(60)],
        tasks=[Task("a"), Task("b")],
        targets=targets,
        settings=SoftNeighbors(),
    )


def loader(graphs: InMemoryGraphs, **how: int) -> Loader:
    return Loader(graphs, np.arange(5, 60), **{"batch_size": 16, **how}, shuffle=True, seed=3)


def assert_equal(found: GraphBatch, wanted: GraphBatch) -> None:
    for field in fields(wanted):
        ours, theirs = getattr(found, field.name), getattr(wanted, field.name)
        assert isinstance(ours, Tensor)
        assert ours.dtype == theirs.dtype, field.name
        assert torch.equal(ours, theirs), field.name


@pytest.mark.parametrize("how", [{}, {"max_atoms": 40}, {"batch_size": 100}], ids=str)
@pytest.mark.parametrize("epoch", [0, 3])
def test_gathered_batches_are_those_of_the_host(how: dict[str, int], epoch: int, graphs: InMemoryGraphs) -> None:
    on_host = loader(graphs, **how)
    on_device = on_host.on("cpu")
    assert on_device is not None
    on_device.set_epoch(epoch)
    assert len(on_device) == len(on_host)
    for found, wanted in zip(on_device, on_host, strict=True):
        assert_equal(found, wanted)


def test_loader_on_a_device_tells_what_that_on_the_host_tells(graphs: InMemoryGraphs) -> None:
    on_host = loader(graphs)
    on_device = on_host.on("cpu")
    assert on_device is not None
    assert on_device.tasks == on_host.tasks
    assert np.array_equal(on_device.targets, on_host.targets, equal_nan=True)


def test_filled_batches_hold_the_crystals_of_the_plan_in_a_handful_of_sizes(graphs: InMemoryGraphs) -> None:
    on_device = loader(graphs).on("cpu")
    assert on_device is not None
    sizes = set()
    for epoch in range(20):
        on_device.set_epoch(epoch)
        for filled, wanted in zip(on_device.filled(), on_device, strict=True):
            assert isinstance(filled, FilledRows)
            batch = on_device.graphs.gather(filled.rows, filled.size)
            sizes.add(filled.size)
            assert (len(batch.atomic_numbers), len(batch.neighbor_index)) == (
                filled.size.num_nodes,
                filled.size.num_edges,
            )
            assert batch.num_crystals == 16 + SLOTS
            assert filled.num_crystals == wanted.num_crystals
            assert torch.equal(batch.index[-wanted.num_crystals :], wanted.index)
            assert not batch.target_mask[: -wanted.num_crystals].any()
            assert float(batch.multiplicity.sum()) == float(wanted.multiplicity.sum())
            torch.testing.assert_close(batch.neighbor_weight.sum(), wanted.neighbor_weight.sum())
    assert 1 < len(sizes) < 20


def test_batch_for_which_fillers_are_lacking_comes_as_it_is(
    graphs: InMemoryGraphs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graphdb.device.filler_rows", lambda *_: None)
    on_device = loader(graphs).on("cpu")
    assert on_device is not None
    for found, wanted in zip(on_device.filled(), on_device, strict=True):
        assert isinstance(found, GraphBatch)
        assert_equal(found, wanted)


def test_known_elements_are_those_of_crystals_with_a_known_target(graphs: InMemoryGraphs) -> None:
    on_device = loader(graphs).on("cpu")
    assert on_device is not None
    found = [set(np.flatnonzero(numbers).tolist()) for numbers in on_device.known_elements()]
    wanted: list[set[int]] = [set(), set()]
    for row in range(5, 60):
        first, end = graphs.flat.atom_ptr[row : row + 2]
        for task in range(2):
            if not np.isnan(graphs.targets[row, task]):
                wanted[task] |= set(graphs.flat.atomic_numbers[first:end].tolist())
    assert found == wanted
    assert found[0] != found[1]


def test_graphs_are_copied_to_a_device_once_and_not_pickled_with_it(graphs: InMemoryGraphs) -> None:
    assert graphs.on("cpu") is graphs.on(torch.device("cpu"))
    assert len(pickle.dumps(graphs)) == len(pickle.dumps(pickle.loads(pickle.dumps(graphs))))
    assert pickle.loads(pickle.dumps(graphs))._on_devices == {}


@pytest.mark.parametrize(("nbytes", "here"), [(500, True), (501, False)])
def test_graphs_leave_half_of_the_free_memory_of_a_device(
    nbytes: int, here: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 4000))
    assert fits(nbytes, "cuda") is here
    assert fits(nbytes, "cpu")


def test_graphs_that_do_not_fit_stay_on_the_host(graphs: InMemoryGraphs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graphdb.loader.fits", lambda nbytes, device: False)
    monkeypatch.setattr(graphs, "_on_devices", {})
    assert loader(graphs).on("cpu") is None
    graphs.on("cpu")
    assert loader(graphs).on("cpu") is not None, "those that are there need no more room"
