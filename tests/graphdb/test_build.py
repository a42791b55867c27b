"""Building: resumable, reproducible, extendable, and plain about what it leaves out."""

import csv
import gzip
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from graphdb import build
from graphdb.build import build_store
from graphdb.errors import Reason, SettingsMismatch, SourceError, StoreError
from graphdb.files import partial_path, skipped_path
from graphdb.graph import GraphSettings
from graphdb.ingest import build_all, text_digest
from graphdb.sample import sample_path
from graphdb.sample import sample_store as build_sample_store
from graphdb.sources import RawCrystal
from graphdb.store import Store
from graphdb.writer import StoreWriter


def rows_of(sample_csv: Path, count: int) -> list[list[str]]:
    with gzip.open(sample_csv, "rt", newline="") as stream:
        header, *rows = csv.reader(stream)
    return [[header[0], header[-1]], *([row[0], row[-1]] for row in rows[:count])]


def write_csv(path: Path, rows: Sequence[Sequence[Any]]) -> Path:
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)
    return path


@pytest.fixture
def source(tmp_path: Path, sample_csv: Path) -> Path:
    """Twenty crystals as a CSV without targets."""
    return write_csv(tmp_path / "twenty.csv", rows_of(sample_csv, 20))


@pytest.fixture
def folder(tmp_path: Path, sample_csv: Path) -> Path:
    """The same twenty as a folder of CIFs."""
    place = tmp_path / "cifs"
    place.mkdir()
    for name, text in rows_of(sample_csv, 20)[1:]:
        (place / f"{name}.cif").write_text(text)
    return place


def listed(store: Path) -> list[tuple[str, str]]:
    with skipped_path(store).open(newline="") as stream:
        return [(row["material_id"], row["reason"]) for row in csv.DictReader(stream)]


def test_a_target_column_is_added_without_building_graphs(tmp_path: Path, source: Path) -> None:
    store = tmp_path / "s"
    names = [row[0] for row in rows_of_csv(source)[1:]]
    first = write_csv(tmp_path / "gap.csv", [["id", "gap [eV]"], *([name, i] for i, name in enumerate(names))])
    second = write_csv(tmp_path / "more.csv", [["id", "hardness"], [names[3], 7], [names[4], ""]])
    before = build_store(source, store, targets=[first])
    graphs = Store(store).graphs_fingerprint
    after = build_store(source, store, targets=[second])
    assert (before.num_built, after.num_built) == (20, 0)
    assert list(after.properties) == ["gap", "hardness"]
    assert after.properties["hardness"].count == 1
    assert Store(store).graphs_fingerprint == graphs
    assert after.fingerprint != before.fingerprint
    at_once = build_store(source, tmp_path / "t", targets=[first, second])
    assert at_once.fingerprint == after.fingerprint


def rows_of_csv(path: Path) -> list[list[str]]:
    with path.open(newline="") as stream:
        return list(csv.reader(stream))


def test_a_new_column_replaces_the_old_one_of_its_name(tmp_path: Path, source: Path) -> None:
    name = rows_of_csv(source)[1][0]
    for value in (1, 2):
        targets = write_csv(tmp_path / "t.csv", [["id", "gap"], [name, value]])
        report = build_store(source, tmp_path / "s", targets=[targets])
    assert report.properties["gap"].mean == 2.0


def test_numeric_columns_of_a_csv_source_are_targets(tmp_path: Path, sample_csv: Path) -> None:
    report = build_store(sample_csv, tmp_path / "s", targets=[sample_csv])
    assert list(report.properties) == ["a", "energy", "formation_energy_per_atom", "band_gap", "fermi_energy"]
    assert report.skipped == []
    assert not skipped_path(tmp_path / "s").exists()


def test_only_changed_crystals_are_built_again(tmp_path: Path, folder: Path) -> None:
    store = tmp_path / "s"
    build_store(folder, store)
    files = sorted(folder.iterdir())
    files[0].write_text(files[1].read_text())
    (folder / "new.cif").write_text(files[2].read_text())
    report = build_store(folder, store)
    assert (report.num_built, report.num_crystals) == (2, 21)
    assert report.fingerprint == build_store(folder, tmp_path / "t").fingerprint


def test_crystals_that_the_source_lost_are_not_dropped_silently(tmp_path: Path, folder: Path) -> None:
    store = tmp_path / "s"
    build_store(folder, store)
    lost = sorted(folder.iterdir())[0]
    lost.unlink()
    with pytest.raises(StoreError, match=rf"holds 1 crystals that SOURCE lacks \({lost.stem}\).*--overwrite"):
        build_store(folder, store)
    assert len(Store(store)) == 20
    assert build_store(folder, store, overwrite=True).num_crystals == 19


