"""The driver's store for the nodes of a cluster, through Ray: each node copies the file to its own disk once."""

import hashlib
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
import ray
from numpy.typing import NDArray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from graphdb.copies import CHUNK_BYTES, Server
from graphdb.errors import first_line
from tuner.protocol import TrainerFactory

T = TypeVar("T")
_KEPT_CHUNKS = 16


@runtime_checkable
class ReadsFile(Protocol):
    """A factory whose trainings may read a file of the driver's machine."""

    @property
    def file(self) -> Path | None:
        """The file; None if they need none."""

    def served_by(self, server: Server) -> TrainerFactory:
        """The same factory for other machines, which have the file from this server."""


@contextmanager
def served(factory: TrainerFactory) -> Iterator[TrainerFactory]:
    """The factory in a form whose trainings can be built on every node of the running Ray, as long as this lasts."""
    if not isinstance(factory, ReadsFile) or factory.file is None:
        yield factory
        return
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    server: Any = ray.remote(_FileServer)
    actor = server.options(num_cpus=0, max_concurrency=8, scheduling_strategy=here).remote(str(factory.file))
    try:
        yield factory.served_by(DriverFile(actor))
    finally:
        ray.kill(actor)


class DriverFile:
    """A file of the driver's machine as seen from a node; a `graphdb.copies.Server`."""

    name = "the driver's store"

    def __init__(self, actor: Any) -> None:
        """Read through this `_FileServer`."""
        self._actor = actor

    def version(self) -> tuple[int, str]:
        """Size, and nothing else: the server keeps the file open, so that it cannot change."""
        return self._ask(self._actor.size.remote()), ""

    def read(self, offset: int, length: int) -> NDArray[np.uint8]:
        """A chunk."""
        assert offset % CHUNK_BYTES == 0
        (reference,) = self._ask(self._actor.chunk.remote(offset // CHUNK_BYTES))
        chunk: NDArray[np.uint8] = self._ask(reference)
        return chunk[:length]

    def sha256(self) -> str:
        """Of the whole file."""
        return str(self._ask(self._actor.sha256.remote()))

    def _ask(self, answer: "ray.ObjectRef[T]") -> T:
        try:
            return ray.get(answer)
        except RayError as error:
            raise OSError(f"the driver does not answer: {first_line(error)}") from error


class _FileServer:
    """Reads chunks of a file into the object store, where they stay until some others were asked for.

    Nodes that copy at the same time share the chunks: Ray sends each from node to node. So many nodes take little more
    of the driver's memory and network than one does.
    """

    def __init__(self, path: str) -> None:
        self._file = Path(path).open("rb")  # noqa: SIM115 - as long as the actor
        self._path = path
        self._size = Path(path).stat().st_size
        self._chunks: dict[int, ray.ObjectRef[NDArray[np.uint8]]] = {}
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(1)
        self._digest: Future[str] | None = None

    def size(self) -> int:
        """Of the file, in bytes; the checksum is begun, for it will be asked for when the copy is complete."""
        self._checksum()
        return self._size

    def chunk(self, index: int) -> "list[ray.ObjectRef[NDArray[np.uint8]]]":
        """A reference to a chunk; in a list, or else Ray would send the chunk itself."""
        with self._lock:
            if index not in self._chunks:
                while len(self._chunks) >= _KEPT_CHUNKS:
                    del self._chunks[next(iter(self._chunks))]
                self._file.seek(index * CHUNK_BYTES)
                self._chunks[index] = ray.put(np.fromfile(self._file, np.uint8, CHUNK_BYTES))
            return [self._chunks[index]]

    def sha256(self) -> str:
        """Of the whole file."""
        return self._checksum().result()

    def _checksum(self) -> Future[str]:
        with self._lock:
            self._digest = self._digest or self._pool.submit(_sha256_of, self._path)
            return self._digest


def _sha256_of(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
