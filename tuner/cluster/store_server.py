"""The driver's store for the nodes of a cluster, through Ray: each node copies the file to its own disk once."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from graphdb.copies import CHUNK_BYTES, Server
from tuner.trials.interfaces import TrainerFactory

_KEPT_CHUNKS = 16


@runtime_checkable
class ReadsFile(Protocol):
    """A factory whose trainings may read a file of the driver's machine."""

    @property
    def file(self) -> Path | None:
        """The file; None if they need none."""
        ...

    def served_by(self, server: Server) -> TrainerFactory:
        """The same factory for other machines, which have the file from this server."""
        ...


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

    def read(self, offset: int, length: int) -> Any:
        """A chunk."""
        assert offset % CHUNK_BYTES == 0
        return self._ask(self._ask(self._actor.chunk.remote(offset // CHUNK_BYTES))[0])[:length]

    def sha256(self) -> str:
        """Of the whole file."""
        return str(self._ask(self._actor.sha256.remote()))

    def _ask(self, answer: Any) -> Any:
        try:
            return ray.get(answer)
        except RayError as error:
            raise OSError(f"the driver does not answer: {str(error).splitlines()[0]}") from error


class _FileServer:
    """Reads chunks of a file into the object store, where they stay until some others were asked for.

    Nodes that copy at the same time share the chunks: Ray hands each from node to node. So the driver's memory and
    network are asked for little more by many nodes than by one.
    """

    def __init__(self, path: str) -> None:
        self._file = Path(path).open("rb")  # noqa: SIM115 - as long as the actor
        self._size = Path(path).stat().st_size
        self._chunks: dict[int, Any] = {}
        self._lock = threading.Lock()
        self._digest = ""
        self._hashing = threading.Thread(target=self._hash, args=(path,), daemon=True)

    def size(self) -> int:
        """Of the file, in bytes; the checksum is begun, for it will be asked for when the copy is complete."""
        with self._lock:
            if self._hashing.ident is None:
                self._hashing.start()
        return self._size

    def chunk(self, index: int) -> list[Any]:
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
        self.size()
        self._hashing.join()
        return self._digest

    def _hash(self, path: str) -> None:
        with open(path, "rb") as file:
            self._digest = hashlib.file_digest(file, "sha256").hexdigest()
