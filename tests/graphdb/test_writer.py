"""Writing: killed or refused at any moment, nothing is lost and nothing is half done."""

import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from graphdb import build, info
from graphdb.build import build_store
from graphdb.errors import SettingsMismatch, StoreError
from graphdb.files import partial_path
from graphdb.graphsettings import HardNeighbors, SoftNeighbors
from graphdb.store import Store, open_writable, write_items
from graphdb.writer import StoreWriter


def test_other_settings_for_the_same_store_are_refused(tmp_path: Path, source: Path) -> None:
    build_store(source, tmp_path / "s")
    other = HardNeighbors()
    with pytest.raises(SettingsMismatch, match=r"neighbors: cgcnn, not shell.*--overwrite"):
        build_store(source, tmp_path / "s", settings=other)
    assert build_store(source, tmp_path / "s", settings=other, overwrite=True).num_built == 20
    assert Store(tmp_path / "s").settings == other


def test_a_second_build_of_the_same_store_waits_for_nothing(tmp_path: Path, source: Path) -> None:
    with StoreWriter(tmp_path / "s", SoftNeighbors()):
        with pytest.raises(StoreError, match="another process is building"):
            build_store(source, tmp_path / "s")
    assert build_store(source, tmp_path / "s").num_crystals == 20


KILL_AT = """
import os, signal, sys
from graphdb import layout, writer
from graphdb.build import build_store

kind, countdown = sys.argv[3], int(sys.argv[4])
write_items, replace = writer.write_items, os.replace

def count(happened):
    global countdown
    countdown -= happened == kind
    if countdown == 0:
        os.kill(os.getpid(), signal.SIGKILL)

def counted_write(env, items, append=False):
    count("before layout" if append else "before commit")
    write_items(env, items, append=append)
    count("after layout" if append else "after commit")

def counted_replace(*names):
    replace(*names)
    count("after rename")

writer.write_items = layout.write_items = counted_write
os.replace, writer._COMMIT_BYTES = counted_replace, 4_000
build_store(sys.argv[1], sys.argv[2], num_workers=1)
"""


@pytest.mark.slow
def test_killed_at_any_moment_the_next_run_yields_the_same_store(
    tmp_path: Path, sample_csv: Path, sample_store: Path, repository: Path
) -> None:
    store = tmp_path / "s"
    num_found = 0
    moments = [
        ("before commit", 1),
        ("after commit", 1),
        ("before commit", 4),
        ("after commit", 2),
        ("before layout", 1),
        ("after layout", 1),
        ("after rename", 1),
    ]
    for kind, count in moments:
        command = [sys.executable, "-c", KILL_AT, str(sample_csv), str(store), kind, str(count)]
        killed = subprocess.run(command, cwd=repository, capture_output=True, timeout=120)
        assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
        assert store.exists() == (kind == "after rename")
        with StoreWriter(store, SoftNeighbors()) as writer:
            assert writer.num_found >= num_found
            num_found = writer.num_found
        assert num_found == 715 or kind.endswith("commit")
    report = build_store(sample_csv, store, num_workers=1)
    assert report.num_built == 0
    assert report.fingerprint == Store(sample_store).fingerprint
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_a_full_disk_ends_in_a_sentence(tmp_path: Path, sample_csv: Path, capsys: pytest.CaptureFixture[str]) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, limits[1]))
    try:
        assert build.main([str(sample_csv), str(tmp_path / "s"), "--quiet", "--workers", "1"]) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert capsys.readouterr().err.startswith(f"error: cannot write {tmp_path / 's'}")


def test_a_failed_build_that_built_nothing_leaves_nothing(tmp_path: Path, folder: Path, source: Path) -> None:
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "a.cif").write_text("nothing")
    store = tmp_path / "s"
    assert build.main([str(bad), str(store)]) == 2
    assert not partial_path(store).exists()
    build_store(folder, store)
    before = store.read_bytes()
    for arguments in ([str(bad), str(store)], [str(source), str(store), "--num-neighbors", "8"]):
        assert build.main(arguments) == 2
        assert not partial_path(store).exists()
    assert store.read_bytes() == before


def test_a_failed_build_that_built_something_says_how_to_go_on(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "bad.cif").write_text("nothing")
    store = tmp_path / "s"
    for _ in range(2):
        assert build.main([str(folder), str(store), "--strict"]) == 2
        note = capsys.readouterr().err.splitlines()[-1]
        assert note.startswith(f"20 graphs are kept in {partial_path(store)}: run the command again to go on from")


def test_a_running_build_is_told_from_an_interrupted_one(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "s"
    for is_built in (False, True):
        with StoreWriter(store, SoftNeighbors()):
            assert info.main([str(store)]) == (0 if is_built else 2)
            shown = capsys.readouterr()
            assert "build of this store is running" in shown.out or "its build is running; wait for it" in shown.err
            whole = partial_path(store).read_bytes()
        partial_path(store).write_bytes(whole)
        assert info.main([str(store)]) == (0 if is_built else 2)
        shown = capsys.readouterr()
        assert "was interrupted" in shown.out + shown.err
        assert "is running" not in shown.out + shown.err
        build_store(folder, store)


def test_the_map_grows_until_everything_fits(tmp_path: Path) -> None:
    env = open_writable(tmp_path / "big", durable=False)
    write_items(env, [(i.to_bytes(4, "big"), bytes(2**20)) for i in range(150)])
    assert env.stat()["entries"] == 150
    env.close()
