"""From raw texts to graphs, on all cores: parses and builds in worker processes, hands results back in order."""

import contextlib
import hashlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Set
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
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
#: What a text takes in memory beside its own bytes, roughly.
_TEXT_OVERHEAD = 1000

Text = tuple[RawCrystal, bytes]
"""A text with its digest."""
Elements = Set[int] | None
"""Atomic numbers that are wanted; None for all."""


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


def build_one(raw: RawCrystal, digest: bytes, settings: GraphSettings, elements: Elements = None) -> Built:
    """The record of one text, or the reason why there is none."""
    found = to_graph(raw, settings, elements=elements)
    if isinstance(found, SkippedCrystal):
        return Built(raw.material_id, digest, found)
    return Built(raw.material_id, digest, encode_graph(found.graph), found.notes)


def build_all(
    crystals: Iterable[Text],
    settings: GraphSettings,
    num_workers: int,
    *,
    elements: Elements = None,
    bytes_ahead: int = 0,
) -> Iterator[Built]:
    """A result for each text, in their order, whichever worker is done first.

    Args:
        crystals: texts with their digests; read only a little ahead of the results.
        settings: of the graphs.
        num_workers: processes; few texts are built in this process, whatever the number.
        elements: atomic numbers to take; None for all.
        bytes_ahead: of text to read beyond that, so that the workers are busy while their parent does other things.
    """
    crystals = iter(crystals)
    head = list(islice(crystals, _MIN_PARALLEL)) if num_workers > 1 else []
    texts = chain(head, crystals)
    if len(head) == _MIN_PARALLEL:
        yield from _Workshop(_chunks(texts), settings, num_workers, elements, bytes_ahead).results()
    else:
        for raw, digest in texts:
            yield build_one(raw, digest, settings, elements)


_Chunk = list[Text]


@dataclass(slots=True)
class _Task:
    """A chunk, in the hands of a pool or waiting for one."""

    chunk: _Chunk
    num_bytes: int = field(init=False)
    future: Future[list[Built]] | None = None

    def __post_init__(self) -> None:
        self.num_bytes = sum(len(raw.content) + _TEXT_OVERHEAD for raw, _ in self.chunk)

    def wait(self) -> list[Built]:
        """Its results."""
        assert self.future is not None
        return self.future.result()

    def is_built(self) -> bool:
        """Whether its results are there."""
        future = self.future
        return future is not None and future.done() and not future.cancelled() and future.exception() is None


class _Workshop:
    """Chunks in the hands of worker processes, first in, first out."""

    def __init__(
        self,
        chunks: Iterator[_Chunk],
        settings: GraphSettings,
        num_workers: int,
        elements: Elements,
        bytes_ahead: int,
    ) -> None:
        self._chunks = chunks
        self._how = (settings, elements)
        self._num_workers = num_workers
        self._bytes_ahead = bytes_ahead
        self._tasks: deque[_Task] = deque()

    def results(self) -> Iterator[Built]:
        while True:
            try:
                with _pool(self._num_workers) as pool:
                    for task in self._tasks:
                        self._submit(task, pool)
                    while first := self._first(pool):
                        results = first.wait()
                        self._tasks.popleft()
                        yield from results
                return
            except BrokenProcessPool:  # a text has killed its worker: find out which, then go on
                yield from self._without_pool()

    def _first(self, pool: ProcessPoolExecutor) -> _Task | None:
        """The task whose results are due, once enough others are on their way; None at the end."""
        least = _CHUNKS_PER_WORKER * self._num_workers
        ahead = sum(task.num_bytes for task in self._tasks)
        while len(self._tasks) < least or ahead < self._bytes_ahead:
            chunk = next(self._chunks, None)
            if chunk is None:
                break
            self._tasks.append(_Task(chunk))
            ahead += self._tasks[-1].num_bytes
            self._submit(self._tasks[-1], pool)
        return self._tasks[0] if self._tasks else None

    def _submit(self, task: _Task, pool: ProcessPoolExecutor) -> None:
        with _interrupts_blocked():
            task.future = pool.submit(_build_chunk, task.chunk, *self._how)

    def _without_pool(self) -> Iterator[Built]:
        """Results of the tasks up to the last one that a worker can have held when the pool broke."""
        num_suspects = 2 * self._num_workers + 1  # a pool hands on one more than its workers take
        while num_suspects and self._tasks:
            task = self._tasks.popleft()
            if task.is_built():
                yield from task.wait()
            else:
                num_suspects -= 1
                yield from _build_suspects(task.chunk, *self._how)


def _build_suspects(chunk: _Chunk, settings: GraphSettings, elements: Elements) -> Iterator[Built]:
    """Build a chunk in a worker of its own; halve it until the text that kills its worker stands alone."""
    try:
        with _pool(1) as pool:
            results = pool.submit(_build_chunk, chunk, settings, elements).result()
    except BrokenProcessPool:
        if len(chunk) > 1:
            yield from _build_suspects(chunk[: len(chunk) // 2], settings, elements)
            yield from _build_suspects(chunk[len(chunk) // 2 :], settings, elements)
            return
        raw, digest = chunk[0]
        message = "the worker process died on it, perhaps for lack of memory"
        results = [
            Built(raw.material_id, digest, SkippedCrystal(raw.material_id, Reason.WORKER_CRASHED, message, raw.where))
        ]
    yield from results


def _build_chunk(chunk: _Chunk, settings: GraphSettings, elements: Elements) -> list[Built]:
    return [build_one(raw, digest, settings, elements) for raw, digest in chunk]


def _chunks(crystals: Iterator[Text]) -> Iterator[_Chunk]:
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
def _interrupts_blocked() -> Iterator[None]:
    """Hold Ctrl-C back: a process that starts meanwhile never sees one, not even before `_start_worker`."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


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
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=follow, daemon=True, name="follow parent").start()
