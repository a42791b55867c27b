"""The store gives back what was put in, in any process, and says what is wrong with a file that is none."""

import hashlib
import json
import multiprocessing
import os
import pickle
import re
import stat
from collections.abc import Callable
from pathlib import Path

import lmdb
import numpy as np
import pytest

from graphdb import codec, info
from graphdb.build import build_store
from graphdb.codec import encode_graph
from graphdb.crystal import Crystal
from graphdb.errors import (
    Reason,
    SettingsMismatch,
    SkippedCrystal,
    StoreError,
    StoreUnfinished,
    StoreVersionMismatch,
)
from graphdb.files import partial_path
from graphdb.fingerprint import FORMAT_VERSION
from graphdb.graph import CrystalGraph, FlatGraphs
from graphdb.graphsettings import HardNeighbors, SoftNeighbors
from graphdb.neighbors import build_graph
from graphdb.store import META_KEY, Store, iterate, open_writable, write_items
from graphdb.writer import StoreWriter
from tests.graphdb.randomgraphs import assert_same
from tests.graphdb.sourcefiles import read_usable


def test_graphs_come_back_as_they_were_built(sample_store: Path, sample_csv: Path) -> None:
    crystals = dict(read_usable(sample_csv))
    with Store(sample_store) as store:
        assert len(store) == len(crystals) == 715
        assert list(store.material_ids) == sorted(crystals)
        for index in range(0, 715, 7):
            crystal = crystals[store.material_ids[index]]
            assert isinstance(crystal, Crystal)
            wanted = build_graph(crystal.atomic_numbers, crystal.lattice, crystal.frac_coords, store.settings)
            assert_same(store.graph(index), wanted)


def test_flat_graphs_are_the_single_ones_end_to_end(sample_store: Path) -> None:
    with Store(sample_store) as store:
        for indices in (None, [], [5, 3, 3, 700], np.array([714, 0])):
            flat = store.flat(indices)
            single = FlatGraphs.from_graphs(list(store.graphs(indices)))
            for name in FlatGraphs.__slots__:
                ours, theirs = getattr(flat, name), getattr(single, name)
                assert ours.dtype == theirs.dtype, name
                assert np.array_equal(ours, theirs), name
        assert store.num_nodes.tolist() == np.diff(store.flat().atom_ptr).tolist()


def test_targets_are_those_of_the_table(sample_store: Path) -> None:
    with Store(sample_store) as store:
        values = store.targets(["band_gap", "fermi_energy"])
        assert values.shape == (715, 2)
        assert store.properties["band_gap"].unit == "eV"
        assert store.properties["band_gap"].maximum == values[:, 0].max()
        assert store.properties["band_gap"].count == 715
        with pytest.raises(StoreError, match=r"tasks must be properties of .*band_gap.*, got 'gap'"):
            store.targets(["gap"])


@pytest.mark.parametrize("index", [-1, 715])
def test_an_index_out_of_range_is_refused(sample_store: Path, index: int) -> None:
    with Store(sample_store) as store, pytest.raises(IndexError, match=f"0 to 714, got {index}"):
        store.graph(index)


def test_other_graph_settings_are_refused_with_both_values(sample_store: Path) -> None:
    Store(sample_store, expected=SoftNeighbors()).close()
    with pytest.raises(SettingsMismatch, match=r"shell_width: 0.05, not 0.03"):
        Store(sample_store, expected=SoftNeighbors(shell_width=0.05))
    with pytest.raises(SettingsMismatch, match="neighbors: cgcnn, not shell"):
        Store(sample_store, expected=HardNeighbors())


def test_a_store_may_be_open_several_times_in_a_process(sample_store: Path) -> None:
    first, second = Store(sample_store), Store(sample_store)
    first.close()
    assert second.graph(1).num_atoms > 0
    assert first.graph(1).num_atoms > 0


def read_in_child(store: Store, index: int, queue: "multiprocessing.Queue[list[float]]") -> None:
    queue.put(store.graph(index).neighbor_distance.tolist())


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_an_open_store_works_in_child_processes(sample_store: Path, method: str) -> None:
    context = multiprocessing.get_context(method)
    with Store(sample_store) as store:
        before = store.graph(0).neighbor_distance.tolist()
        queue: multiprocessing.Queue[list[float]] = context.Queue()
        children = [context.Process(target=read_in_child, args=(store, 0, queue)) for _ in range(2)]  # type: ignore[attr-defined]
        for child in children:
            child.start()
        assert [queue.get(timeout=60) for _ in children] == [before] * 2
        for child in children:
            child.join()
            assert child.exitcode == 0
        assert store.graph(0).neighbor_distance.tolist() == before


