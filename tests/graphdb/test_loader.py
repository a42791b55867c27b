"""Loaders: the same batches from memory and from LMDB, whatever the number and the kind of worker processes."""

import gc
import hashlib
import json
import os
import pickle
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from graphdb.batch import GraphBatch
from graphdb.loader import InMemoryGraphs, Loader, StreamedGraphs, choose_tasks

PROGRAM = """
import gc, json, multiprocessing, sys
import torch
from graphdb.loader import InMemoryGraphs, Loader, StreamedGraphs

def main():
    store, method, how, digest = sys.argv[1:]
    multiprocessing.set_start_method(method)
    exec(digest, globals())
    torch.set_num_threads(1)
    for kind, workers in json.loads(how):
        graphs = StreamedGraphs(store) if kind == "streamed" else InMemoryGraphs.from_store(store)
        loader = Loader(graphs, batch_size=10, shuffle=True, seed=5, num_workers=workers)
        digests = []
        for epoch in range(2):
            loader.set_epoch(epoch)
            digests.append([digest_of(batch) for batch in loader])
        print(json.dumps(digests))
        del loader
        gc.collect()  # in this process, not in a worker that inherited the garbage

if __name__ == "__main__":
    main()
"""
DIGEST = """
import gc
import hashlib
def digest_of(batch):
    sha = hashlib.sha256()
    for name in batch.__slots__:
        tensor = getattr(batch, name)
        sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode() + tensor.numpy().tobytes())
    return sha.hexdigest()
"""


def digest_of(batch: GraphBatch) -> str:
    space: dict[str, Any] = {"hashlib": hashlib}
    exec(DIGEST, space)
    return str(space["digest_of"](batch))


def digests(loader: Loader) -> list[list[str]]:
    result = []
    for epoch in range(2):
        loader.set_epoch(epoch)
        result.append([digest_of(batch) for batch in loader])
    return result


@pytest.fixture(scope="module")
def graphs(small_store: Path) -> InMemoryGraphs:
    return InMemoryGraphs.from_store(small_store)


