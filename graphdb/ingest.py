"""From raw texts to graphs, on all cores: parses and builds in worker processes, hands results back as they come."""

import contextlib
import hashlib
import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import chain, islice
from multiprocessing import connection

from graphdb.codec import encode_graph
from graphdb.convert import to_graph
from graphdb.errors import Reason, SkippedCrystal
from graphdb.graphsettings import GraphSettings
from graphdb.rawcrystal import RawCrystal

#: Part of every digest: raise it when the same text would give another graph.
_RECIPE = b"crystune-2"
#: Starting workers costs two seconds; below this many crystals it is not worth it.
_MIN_PARALLEL = 400
_CHUNK_CRYSTALS = 64
_CHUNK_BYTES = 2**20
_CHUNKS_PER_WORKER = 3


@dataclass(frozen=True, slots=True)
class Built:
    """What became of one text: a record (`codec.encode_graph`) with notes, or the reason why there is none."""

    material_id: str
    digest: bytes
    outcome: bytes | SkippedCrystal
    notes: tuple[SkippedCrystal, ...] = ()


def text_digest(raw: RawCrystal) -> bytes:
    """16 bytes that tell whether a text has changed since its graph was built."""
    return hashlib.blake2b(raw.format.encode() + b"\n" + raw.content, digest_size=16, person=_RECIPE).digest()


def build_one(raw: RawCrystal, digest: bytes, settings: GraphSettings) -> Built:
    """The record of one text, or the reason why there is none."""
    found = to_graph(raw, settings)
    if isinstance(found, SkippedCrystal):
        return Built(raw.material_id, digest, found)
    return Built(raw.material_id, digest, encode_graph(found.graph), found.notes)


def build_all(
    crystals: Iterable[tuple[RawCrystal, bytes]], settings: GraphSettings, num_workers: int
) -> Iterator[Built]:
    """Results of all texts, in no particular order.

    Args:
        crystals: texts with their digests; read only a little ahead of the results.
        settings: of the graphs.
        num_workers: processes; few texts are built in this process, whatever the number.
    """
    crystals = iter(crystals)
    head = list(islice(crystals, _MIN_PARALLEL)) if num_workers > 1 else []
    if num_workers == 1 or len(head) < _MIN_PARALLEL:
        for raw, digest in chain(head, crystals):
            yield build_one(raw, digest, settings)
        return
    yield from _build_parallel(_chunks(chain(head, crystals)), settings, num_workers)


_Chunk = list[tuple[RawCrystal, bytes]]


def _build_parallel(chunks: Iterator[_Chunk], settings: GraphSettings, num_workers: int) -> Iterator[Built]:
    suspects: deque[_Chunk] = deque()
    while True:
        running: dict[Future[list[Built]], _Chunk] = {}
        try:
            with _pool(num_workers) as pool:
                for chunk in chunks:
                    try:
                        future = pool.submit(_build_chunk, chunk, settings)
                    except BrokenProcessPool:  # a worker died since: this chunk is in nobody's hands
                        suspects.append(chunk)
                        raise
                    running[future] = chunk
                    if len(running) >= _CHUNKS_PER_WORKER * num_workers:
                        yield from _collect(running)
                while running:
                    yield from _collect(running)
            break
        except BrokenProcessPool:  # one of the running texts has killed its worker: find out which, then go on
            suspects.extend(running.values())
            while suspects:
                yield from _build_suspects(suspects.popleft(), settings)


def _collect(running: dict[Future[list[Built]], _Chunk]) -> Iterator[Built]:
    """Results of the chunks that are done, at least one."""
    for future in wait(running, return_when=FIRST_COMPLETED).done:
        results = future.result()
        del running[future]
        yield from results


def _build_suspects(chunk: _Chunk, settings: GraphSettings) -> Iterator[Built]:
    """Build a chunk in a worker of its own; halve it until the text that kills its worker stands alone."""
    try:
        with _pool(1) as pool:
            results = pool.submit(_build_chunk, chunk, settings).result()
    except BrokenProcessPool:
        if len(chunk) > 1:
            yield from _build_suspects(chunk[: len(chunk) // 2], settings)
            yield from _build_suspects(chunk[len(chunk) // 2 :], settings)
            return
        raw, digest = chunk[0]
        message = "the worker process died on it, perhaps for lack of memory"
        results = [
            Built(raw.material_id, digest, SkippedCrystal(raw.material_id, Reason.WORKER_CRASHED, message, raw.where))
        ]
    yield from results


def _build_chunk(chunk: _Chunk, settings: GraphSettings) -> list[Built]:
    return [build_one(raw, digest, settings) for raw, digest in chunk]


def _chunks(crystals: Iterator[tuple[RawCrystal, bytes]]) -> Iterator[_Chunk]:
    """Texts in portions that are worth sending to another process."""
    chunk: _Chunk = []
    size = 0
    for item in crystals:
        chunk.append(item)
        size += len(item[0].content)
        if len(chunk) == _CHUNK_CRYSTALS or size > _CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


@contextlib.contextmanager
def _pool(num_workers: int) -> Iterator[ProcessPoolExecutor]:
    """A pool whose workers end with this process, even if it is killed, and at once when an error passes through."""
    pool = ProcessPoolExecutor(num_workers, multiprocessing.get_context("spawn"), initializer=_start_worker)
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=True, cancel_futures=True)
        raise
    pool.shutdown(wait=True)


def _start_worker() -> None:
    """Leave Ctrl-C to the parent, and follow it into death: an orphan would wait for work for ever."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=follow, daemon=True, name="follow parent").start()