def test_a_pickled_store_notices_that_the_file_was_replaced(
    tmp_path: Path, sample_store: Path, small_store: Path
) -> None:
    path = tmp_path / "my.store"
    path.write_bytes(sample_store.read_bytes())
    carried = pickle.dumps(Store(path))
    assert len(carried) < 5000
    assert pickle.loads(carried).graph(3).num_atoms == Store(path).graph(3).num_atoms
    (tmp_path / "new").write_bytes(small_store.read_bytes())
    os.replace(tmp_path / "new", path)
    with pytest.raises(StoreError, match="was replaced meanwhile"):
        pickle.loads(carried)


def test_a_store_on_read_only_media_can_be_read(tmp_path: Path, sample_store: Path) -> None:
    path = tmp_path / "disc" / "my.store"
    path.parent.mkdir()
    path.write_bytes(sample_store.read_bytes())
    path.chmod(stat.S_IRUSR)
    path.parent.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        with Store(path) as store:
            store.verify()
        assert [entry.name for entry in path.parent.iterdir()] == ["my.store"]
    finally:
        path.parent.chmod(stat.S_IRWXU)


def test_the_file_is_compact_and_not_sparse(sample_store: Path) -> None:
    status = sample_store.stat()
    assert status.st_size <= status.st_blocks * 512
    assert status.st_size < 250_000


def with_meta(path: Path, **changes: object) -> None:
    """Change entries of the description in a store, checksum included."""
    env = open_writable(path, durable=False)
    meta = next(json.loads(bytes(value[8:])) for _, value in iterate(env, META_KEY))
    write_items(env, [(META_KEY, codec.encode_column(json.dumps({**meta, **changes}).encode(), META_KEY))])
    env.close()


def without(path: Path, prefix: bytes) -> None:
    """Take entries out of a store, as a layout that did not have them would."""
    env = open_writable(path, durable=False)
    keys = [key for key, _ in iterate(env, prefix)]
    with env.begin(write=True) as txn:
        assert keys
        assert all(txn.delete(key) for key in keys)
    env.close()


@pytest.mark.parametrize("entry", [b"target ", b"ids", b"sizes", b"digests", b"skipped", b"block"])
def test_a_store_of_another_layout_is_told_from_a_damaged_one(tmp_path: Path, small_store: Path, entry: bytes) -> None:
    path = tmp_path / "old.store"
    path.write_bytes(small_store.read_bytes())
    without(path, entry)
    with pytest.raises(StoreVersionMismatch, match=r"lacks the entry .* another version of crystune.*--overwrite"):
        Store(path).verify()


def test_another_layout_needs_another_format_version(tmp_path: Path) -> None:
    """If this fails, stores changed: raise FORMAT_VERSION, describe it in docs/data-format.md, and pin it anew."""
    graph = CrystalGraph(
        num_atoms=6,
        atomic_numbers=np.array([11, 17], np.uint8),
        multiplicity=np.array([2, 4], np.int32),
        neighbor_count=np.array([1, 2], np.int32),
        neighbor_index=np.array([1, 0, 1], np.int32),
        neighbor_distance=np.array([2.5, 2.5, 3.5], np.float32),
        neighbor_weight=np.array([12, 6, 6], np.float32),
    )
    digest, skip = bytes(range(16)), SkippedCrystal("b", Reason.NO_ATOMS, "none", "b.cif")
    with StoreWriter(tmp_path / "s", SoftNeighbors()) as writer:
        writer.add_graph("a", digest, encode_graph(graph))
        writer.add_skipped(skip, digest)
        writer.finish({"a": digest, "b": digest}, {"gap": np.array([0.5])}, {"gap": "eV"}, [skip])
    env = lmdb.open(str(tmp_path / "s"), subdir=False, lock=False, readonly=True)
    entries = {key: bytes(value) for key, value in iterate(env, b"")}
    env.close()
    meta = json.loads(entries.pop(META_KEY)[8:])
    layout = json.dumps([{key.hex(): value.hex() for key, value in entries.items()}, sorted(meta)])
    assert (FORMAT_VERSION, hashlib.sha256(layout.encode()).hexdigest()[:16]) == (1, "608ab038d977805b")