@pytest.mark.parametrize(
    ("method", "how"),
    [("fork", [("streamed", 0), ("streamed", 1), ("streamed", 2), ("memory", 2)]), ("spawn", [("streamed", 1)])],
)
def test_batches_do_not_depend_on_the_workers(
    method: str,
    how: list[tuple[str, int]],
    graphs: InMemoryGraphs,
    small_store: Path,
    repository: Path,
    tmp_path: Path,
) -> None:
    script = tmp_path / "load.py"
    script.write_text(PROGRAM)
    command = [sys.executable, str(script), str(small_store), method, json.dumps(how), DIGEST]
    environment = {**os.environ, "PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    expected = digests(Loader(graphs, batch_size=10, shuffle=True, seed=5))
    assert [json.loads(line) for line in done.stdout.splitlines()] == [expected] * len(how)
    assert expected[0] != expected[1]


def test_streamed_graphs_equal_those_in_memory(graphs: InMemoryGraphs, small_store: Path) -> None:
    streamed = StreamedGraphs(small_store)
    assert len(streamed) == len(graphs)
    assert streamed.tasks == graphs.tasks
    assert tuple(streamed.material_ids) == tuple(graphs.material_ids)
    assert (streamed.settings, streamed.fingerprint) == (graphs.settings, graphs.fingerprint)
    np.testing.assert_array_equal(streamed.targets, graphs.targets)
    np.testing.assert_array_equal(streamed.num_nodes, graphs.num_nodes)
    for rows in ([0], [5, 3, 60, 3], list(range(64))):
        assert digest_of(streamed.collate(np.array(rows))) == digest_of(graphs.collate(np.array(rows)))


def test_pickled_streamed_graphs_open_the_store_anew(graphs: InMemoryGraphs, small_store: Path) -> None:
    content = pickle.dumps(StreamedGraphs(small_store))
    assert digest_of(pickle.loads(content).collate(np.arange(9))) == digest_of(graphs.collate(np.arange(9)))


def test_every_crystal_comes_once_per_epoch_in_batches_of_even_size(graphs: InMemoryGraphs) -> None:
    loader = Loader(graphs, batch_size=10, shuffle=True, seed=1)
    batches = list(loader)
    assert len(batches) == len(loader) == 7
    assert {batch.num_crystals for batch in batches} <= {9, 10}
    assert sorted(torch.cat([batch.index for batch in batches]).tolist()) == list(range(64))
    assert [batch.index.tolist() for batch in Loader(graphs, np.array([4, 2, 9]), batch_size=2)] == [[4, 2], [9]]


def test_order_depends_on_seed_and_epoch_alone(graphs: InMemoryGraphs) -> None:
    def order(seed: int, epoch: int) -> list[int]:
        loader = Loader(graphs, batch_size=64, shuffle=True, seed=seed)
        loader.set_epoch(epoch)
        return list(next(iter(loader)).index.tolist())

    assert order(1, 0) == order(1, 0)
    assert len({tuple(order(seed, epoch)) for seed in (1, 2) for epoch in (0, 1, 2)}) == 6


@pytest.mark.parametrize("max_atoms", [1, 7, 30, 10_000])
def test_batches_are_bounded_by_atoms_and_crystals(max_atoms: int, graphs: InMemoryGraphs) -> None:
    loader = Loader(graphs, batch_size=12, shuffle=True, max_atoms=max_atoms)
    batches = list(loader)
    assert len(batches) == len(loader)
    for batch in batches:
        assert batch.num_crystals <= 12
        assert len(batch.atomic_numbers) <= max_atoms or batch.num_crystals == 1
    assert sorted(torch.cat([batch.index for batch in batches]).tolist()) == list(range(64))


def test_arrays_in_memory_pickle_out_of_band_and_share_their_pages(graphs: InMemoryGraphs) -> None:
    buffers: list[pickle.PickleBuffer] = []
    content = pickle.dumps(graphs, protocol=5, buffer_callback=buffers.append)
    arrays = graphs.flat.neighbor_distance.nbytes + graphs.flat.neighbor_index.nbytes
    assert sum(buffer.raw().nbytes for buffer in buffers) > arrays
    assert len(content) < 4000 + 40 * len(graphs), "ids and little else travel in the stream"
    copy = pickle.loads(content, buffers=buffers)
    assert np.shares_memory(copy.flat.neighbor_distance, graphs.flat.neighbor_distance)
    assert digest_of(copy.collate(np.arange(64))) == digest_of(graphs.collate(np.arange(64)))


def test_read_only_arrays_collate_without_warning(graphs: InMemoryGraphs) -> None:
    buffers: list[pickle.PickleBuffer] = []
    content = pickle.dumps(graphs, protocol=5, buffer_callback=buffers.append)
    frozen = pickle.loads(content, buffers=[bytes(buffer.raw()) for buffer in buffers])
    assert not frozen.flat.neighbor_distance.flags.writeable
    assert digest_of(frozen.collate(np.arange(5))) == digest_of(graphs.collate(np.arange(5)))


def test_missing_targets_are_masked(graphs: InMemoryGraphs) -> None:
    targets = graphs.targets.copy()
    targets[3, 1] = np.nan
    holey = InMemoryGraphs(
        graphs.flat,
        material_ids=graphs.material_ids,
        tasks=graphs.tasks,
        targets=targets,
        settings=graphs.settings,
    )
    batch = holey.collate(np.array([2, 3]))
    expected = torch.ones(2, len(graphs.tasks), dtype=torch.bool)
    expected[1, 1] = False
    assert torch.equal(batch.target_mask, expected)
    assert float(batch.target[1, 1]) == 0
    assert np.isnan(Loader(holey, np.array([3]), batch_size=1).targets[0, 1])


def test_tasks_come_in_the_order_asked_for(small_store: Path, graphs: InMemoryGraphs) -> None:
    swapped = InMemoryGraphs.from_store(small_store, ["band_gap", "formation_energy_per_atom"])
    assert [task.label for task in swapped.tasks] == ["band_gap [eV]", "formation_energy_per_atom [eV/atom]"]
    names = [task.name for task in graphs.tasks]
    np.testing.assert_array_equal(swapped.targets[:, 0], graphs.targets[:, names.index("band_gap")])


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "at least one task, got none; the store has .*band_gap"),
        (["band_gab"], "must be properties of the store, got 'band_gab'; did you mean 'band_gap'. it has .*energy"),
        (["x"], "must be properties of the store, got 'x'; it has .*band_gap"),
        (["band_gap"] * 2, "named once"),
    ],
)
def test_impossible_tasks_are_refused_by_name(names: list[str], message: str, small_store: Path) -> None:
    with pytest.raises(ValueError, match=message):
        InMemoryGraphs.from_store(small_store, names)


def test_store_without_properties_cannot_train() -> None:
    with pytest.raises(ValueError, match="build it with --targets"):
        choose_tasks({}, None)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"batch_size": 4, "max_atoms": 0}, "max_atoms must be at least 1, got 0"),
        ({"batch_size": 4, "indices": np.array([], int)}, "crystals must be at least 1, got 0"),
    ],
)
def test_empty_bounds_are_refused(how: dict[str, Any], message: str, graphs: InMemoryGraphs) -> None:
    with pytest.raises(ValueError, match=message):
        Loader(graphs, **how)


def test_graphs_and_targets_must_agree(graphs: InMemoryGraphs) -> None:
    with pytest.raises(ValueError, match="targets must be"):
        InMemoryGraphs(
            graphs.flat,
            material_ids=graphs.material_ids,
            tasks=graphs.tasks,
            targets=graphs.targets[:-1],
            settings=graphs.settings,
        )


def test_loader_with_workers_is_freed_without_the_garbage_collector(graphs: InMemoryGraphs) -> None:
    """In a cycle of references its queues would be closed before its workers, and each be waited for in vain."""
    loader = Loader(graphs, batch_size=10, num_workers=1)  # no worker is started before the first batch
    remembered = weakref.ref(loader)
    gc.disable()
    try:
        del loader
        assert remembered() is None
    finally:
        gc.enable()
