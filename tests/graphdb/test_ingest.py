"""Building many texts on all cores."""

import os
import signal
import subprocess
import sys
from concurrent.futures import Future
from pathlib import Path

import pytest

from graphdb import ingest
from graphdb.build import build_store
from graphdb.errors import REASON_TEXT, Reason, SkippedCrystal
from graphdb.graphsettings import GraphSettings, SoftNeighbors
from graphdb.ingest import Built, build_all, text_digest
from graphdb.neighbors import MAX_ATOMS
from graphdb.rawcrystal import RawCrystal
from graphdb.store import Store

SALT = b"salt\n1\n5.6 0 0\n0 5.6 0\n0 0 5.6\nNa Cl\n1 1\nDirect\n0 0 0\n.5 .5 .5\n"
POISON, HARMLESS = b"data_poison", b"data_harmless"


def fake_build(chunk: list[tuple[RawCrystal, bytes]], settings: GraphSettings, elements: None) -> list[Built]:
    """Stands in for a library that takes its whole process down."""
    if any(raw.content == POISON for raw, _ in chunk):
        os._exit(7)
    return [Built(raw.material_id, digest, b"graph") for raw, digest in chunk]


@pytest.mark.slow
def test_a_text_that_kills_its_worker_costs_only_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest, "_build_chunk", fake_build)
    monkeypatch.setattr(ingest, "_MIN_PARALLEL", 1)
    monkeypatch.setattr(ingest, "_CHUNK_CRYSTALS", 4)
    texts = [RawCrystal(str(i), "cif", POISON if i == 9 else HARMLESS, f"file {i}") for i in range(40)]
    built = list(build_all(((raw, text_digest(raw)) for raw in texts), SoftNeighbors(), num_workers=2))
    assert [int(one.material_id) for one in built] == list(range(40))
    (skipped,) = [one.outcome for one in built if isinstance(one.outcome, SkippedCrystal)]
    assert (skipped.material_id, skipped.reason) == ("9", Reason.WORKER_CRASHED)


@pytest.mark.slow
@pytest.mark.parametrize("bytes_ahead", [0, 2**24])
def test_results_of_workers_come_in_the_order_of_the_texts(bytes_ahead: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest, "_MIN_PARALLEL", 1)
    monkeypatch.setattr(ingest, "_CHUNK_CRYSTALS", 3)
    contents = [POISON, SALT, SALT.replace(b"5.6", b"60")]
    texts = [RawCrystal(str(i), "poscar", contents[i % 3], f"file {i}") for i in range(50)]
    pairs = [(raw, text_digest(raw)) for raw in texts]
    how = {"elements": frozenset({11, 17}), "bytes_ahead": bytes_ahead}
    alone = list(build_all(pairs, SoftNeighbors(), 1, **how))  # type: ignore[arg-type]
    assert list(build_all(pairs, SoftNeighbors(), 2, **how)) == alone  # type: ignore[arg-type]
    assert [one.material_id for one in alone] == [raw.material_id for raw in texts]
    (strange,) = build_all(pairs[1:2], SoftNeighbors(), 1, elements=frozenset({11}))
    assert isinstance(strange.outcome, SkippedCrystal)
    assert strange.outcome.message == "this model knows no Cl"


def test_only_a_little_is_read_ahead_unless_more_is_asked_for() -> None:
    """As far as the workers need it, and so many bytes more."""
    read: list[int] = []

    class Pool:
        def submit(self, *_: object) -> Future[list[Built]]:
            done: Future[list[Built]] = Future()
            done.set_result([])
            return done

    for bytes_ahead, expected in ((0, 6), (51_000, 50)):
        read.clear()
        chunks = ([(read.append(i) or RawCrystal(str(i), "cif", b"x" * 20, ""), b"")] for i in range(1000))  # type: ignore[func-returns-value]
        shop = ingest._Workshop(chunks, SoftNeighbors(), 2, None, bytes_ahead)
        assert shop._first(Pool()) is not None  # type: ignore[arg-type]
        assert len(read) == expected


def test_the_documentation_explains_every_reason_and_limit(repository: Path) -> None:
    text = (repository / "docs" / "data-format.md").read_text(encoding="utf-8")
    for reason, meaning in REASON_TEXT.items():
        assert f"| `{reason}` | {meaning} |" in text
    assert f"{MAX_ATOMS:,} atoms" in text
    for setting in SoftNeighbors().as_dict():
        assert f"| `{setting}` |" in text


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", [2, 3])
def test_the_number_of_workers_leaves_no_trace(
    tmp_path: Path, sample_csv: Path, sample_store: Path, num_workers: int
) -> None:
    report = build_store(sample_csv, tmp_path / "s", num_workers=num_workers)
    assert report.fingerprint == Store(sample_store).fingerprint


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
    (built,) = build_all([(raw, text_digest(raw))], SoftNeighbors(), num_workers=8)
    assert not isinstance(built.outcome, bytes)
    assert built.outcome.reason == Reason.UNPARSABLE