def truncate(share: float) -> Callable[[Path], None]:
    return lambda path: os.truncate(path, int(share * path.stat().st_size))


def foreign_lmdb(path: Path) -> None:
    path.unlink()
    env = lmdb.open(str(path), subdir=False, lock=False)
    with env.begin(write=True) as txn:
        txn.put(b"length", b"\x80\x03K\x05.")
    env.close()


def move_to_partial(path: Path) -> None:
    path.rename(partial_path(path))


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (truncate(0.5), StoreError, "damaged|cut off"),
        (truncate(0.97), StoreError, "damaged|cut off"),
        (truncate(0.0), StoreError, "is empty"),
        (lambda path: path.write_bytes(b"PK\x03\x04" + bytes(50_000)), StoreError, "no store of graphs"),
        (lambda path: path.write_text("short"), StoreError, "no store of graphs"),
        (foreign_lmdb, StoreError, "is an LMDB file, but no store of graphs"),
        (lambda path: path.unlink(), StoreError, "there is no store at .*graphdb.build SOURCE"),
        (lambda path: (path.unlink(), path.mkdir()), StoreError, "a store is a file, .* is a folder"),
        (move_to_partial, StoreUnfinished, "its build was interrupted; run python -m graphdb.build again"),
        (lambda path: with_meta(path, finished=False), StoreUnfinished, "an unfinished build"),
        (lambda path: with_meta(path, format_version=99), StoreVersionMismatch, "version 1, got .* version 99"),
        (lambda path: with_meta(path, format_version=0), StoreVersionMismatch, "build the store again"),
        (lambda path: with_meta(path, format="other graphs"), StoreVersionMismatch, "'other graphs'"),
    ],
)
def test_a_file_that_is_no_finished_store_is_refused_in_a_sentence(
    tmp_path: Path,
    small_store: Path,
    capsys: pytest.CaptureFixture[str],
    spoil: Callable[[Path], object],
    error: type[StoreError],
    message: str,
) -> None:
    path = tmp_path / "my.store"
    path.write_bytes(small_store.read_bytes())
    spoil(path)
    with pytest.raises(error, match=message):
        Store(path)
    assert info.main([str(path), "--verify"]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_the_command_that_makes_a_store_can_be_pasted(tmp_path: Path) -> None:
    path = tmp_path / "my store.lmdb"
    with pytest.raises(StoreError, match=f"python -m graphdb.build SOURCE '{re.escape(str(path))}' makes one"):
        Store(path)
    path.write_bytes(b"")
    with pytest.raises(StoreError, match=f"python -m graphdb.build SOURCE '{re.escape(str(path))}' makes one"):
        Store(path)


def test_every_flipped_byte_is_noticed_or_harmless(tmp_path: Path, small_store: Path) -> None:
    content = small_store.read_bytes()
    fingerprint = Store(small_store).fingerprint
    path = tmp_path / "my.store"
    noticed = 0
    for at in range(11, len(content), 97):
        path.unlink(missing_ok=True)
        path.write_bytes(content[:at] + bytes([content[at] ^ 0x55]) + content[at + 1 :])
        try:
            with Store(path) as store:
                store.verify()
                assert store.fingerprint == fingerprint
        except StoreError as error:
            noticed += 1
            assert str(path) in str(error)
    assert noticed > 100  # the rest hit the unused ends of pages


def test_info_tells_what_is_in_a_store(sample_store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert info.main([str(sample_store), "--json", "--verify"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["num_crystals"], found["num_atoms"], found["verified"]) == (715, 1466, True)
    assert found["properties"]["band_gap"]["unit"] == "eV"
    assert found["settings"] == SoftNeighbors().as_dict()
    assert info.main([str(sample_store)]) == 0
    shown = capsys.readouterr().out
    assert "715 crystals" in shown
    assert found["fingerprint"] in shown


def test_the_original_choice_of_neighbors_is_stored_unmerged(tmp_path: Path, sample_csv: Path) -> None:
    report = build_store(sample_csv, tmp_path / "c", settings=HardNeighbors(), num_workers=1)
    with Store(report.path) as store:
        assert store.settings.cutoff == 8.0
        flat = store.flat()
        assert set(flat.neighbor_count.tolist()) == {12}
        assert set(flat.multiplicity.tolist()) == {1}
        assert (flat.neighbor_weight == 1).all()
