"""The crystals of a search: in memory or streamed, read anew where a copy is damaged."""

from pathlib import Path

import pytest

from graphdb.loader import InMemoryGraphs, StreamedGraphs
from tuner import data
from tuner.data import load_crystals
from tuner.errors import SearchError


def test_the_size_in_memory_is_known_before_anything_is_read(sample_store: Path) -> None:
    from graphdb.store import Store

    graphs = InMemoryGraphs.from_store(sample_store)
    assert Store(sample_store).bytes_in_memory == pytest.approx(graphs.nbytes, rel=1e-3)


def test_crystals_are_streamed_when_they_are_too_large_for_memory(
    sample_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = load_crystals(str(sample_store), None)
    monkeypatch.setattr(data, "IN_MEMORY_BYTES", 0)
    large = load_crystals(str(sample_store), None)
    assert isinstance(small.graphs, InMemoryGraphs)
    assert isinstance(large.graphs, StreamedGraphs)
    assert small.split.as_dict() == large.split.as_dict()
    assert large.graphs.nbytes < 30 * len(large.graphs) < small.graphs.nbytes


def test_a_damaged_copy_is_fetched_anew_by_the_driver(
    small_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRYSTUNE_CACHE", str(tmp_path / "cache"))
    shared = tmp_path / "shared.lmdb"
    shared.write_bytes(small_store.read_bytes())
    monkeypatch.setattr("graphdb.copies.network_file_system", lambda path: "nfs4" if path == shared else "")
    fingerprint = load_crystals(str(shared), None).graphs.fingerprint
    (copy,) = (tmp_path / "cache").glob("*.store")
    content = bytearray(copy.read_bytes())
    for at in range(3 * 4096, len(content), 512):
        content[at] ^= 255
    copy.write_bytes(content)
    assert load_crystals(str(shared), None).graphs.fingerprint == fingerprint
    shared.write_bytes(content)
    with pytest.raises(SearchError, match=r"--store .*shared.lmdb cannot be searched over: what .* gives is not"):
        load_crystals(str(shared), None)
