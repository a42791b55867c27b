"""Stores on the nodes of a cluster: one copy each, from the driver; a streamed search equals one in memory."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from graphdb.copies import CHUNK_BYTES, Server, node_copy
from graphdb.loader import InMemoryGraphs, StreamedGraphs
from tuner import search, training
from tuner.errors import SearchError
from tuner.run.layout import RunFolder
from tuner.training import load_crystals, make_factory
from tuner.trials.restore import read_trials


def test_the_size_in_memory_is_known_before_anything_is_read(sample_store: Path) -> None:
    from graphdb.store import Store

    graphs = InMemoryGraphs.from_store(sample_store)
    assert Store(sample_store).bytes_in_memory == pytest.approx(graphs.nbytes, rel=1e-3)


def test_crystals_are_streamed_when_they_are_too_large_for_memory(
    sample_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = load_crystals(str(sample_store), None)
    monkeypatch.setattr(training, "IN_MEMORY_BYTES", 0)
    large = load_crystals(str(sample_store), None)
    assert isinstance(small.graphs, InMemoryGraphs)
    assert isinstance(large.graphs, StreamedGraphs)
    assert small.split.as_dict() == large.split.as_dict()
    assert large.num_bytes < 30 * len(large.graphs) < small.num_bytes


def test_trials_carry_no_ids(sample_store: Path) -> None:
    crystals = load_crystals(str(sample_store), None)
    factory = make_factory(crystals, fixed={}, device="cpu", threads=1, origin={})
    assert factory.graphs.material_ids == ()
    assert factory.file is None
    assert len(crystals.graphs.material_ids) == len(factory.graphs) == len(crystals.graphs)


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


@pytest.mark.ray
@pytest.mark.slow
def test_a_search_over_a_streamed_store_equals_the_search_in_memory(
    small_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def curves(name: str) -> list[Any]:
        flags = "--space table5 --trials 2 --max-epochs 3 --sampler random --no-asha --concurrent 1 --finalists 0"
        store = ["--store", str(small_store), "--runs", str(tmp_path), "--name", name]
        assert search.main([*flags.split(), *store]) == 0, capsys.readouterr()
        return [(record.params, record.curve) for record in read_trials(RunFolder(tmp_path / name)).values()]

    in_memory = curves("memory")
    monkeypatch.setattr(training, "IN_MEMORY_BYTES", 0)
    assert len(in_memory) == 2
    assert all(len(curve) == 3 for _, curve in in_memory)
    assert curves("streamed") == in_memory


@pytest.fixture
def two_nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    import ray
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    cluster.add_node(num_cpus=4)
    ray.init(address=cluster.address, log_to_driver=False)
    yield
    ray.shutdown()
    cluster.shutdown()  # type: ignore[no-untyped-call]


def copied_on_the_node(cache: str, source: Path, fingerprint: str, server: Server) -> tuple[str, bool]:
    os.environ["CRYSTUNE_CACHE"] = cache
    said: list[str] = []
    elsewhere = Path("/nowhere/my.lmdb")
    path = node_copy(elsewhere, source=str(elsewhere), fingerprint=fingerprint, server=server, say=said.append)
    return str(path), any("copying" in text for text in said)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_a_node_gets_its_copy_from_the_driver_once(
    two_nodes: None, small_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    from tuner.cluster.store_server import served

    store = tmp_path / "my.lmdb"
    store.write_bytes(small_store.read_bytes() + os.urandom(2 * CHUNK_BYTES + 4096))  # LMDB reads what it needs
    monkeypatch.setattr(training, "IN_MEMORY_BYTES", 0)
    factory = make_factory(load_crystals(str(store), None), fixed={}, device="cpu", threads=1, origin={})
    fetch: Any = ray.remote(copied_on_the_node)
    with served(factory) as reachable:
        server = reachable.server  # type: ignore[attr-defined]
        arguments = (str(tmp_path / "cache"), store, factory.graphs.fingerprint, server)
        answers = ray.get([fetch.remote(*arguments) for _ in range(4)])
        assert sum(copying for _, copying in answers) == 1
        (path,) = {path for path, _ in answers}
        assert Path(path).read_bytes() == store.read_bytes()
        ray.kill(server._actor)
        with pytest.raises(OSError, match="the driver does not answer"):
            server.sha256()


def test_a_factory_that_needs_no_file_is_left_as_it_is(sample_store: Path) -> None:
    program = (
        "import sys; from tuner.cluster.store_server import served\n"
        "with served('any factory') as same: assert same == 'any factory'\n"
        "import ray; assert not ray.is_initialized(); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[3])
