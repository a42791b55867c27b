"""Copies of stores: fetched once, finished or redone after interruptions, never used unless whole."""

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphdb import copies
from graphdb.copies import absolute, cache_folder, fetch, local_copy, node_copy
from graphdb.errors import CorruptRecord, StoreError
from graphdb.loader import InMemoryGraphs, StreamedGraphs
from graphdb.store import Store

CHUNK = 2048


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(copies, "CHUNK_BYTES", CHUNK)
    monkeypatch.setenv("CRYSTUNE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def shared(tmp_path: Path, small_store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store in a folder that passes for one on a network file system."""
    folder = tmp_path / "shared"
    folder.mkdir()
    path = folder / "my.lmdb"
    path.write_bytes(small_store.read_bytes())
    monkeypatch.setattr(copies, "network_file_system", lambda p: "nfs4" if str(p).startswith(str(folder)) else "")
    return path


class Bytes:
    """An origin in memory that counts what is read and may fail."""

    name = "elsewhere"

    def __init__(self, content: bytes, before: Callable[[int], Any] = lambda offset: None) -> None:
        self.content = content
        self.before = before
        self.read_offsets: list[int] = []

    def version(self) -> tuple[int, str]:
        return len(self.content), ""

    def read(self, offset: int, length: int) -> bytes:
        self.before(offset)
        self.read_offsets.append(offset)
        return self.content[offset : offset + length]

    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


def partial(target: Path) -> Path:
    return target.with_name(target.name + ".partial")


def test_a_store_on_a_local_disk_is_used_where_it_lies(small_store: Path) -> None:
    assert local_copy(small_store) == small_store
    assert local_copy(f"file://{small_store}") == small_store
    assert local_copy("nowhere.lmdb") == Path("nowhere.lmdb")


def test_a_store_in_a_shared_folder_is_copied_once(shared: Path, tmp_path: Path) -> None:
    said: list[str] = []
    copy = local_copy(shared, say=said.append)
    assert copy.parent == tmp_path / "cache"
    assert copy.read_bytes() == shared.read_bytes()
    assert local_copy(shared, say=said.append) == copy
    assert len(said) == 1
    assert "copying" in said[0]
    assert "my.lmdb" in said[0]


def test_another_store_in_the_same_place_is_another_copy(shared: Path, sample_store: Path) -> None:
    first = local_copy(shared)
    shared.write_bytes(sample_store.read_bytes())
    second = local_copy(shared)
    assert first != second
    assert Store(second).fingerprint == Store(sample_store).fingerprint


def test_an_interrupted_copy_is_gone_on_with(small_store: Path, tmp_path: Path) -> None:
    content, target = small_store.read_bytes(), tmp_path / "copy"
    partial(target).write_bytes(content[: 3 * CHUNK + 100])
    origin = Bytes(content)
    assert fetch([origin], target, sha256=origin.sha256).read_bytes() == content
    assert min(origin.read_offsets) == 3 * CHUNK
    assert not partial(target).exists()


@pytest.mark.parametrize("with_checksum", [True, False])
@pytest.mark.parametrize("left", [bytes(5 * CHUNK), b"x" * 2**20], ids=["zeros", "too long"])
def test_what_an_interruption_left_damaged_is_redone(
    small_store: Path, tmp_path: Path, left: bytes, with_checksum: bool
) -> None:
    origin, target = Bytes(small_store.read_bytes()), tmp_path / "copy"
    partial(target).write_bytes(left)
    fetch([origin], target, sha256=origin.sha256 if with_checksum else None)
    assert target.read_bytes() == origin.content
    assert 0 in origin.read_offsets


def test_bytes_that_arrive_damaged_are_read_once_more(small_store: Path, tmp_path: Path) -> None:
    content = small_store.read_bytes()
    bad = bytearray(content)
    bad[len(bad) // 2] ^= 1
    origin = Bytes(bytes(bad))

    def fix(offset: int) -> None:
        if origin.read_offsets.count(0):
            origin.content = content if offset == 0 else origin.content

    origin.before = fix
    expected = hashlib.sha256(content).hexdigest()
    assert fetch([origin], tmp_path / "copy", sha256=lambda: expected).read_bytes() == content


def test_an_origin_that_is_damaged_is_never_used(small_store: Path, tmp_path: Path) -> None:
    content = bytearray(small_store.read_bytes())
    content[len(content) // 2] ^= 1
    with pytest.raises(CorruptRecord, match="elsewhere gives is not the store"):
        fetch([Bytes(bytes(content))], tmp_path / "copy")
    assert [path.name for path in tmp_path.iterdir()] == ["copy.lock"]


def test_another_store_than_the_one_asked_for_is_refused(small_store: Path, tmp_path: Path) -> None:
    with pytest.raises(CorruptRecord, match="fingerprint must be 000"):
        fetch([Bytes(small_store.read_bytes())], tmp_path / "copy", fingerprint="0" * 64)


def test_the_next_origin_is_asked_when_one_fails(small_store: Path, tmp_path: Path) -> None:
    def gone(offset: int) -> None:
        if offset > 4 * CHUNK:
            raise OSError("the cable is cut")

    good = Bytes(small_store.read_bytes())
    fetch([Bytes(good.content, gone), good], tmp_path / "copy", sha256=good.sha256)
    assert (tmp_path / "copy").read_bytes() == good.content


def test_an_origin_that_goes_away_is_told_and_what_was_copied_is_kept(small_store: Path, tmp_path: Path) -> None:
    def gone(offset: int) -> None:
        if offset >= 4 * CHUNK:
            raise OSError("the cable is cut")

    origin = Bytes(small_store.read_bytes(), gone)
    with pytest.raises(StoreError, match=r"elsewhere could not .*the cable is cut; what was copied is kept"):
        fetch([origin], tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    assert partial(tmp_path / "copy").exists()
    origin.before, origin.read_offsets = lambda offset: None, []
    fetch([origin], tmp_path / "copy")
    assert 0 not in origin.read_offsets


@pytest.mark.parametrize("times", [1, 99])
def test_a_source_that_changes_while_it_is_copied_is_copied_again_or_told(
    shared: Path, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, left = copies._Shared.read, [times]

    def changing(self: Any, offset: int, length: int) -> bytes:
        if offset == 2 * CHUNK and left[0]:
            left[0] -= 1
            os.utime(shared, ns=(left[0], left[0]))
        return read(self, offset, length)

    monkeypatch.setattr(copies._Shared, "read", changing)
    if times == 1:
        assert local_copy(shared).read_bytes() == shared.read_bytes()
    else:
        with pytest.raises(StoreError, match="changes while it is copied; wait until it is complete"):
            local_copy(shared)


@pytest.mark.parametrize("how", [lambda path: path.unlink(), lambda path: os.truncate(path, 4000)])
def test_a_source_that_is_taken_away_while_it_is_copied_is_told(
    shared: Path, how: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = copies._Shared.read

    def taking(self: Any, offset: int, length: int) -> bytes:
        if offset == 2 * CHUNK:
            how(shared)
        return read(self, offset, length)

    monkeypatch.setattr(copies._Shared, "read", taking)
    with pytest.raises(StoreError, match=r"No such file|is not the store"):
        local_copy(shared)
    assert not list(cache_folder().glob("*.store"))


def test_a_full_disk_is_told_before_anything_is_copied(
    small_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=70 * 10**6))
    origin = Bytes(small_store.read_bytes() * 1000)
    with pytest.raises(StoreError, match=r"needs .* but 70 MB are free; delete copies .* CRYSTUNE_CACHE"):
        fetch([origin], tmp_path / "copy")
    assert origin.read_offsets == []


@pytest.mark.needs("mount")
def test_a_disk_that_fills_up_meanwhile_is_told_and_given_back(small_store: Path, tmp_path: Path) -> None:
    folder = tmp_path / "small disk"
    folder.mkdir()
    mounted = (
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True, check=False
        ).returncode
        == 0
    )
    if not mounted:
        pytest.skip("needs the right to mount a file system")
    try:
        origin = Bytes(bytes(2**21))
        usage = shutil.disk_usage(tmp_path)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(shutil, "disk_usage", lambda path: usage)
            with pytest.raises(StoreError, match="No space left on device"):
                fetch([origin], folder / "copy")
        assert [path.name for path in folder.iterdir()] == ["copy.lock"]
        with pytest.raises(StoreError, match=r"needs .* in .*small disk"):
            fetch([origin], folder / "copy")
    finally:
        subprocess.run(["umount", str(folder)], check=True)


FETCHING = """
import hashlib, sys, time
from pathlib import Path
from graphdb import copies

source, target, log, pause = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], float(sys.argv[4])
copies.CHUNK_BYTES = 2048

class Logged(copies._Shared):
    def read(self, offset, length):
        with open(log, "a") as file:
            file.write(f"{offset}\\n")
        time.sleep(pause)
        return super().read(offset, length)

copies.fetch([Logged(source)], target, sha256=lambda: hashlib.sha256(source.read_bytes()).hexdigest())
"""


def start_fetching(source: Path, target: Path, log: Path, pause: float) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", FETCHING, str(source), str(target), str(log), str(pause)])


def test_eight_processes_at_once_fetch_once(small_store: Path, tmp_path: Path, repository: Path) -> None:
    log, target = tmp_path / "log", tmp_path / "copy"
    processes = [start_fetching(small_store, target, log, 0.005) for _ in range(8)]
    assert [process.wait(60) for process in processes] == [0] * 8
    offsets = [int(line) for line in log.read_text().split()]
    assert sorted(offsets) == list(range(0, small_store.stat().st_size, CHUNK))
    assert target.read_bytes() == small_store.read_bytes()


def test_copies_killed_at_any_moment_are_finished_by_the_next_one(small_store: Path, tmp_path: Path) -> None:
    log, target = tmp_path / "log", tmp_path / "copy"
    draw, pieces, kills = random.Random(3), -(-small_store.stat().st_size // CHUNK), 0
    for _ in range(6):
        log.write_text("")
        process = start_fetching(small_store, target, log, 0.02)
        until = draw.randrange(2, max(3, pieces // 3))
        while process.poll() is None and len(log.read_text().split()) < until:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
        assert not target.exists() or target.read_bytes() == small_store.read_bytes()
    assert kills
    assert start_fetching(small_store, target, log, 0).wait(60) == 0
    assert target.read_bytes() == small_store.read_bytes()


def test_who_waits_for_another_process_says_so(small_store: Path, tmp_path: Path) -> None:
    begun, go_on, said = threading.Event(), threading.Event(), []

    def hold(offset: int) -> None:
        begun.set()
        assert go_on.wait(30)

    def say(text: str) -> None:
        said.append(text)
        go_on.set()

    content = small_store.read_bytes()
    first = threading.Thread(target=fetch, args=([Bytes(content, hold)], tmp_path / "copy"))
    first.start()
    assert begun.wait(30)
    second = Bytes(content)
    fetch([second], tmp_path / "copy", say=say)
    first.join()
    assert "waiting for another process" in said[0]
    assert second.read_offsets == []


def test_a_node_takes_the_driver_s_file_where_it_finds_it(small_store: Path) -> None:
    server = Bytes(small_store.read_bytes())
    fingerprint = Store(small_store).fingerprint
    path = node_copy(small_store, source=str(small_store), fingerprint=fingerprint, server=server)
    assert path == small_store
    assert server.read_offsets == []


def test_a_node_without_the_file_copies_it_from_the_driver_by_fingerprint(
    small_store: Path, sample_store: Path, tmp_path: Path
) -> None:
    server = Bytes(small_store.read_bytes())
    fingerprint = Store(small_store).fingerprint
    for elsewhere in (tmp_path / "absent.lmdb", sample_store):  # the same path on another machine may be another store
        path = node_copy(elsewhere, source=str(elsewhere), fingerprint=fingerprint, server=server)
        assert path == tmp_path / "cache" / f"{fingerprint[:32]}.store"
    assert sorted(server.read_offsets) == list(range(0, len(server.content), CHUNK))


def test_a_node_prefers_a_shared_folder_to_the_driver(shared: Path, tmp_path: Path) -> None:
    server = Bytes(shared.read_bytes())
    fingerprint = Store(shared).fingerprint
    path = node_copy(tmp_path / "x", source=str(shared), fingerprint=fingerprint, server=server)
    assert path.read_bytes() == shared.read_bytes()
    assert server.read_offsets == []


def test_a_node_asks_the_driver_when_the_shared_folder_holds_other_bytes(shared: Path, tmp_path: Path) -> None:
    server = Bytes(shared.read_bytes())
    fingerprint = Store(shared).fingerprint
    shared.write_bytes(bytes(len(server.content)))
    path = node_copy(tmp_path / "x", source=str(shared), fingerprint=fingerprint, server=server)
    assert path.read_bytes() == server.content


def test_a_copy_that_proves_damaged_is_fetched_anew(small_store: Path, tmp_path: Path) -> None:
    graphs = StreamedGraphs(small_store)
    server = Bytes(small_store.read_bytes())

    def copied() -> StreamedGraphs:
        return graphs.at(node_copy(tmp_path / "x", source="x", fingerprint=graphs.fingerprint, server=server))

    path = copied().path
    damage_records(path)
    with pytest.raises(CorruptRecord, match=path.name):
        copied().collate(np.arange(64))
    assert not path.exists()
    assert copied().collate(np.arange(64)).num_crystals == 64
    damage_records(path)
    os.truncate(path, path.stat().st_size - 4096)  # noticed without reading a record
    assert copied().collate(np.arange(64)).num_crystals == 64


def damage_records(path: Path) -> None:
    """Change a byte of the largest crystal's record, which nothing reads when a store is opened."""
    flat = InMemoryGraphs.from_store(path).flat
    largest = int(np.argmax(np.diff(flat.edge_ptr)))
    content = bytearray(path.read_bytes())
    content[content.index(flat.neighbor_distance[slice(*flat.edge_ptr[largest : largest + 2])].tobytes())] ^= 1
    path.write_bytes(content)


def test_the_store_of_the_driver_is_left_alone_when_it_proves_damaged(small_store: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.lmdb"
    path.write_bytes(small_store.read_bytes())
    graphs = StreamedGraphs(path)
    damage_records(path)
    with pytest.raises(CorruptRecord):
        graphs.at(path).collate(np.arange(64))
    assert path.exists()


def test_copies_lie_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("CRYSTUNE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home" / "crystune" / "stores"


def test_copies_lie_in_the_temporary_folder_where_the_home_is_shared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CRYSTUNE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path / "tmp"))
    monkeypatch.setattr(copies, "network_file_system", lambda p: "nfs4" if "home" in p.parts else "")
    assert cache_folder() == tmp_path / "tmp" / f"crystune-{os.getuid()}" / "stores"
    monkeypatch.setattr(copies, "network_file_system", lambda p: "nfs4")
    with pytest.raises(StoreError, match=r"network file system .nfs4.; set CRYSTUNE_CACHE"):
        cache_folder()


def test_sources_are_told_apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute("s3://bucket/my.lmdb") == "s3://bucket/my.lmdb"
    assert absolute("my.lmdb") == str(tmp_path / "my.lmdb")


def test_a_uri_that_names_no_file_system_is_told() -> None:
    with pytest.raises(StoreError, match=r"must be a path or a URI such as s3://bucket/my.lmdb, got gopher://x/y: "):
        local_copy("gopher://x/y")


def test_without_pyarrow_a_uri_is_told_to_need_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.fs", None)
    with pytest.raises(StoreError, match="pyarrow, which is not installed"):
        local_copy("s3://bucket/my.lmdb")


@pytest.mark.slow
def test_a_store_in_object_storage_is_copied_once(
    small_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = pytest.importorskip("moto.server").ThreadedMotoServer(port=0)
    boto3 = pytest.importorskip("boto3")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    server.start()
    try:
        host, port = server.get_host_and_port()
        client = boto3.client("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1")
        client.create_bucket(Bucket="stores")
        client.put_object(Bucket="stores", Key="a/my.lmdb", Body=small_store.read_bytes())
        where = f"?endpoint_override={host}:{port}&scheme=http&region=us-east-1"
        said: list[str] = []
        copy = local_copy(f"s3://stores/a/my.lmdb{where}", say=said.append)
        assert copy.read_bytes() == small_store.read_bytes()
        assert local_copy(f"s3://stores/a/my.lmdb{where}", say=said.append) == copy
        assert len(said) == 1
        with pytest.raises(StoreError, match=r"other.lmdb.* cannot be used: there is no such file"):
            local_copy(f"s3://stores/a/other.lmdb{where}")
    finally:
        server.stop()