def test_other_settings_for_the_same_store_are_refused(tmp_path: Path, source: Path) -> None:
    build_store(source, tmp_path / "s")
    other = GraphSettings(neighbors="cgcnn")
    with pytest.raises(SettingsMismatch, match="neighbors: cgcnn, not shell.*--overwrite"):
        build_store(source, tmp_path / "s", settings=other)
    assert build_store(source, tmp_path / "s", settings=other, overwrite=True).num_built == 20
    assert Store(tmp_path / "s").settings == other


def test_a_second_build_of_the_same_store_waits_for_nothing(tmp_path: Path, source: Path) -> None:
    with StoreWriter(tmp_path / "s", GraphSettings()):
        with pytest.raises(StoreError, match="another process is building"):
            build_store(source, tmp_path / "s")
    assert build_store(source, tmp_path / "s").num_crystals == 20


def test_targets_without_a_crystal_are_listed(tmp_path: Path, source: Path) -> None:
    targets = write_csv(tmp_path / "t.csv", [["id", "gap"], ["nowhere", 1], [rows_of_csv(source)[1][0], "inf"]])
    report = build_store(source, tmp_path / "s", targets=[targets])
    assert {skip.reason for skip in report.skipped} == {Reason.TARGET_WITHOUT_CRYSTAL, Reason.BAD_TARGET}
    assert ("nowhere", "target without crystal") in listed(tmp_path / "s")


