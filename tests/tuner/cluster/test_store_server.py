"""Stores on the nodes of a cluster: one copy each, from the driver; a streamed search equals one in memory."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from graphdb.copies import CHUNK_BYTES, Server, node_copy
from tuner import data, search
from tuner.data import load_crystals
from tuner.run.run_folder import RunFolder
from tuner.trainer_factory import make_factory
from tuner.trials.restore import read_trials


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
    monkeypatch.setattr(data, "IN_MEMORY_BYTES", 0)
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
    monkeypatch.setattr(data, "IN_MEMORY_BYTES", 0)
    factory = make_factory(load_crystals(str(store), None), fixed={}, device="cpu", threads=1, run="")
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