def test_strict_keeps_the_work_but_makes_no_store(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "s"
    (folder / "bad.cif").write_text("nothing")
    assert build.main([str(folder), str(store), "--strict"]) == 2
    assert "error: --strict allows nothing to be skipped, got 1 unparsable" in capsys.readouterr().err
    assert listed(store) == [("bad", "unparsable")]
    assert not store.exists()
    (folder / "bad.cif").unlink()
    report = build_store(folder, store, strict=True)
    assert (report.num_built, report.num_crystals) == (0, 20)
    assert not skipped_path(store).exists()


def test_a_source_without_any_usable_crystal_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "bad"
    place.mkdir()
    assert build.main([str(place), str(tmp_path / "s")]) == 2
    (place / "a.cif").write_text("")
    assert build.main([str(place), str(tmp_path / "s")]) == 2
    assert "holds none: 1 empty file; " in capsys.readouterr().err
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere", "s"], "error: nowhere must be a file or a folder, but there is none"),
        (["{source}", "no/such/s"], "the folder of STORE must exist"),
        (["{source}", "."], "STORE must be a file"),
        (["{source}", "s", "--targets", "nowhere.csv"], "--targets must name a CSV file"),
        (["{source}", "s", "--workers", "0"], "--workers must be in 1 to 1024, got 0"),
        (["{source}", "s", "--num-neighbors", "0"], "num_neighbors must be"),
        (["{source}", "s", "--cutoff", "nan"], "cutoff must be"),
        (["{source}", "{source}"], "no store of graphs"),
    ],
)
def test_a_wrong_request_is_told_in_a_sentence(
    tmp_path: Path,
    source: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    before = source.read_bytes()
    assert build.main([word.format(source=source) for word in arguments]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("error: ")
    assert message in shown
    assert source.read_bytes() == before


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", [2, 3])
def test_the_number_of_workers_leaves_no_trace(
    tmp_path: Path, sample_csv: Path, sample_store: Path, num_workers: int
) -> None:
    report = build_store(sample_csv, tmp_path / "s", num_workers=num_workers)
    assert report.fingerprint == Store(sample_store).fingerprint


def test_the_order_of_the_source_leaves_no_trace(tmp_path: Path, source: Path) -> None:
    header, *rows = rows_of_csv(source)
    turned = write_csv(tmp_path / "turned.csv", [header, *reversed(rows)])
    assert build_store(source, tmp_path / "s").fingerprint == build_store(turned, tmp_path / "t").fingerprint


KILL_AT = """
import os, signal, sys
from graphdb import writer
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

writer.write_items, os.replace, writer._COMMIT_BYTES = counted_write, counted_replace, 4_000
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
        with StoreWriter(store, GraphSettings()) as writer:
            assert writer.num_found >= num_found
            num_found = writer.num_found
        assert num_found == 715 or kind.endswith("commit")
    report = build_store(sample_csv, store, num_workers=1)
    assert report.num_built == 0
    assert report.fingerprint == Store(sample_store).fingerprint
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def poison(name: str) -> RawCrystal:
    return RawCrystal(name, "cif", b"poison", name)


@pytest.mark.slow
def test_workers_follow_a_killed_parent_into_death(tmp_path: Path, repository: Path) -> None:
    script = (
        "import os, signal, sys, time\n"
        "from graphdb import ingest\n"
        "if __name__ == '__main__':\n"
        "    with ingest._pool(2) as pool:\n"
        "        pids = [pool.submit(os.getpid).result() for _ in range(2)]\n"
        "        print(*[p.pid for p in pool._processes.values()], flush=True)\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    path = tmp_path / "parent.py"
    path.write_text(script)
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    parent = subprocess.Popen([sys.executable, str(path)], stdout=subprocess.PIPE, env=environment)
    assert parent.stdout is not None
    children = [int(word) for word in parent.stdout.readline().split()]
    assert children
    parent.stdout.read()  # ends when the last process that holds the pipe has ended
    assert parent.wait(timeout=60) == -signal.SIGKILL
    parent.stdout.close()
    assert not any(Path(f"/proc/{pid}/cmdline").exists() and is_alive(pid) for pid in children)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def test_few_crystals_are_built_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graphdb.ingest._pool", None)
    raw = poison("a")
    (built,) = build_all([(raw, text_digest(raw))], GraphSettings(), num_workers=8)
    assert not isinstance(built.outcome, bytes)
    assert built.outcome.reason == Reason.UNPARSABLE


def test_the_sample_is_built_once(tmp_path: Path, sample_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = build_sample_store(tmp_path / "cache")
    assert Store(path).fingerprint == Store(sample_store).fingerprint
    monkeypatch.setattr("graphdb.build.build_store", None)
    assert build_sample_store(tmp_path / "cache") == path
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_cached_sample_that_does_not_verify_is_built_again(tmp_path: Path, sample_store: Path) -> None:
    path = build_sample_store(tmp_path)
    whole = path.read_bytes()
    for spoiled in (whole[: len(whole) // 2], b"", whole[:-5000] + bytes(5000)):
        path.unlink()
        path.write_bytes(spoiled)
        assert build_sample_store(tmp_path) == path
        assert Store(path).fingerprint == Store(sample_store).fingerprint


def test_the_cached_sample_is_told_by_all_that_decides_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = build_sample_store(tmp_path)
    for name, value in (("graphdb.fingerprint.FORMAT_VERSION", 99), ("graphdb.sample._source_code", lambda: b"new")):
        with monkeypatch.context() as patch:
            patch.setattr(name, value)
            assert sample_path(tmp_path) != first
    assert sample_path(tmp_path) == first


def test_a_home_that_cannot_be_written_to_is_no_obstacle_to_the_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home").write_text("a file, in which no folder can be made, not even by root")
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    path = build_sample_store()
    assert path.is_relative_to(tmp_path / "temporary")
    assert build_sample_store() == path
    with pytest.raises(StoreError, match=r"cannot write the sample's store in .*home.*XDG_CACHE_HOME"):
        build_sample_store(tmp_path / "home")


def test_the_sample_leaves_nothing_in_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert build_sample_store().is_relative_to(tmp_path / f"crystune-{os.getuid()}")
    assert not (tmp_path / "home").exists()
    monkeypatch.setattr("os.getuid", lambda: 12345)
    (tmp_path / "crystune-12345").mkdir()
    assert build_sample_store().is_relative_to(tmp_path / "home"), "the temporary folder is somebody else's"


def test_a_full_disk_ends_in_a_sentence(tmp_path: Path, sample_csv: Path, capsys: pytest.CaptureFixture[str]) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, limits[1]))
    try:
        assert build.main([str(sample_csv), str(tmp_path / "s"), "--quiet", "--workers", "1"]) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert capsys.readouterr().err.startswith(f"error: cannot write {tmp_path / 's'}")


def test_the_summary_counts_graphs_built_not_crystals_skipped(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(3):
        (folder / f"bad{number}.cif").write_text("nothing")
    assert build.main([str(folder), str(tmp_path / "s")]) == 0
    assert capsys.readouterr().out.startswith("20 crystals (20 built now, 3 skipped) of ")
    assert build.main([str(folder), str(tmp_path / "s")]) == 0
    assert capsys.readouterr().out.startswith("20 crystals (0 built now, 3 skipped) of ")


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


def test_a_broken_archive_keeps_what_was_read(tmp_path: Path, folder: Path) -> None:
    import tarfile

    archive = tmp_path / "a.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for path in sorted(folder.iterdir()):
            tar.add(path, path.name)
    whole = archive.read_bytes()
    archive.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SourceError, match="complete tar archive, but after"):
        build_store(archive, tmp_path / "s")
    archive.write_bytes(whole)
    report = build_store(archive, tmp_path / "s")
    assert 0 < report.num_built < 20
    assert report.fingerprint == build_store(folder, tmp_path / "t").fingerprint
