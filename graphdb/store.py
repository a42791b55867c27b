"""The store: one LMDB file that holds the graphs and targets of a data set. The only file that imports lmdb.

A finished store never changes: a build writes a new file and renames it into place. So a reader needs no locks, works
on read-only media, and as many processes as you like may read at once. Keys and values stand in docs/data-format.md.
"""

import contextlib
import hashlib
import json
import os
import shlex
import warnings
import weakref
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import lmdb
import numpy as np
from numpy.typing import NDArray

from graphdb.codec import (
    BLOCK_SIZE,
    FlatBuilder,
    block_records,
    decode_column,
    decode_graph,
    decode_graphs,
    record_sizes,
)
from graphdb.command import invocation
from graphdb.errors import (
    CorruptRecord,
    Reason,
    SettingsMismatch,
    SkippedCrystal,
    StoreError,
    StoreUnfinished,
    StoreVersionMismatch,
)
from graphdb.files import is_held, network_file_system, partial_path
from graphdb.fingerprint import FORMAT_VERSION, GraphsHash, targets_fingerprint
from graphdb.graph import CrystalGraph, FlatGraphs
from graphdb.graphsettings import GraphSettings
from graphdb.shapes import Float, Int

FORMAT_NAME = "crystune graphs"
META_KEY = b"meta"
_MAGIC = 0xBEEFC0DE
"""Of LMDB's files."""
_AT_ONCE = 16 * BLOCK_SIZE
"""Records that are decoded at a time: as fast as more, in a few megabytes."""
_AGAIN = "copy it again, or build it again with --overwrite"
_FIRST_MAP_BYTES = 64 * 2**20
#: Checking LMDB's own pages takes 4 ms for 30,000 crystals; for stores above this size it is left to `Store.verify`.
_QUICKLY_CHECKED_BYTES = 2**30


@dataclass(frozen=True, slots=True)
class Property:
    """One column of targets, in numbers.

    Attributes:
        unit: empty if unknown.
        count: crystals for which it is known.
        minimum: smallest value, in the unit; nan if the column is empty.
        maximum: largest.
        mean: over the known ones.
    """

    unit: str
    count: int
    minimum: float
    maximum: float
    mean: float


def block_key(number: int) -> bytes:
    """Key of a block of `BLOCK_SIZE` graphs; keys sort as numbers do."""
    return b"block" + number.to_bytes(4, "big")


def target_key(name: str) -> bytes:
    """Key of a column of targets; names of any length fit LMDB's keys of at most 511 bytes."""
    return b"target " + hashlib.blake2b(name.encode(), digest_size=16).hexdigest().encode()


def open_writable(path: Path, *, durable: bool) -> Any:
    """An LMDB file to write to; the caller makes sure that nobody else does.

    Args:
        path: created if absent.
        durable: a commit survives a power failure, not just the end of the process.
    """
    try:
        return lmdb.open(
            str(path), subdir=False, lock=False, map_size=_FIRST_MAP_BYTES, sync=durable, readahead=False, mode=0o644
        )
    except lmdb.Error as error:
        raise StoreError(f"cannot write {path}: {error}; delete it, make room, or choose another STORE") from error


def write_items(env: Any, items: Sequence[tuple[bytes, bytes]], *, append: bool = False) -> None:
    """Write items in one transaction; the map doubles until they fit (the file itself grows by what is written).

    Raises:
        StoreError: if the disk is full or fails.
    """
    while True:
        try:
            with env.begin(write=True) as txn:
                for key, value in items:
                    txn.put(key, value, append=append)
            return
        except lmdb.MapFullError:
            env.set_mapsize(2 * env.info()["map_size"])
        except lmdb.Error as error:  # such as a full disk
            raise StoreError(f"cannot write {env.path()}: {error}; make room, or choose another STORE") from error


def iterate(env: Any, prefix: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Items whose key begins with the prefix, ascending by key; a value is valid until the next one is asked for."""
    with env.begin(buffers=True) as txn, txn.cursor() as cursor:
        found = cursor.set_range(prefix)
        while found and bytes(cursor.key()).startswith(prefix):
            yield bytes(cursor.key()), cursor.value()
            found = cursor.next()


class Store:
    """Read access to a finished store; picklable, and safe to use after a fork.

    The file is opened once per process, on first use. Crystals are addressed by their position 0 to N - 1 in the order
    of `material_ids`, which are sorted.
    """

    def __init__(self, path: str | os.PathLike[str], *, expected: GraphSettings | None = None) -> None:
        """Open a store.

        Args:
            path: the file that `graphdb.build` wrote.
            expected: the graph settings that the caller needs; None takes any.

        Raises:
            StoreUnfinished: if its build was interrupted.
            StoreVersionMismatch: if it has another format version.
            SettingsMismatch: if its graph settings are not the expected ones.
            CorruptRecord: if the file is cut off or damaged.
            StoreError: if there is no store at that path.
        """
        self.path = Path(path)
        self._handle: _Handle | None = None
        meta = self._read_meta()
        self.settings = GraphSettings.from_dict(meta["settings"])
        if expected is not None and (differences := expected.differences(self.settings)):
            self.close()
            raise SettingsMismatch(
                f"the graphs of {self.path} are not the ones needed: {'; '.join(differences)} (needed, not stored); "
                "build a store with the settings needed, or use a model that was trained on such graphs"
            )
        self.fingerprint: str = meta["fingerprint"]
        self.graphs_fingerprint: str = meta["graphs_fingerprint"]
        self.created_by: dict[str, str] = meta["created_by"]
        self.num_skipped: dict[str, int] = meta["num_skipped"]
        self.num_noted: dict[str, int] = meta.get("num_noted", {})
        self._num_crystals: int = meta["num_crystals"]
        self.properties: dict[str, Property] = {
            name: Property(
                unit=entry["unit"],
                count=entry["count"],
                minimum=_number(entry["minimum"]),
                maximum=_number(entry["maximum"]),
                mean=_number(entry["mean"]),
            )
            for name, entry in meta["properties"].items()
        }
        self._material_ids: tuple[str, ...] | None = None
        self._sizes: NDArray[np.int32] | None = None

    def __len__(self) -> int:
        """Number of crystals."""
        return self._num_crystals

    @property
    def material_ids(self) -> tuple[str, ...]:
        """The N ids, sorted."""
        if self._material_ids is None:
            text = bytes(self._column(b"ids")).decode()
            self._material_ids = tuple(text.split("\n")) if text else ()
        return self._material_ids

    @property
    def sizes(self) -> Int[NDArray[np.int32], "crystals 3"]:
        """Atoms in the cell, nodes and edges of each crystal's graph."""
        if self._sizes is None:
            self._sizes = np.frombuffer(self._column(b"sizes"), "<i4").astype(np.int32).reshape(-1, 3)
        return self._sizes

    @property
    def bytes_in_memory(self) -> int:
        """What `loader.InMemoryGraphs` would take, without reading a graph: per node, edge and crystal."""
        _, nodes, edges = self.sizes.sum(axis=0, dtype=np.int64).tolist()
        return int(13 * nodes + 16 * edges + (28 + 4 * len(self.properties)) * len(self))

    @property
    def num_nodes(self) -> Int[NDArray[np.int32], " crystals"]:
        """Nodes of each crystal's graph."""
        return self.sizes[:, 1]

    def graph(self, index: int) -> CrystalGraph:
        """The graph of one crystal.

        Raises:
            IndexError: if there is no such crystal.
            CorruptRecord: if its bytes have changed on disk.
        """
        return decode_graph(self._record(index))

    def graphs(self, indices: Iterable[int] | None = None) -> Iterator[CrystalGraph]:
        """Graphs one after the other; of all crystals unless indices are given."""
        return (self.graph(int(index)) for index in (range(len(self)) if indices is None else indices))

    def flat(self, indices: Sequence[int] | NDArray[np.integer[Any]] | None = None) -> FlatGraphs:
        """Graphs end to end in memory, in the order of the indices; all of them (0.2 s for 30,000) without.

        A range of steps of 1 is read as fast as all, a block of the file at a time.

        Raises:
            IndexError: if there is no such crystal.
            CorruptRecord: if bytes have changed on disk.
        """
        if indices is None:
            indices = range(len(self))
        if isinstance(indices, range) and indices.step == 1:
            builder = FlatBuilder(self.sizes[indices.start : indices.stop])
            for start in range(indices.start, indices.stop, _AT_ONCE):
                builder.add(self._records_between(start, min(start + _AT_ONCE, indices.stop)))
            return builder.finish()
        return decode_graphs([self._record(int(index)) for index in indices])

    def targets(self, names: Sequence[str]) -> Float[NDArray[np.float64], "crystals tasks"]:
        """Targets in their units, nan where unknown.

        Raises:
            StoreError: if the store has no such property.
        """
        for name in names:
            if name not in self.properties:
                known = ", ".join(self.properties) or "none"
                raise StoreError(f"tasks must be properties of {self.path} ({known}), got {name!r}")
        columns = [np.frombuffer(self._column(target_key(name)), "<f8") for name in names]
        return np.stack(columns, axis=1).astype(np.float64) if columns else np.empty((len(self), 0))

    def digests(self) -> list[bytes]:
        """For each crystal the 16-byte digest of the text that it was built from."""
        data = bytes(self._column(b"digests"))
        return [data[i : i + 16] for i in range(0, len(data), 16)]

    def skipped(self) -> list[tuple[SkippedCrystal, bytes]]:
        """What the build left out or noted, with the digest of its text (empty for what was never parsed)."""
        entries = json.loads(bytes(self._column(b"skipped")))
        return [(SkippedCrystal(id, Reason(reason), note, at), bytes.fromhex(d)) for id, reason, note, at, d in entries]

    def raw_records(self) -> Iterator[bytes]:
        """Each crystal's record as `codec.encode_graph` gave it."""
        for number in range(-(-len(self) // BLOCK_SIZE)):
            for record in self._records(number):
                yield bytes(record)

    def verify(self) -> None:
        """Read and check everything, fingerprints included.

        Raises:
            CorruptRecord: if a byte has changed.
        """
        _check_pages(self.path)
        graphs = GraphsHash(self.settings)
        sizes = self.sizes
        for index, (material_id, record) in enumerate(zip(self.material_ids, self.raw_records(), strict=True)):
            graphs.add(material_id, record)
            if record_sizes(record) != tuple(sizes[index]):
                raise CorruptRecord(f"the sizes of crystal {index} ({material_id}) disagree with its record")
        columns = {name: self.targets([name])[:, 0] for name in self.properties}
        units = {name: entry.unit for name, entry in self.properties.items()}
        self.digests()
        self.skipped()
        if graphs.hexdigest() != self.graphs_fingerprint or self.fingerprint != targets_fingerprint(
            self.graphs_fingerprint, columns, units
        ):
            raise CorruptRecord(
                f"the content of {self.path} does not have the fingerprint it was built with; rebuild it"
            )

    def close(self) -> None:
        """Let go of the file; using the store again opens it again."""
        self._handle = None

    def __enter__(self) -> Self:
        """Return the store itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the handle: the other process opens its own."""
        return {**self.__dict__, "_handle": None, "_material_ids": None, "_sizes": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take the fields over, and make sure that the file is still the same store."""
        self.__dict__.update(state)
        if (found := self._read_meta()["fingerprint"]) != self.fingerprint:
            raise StoreError(
                f"{self.path} was replaced meanwhile: fingerprint {self.fingerprint[:16]} became {found[:16]}"
            )

    def _transaction(self) -> Any:
        """The read transaction of this process."""
        if self._handle is None:
            self._handle = _shared_handle(self.path)
        return self._handle.transaction

    def _get(self, key: bytes) -> memoryview | None:
        try:
            value: memoryview | None = self._transaction().get(key)
        except lmdb.Error as error:
            raise CorruptRecord(f"{self.path} is damaged ({error}); {_AGAIN}") from error
        return value

    def _column(self, key: bytes) -> memoryview:
        value = self._get(key)
        if value is None:
            raise self._lacks(key.decode())
        with self._naming_the_file():
            return decode_column(value, key)

    def _record(self, index: int) -> memoryview:
        if not 0 <= index < self._num_crystals:
            raise IndexError(f"index must be in 0 to {self._num_crystals - 1}, got {index} ({self.path})")
        number, position = divmod(index, BLOCK_SIZE)
        return self._records(number, range(position, position + 1))[0]

    def _records(self, number: int, which: range | None = None) -> list[memoryview]:
        first = number * BLOCK_SIZE
        block = self._get(block_key(number))
        if block is None:
            raise self._lacks(f"block {number}")
        with self._naming_the_file():
            return block_records(block, first, min(BLOCK_SIZE, self._num_crystals - first), which)

    def _records_between(self, start: int, stop: int) -> list[memoryview]:
        if not 0 <= start <= stop <= self._num_crystals:
            raise IndexError(f"indices must be in 0 to {self._num_crystals - 1}, got {start} to {stop} ({self.path})")
        records: list[memoryview] = []
        for first in range(start - start % BLOCK_SIZE, stop, BLOCK_SIZE):
            which = range(max(start - first, 0), min(stop - first, BLOCK_SIZE))
            records += self._records(first // BLOCK_SIZE, which)
        return records

    def _lacks(self, entry: str) -> StoreVersionMismatch:
        """For a file whose pages are sound and whose description is whole: no damage takes single entries away."""
        return StoreVersionMismatch(
            f"{self.path} lacks the entry {entry!r} of format version {FORMAT_VERSION}: another version of crystune "
            f"wrote it; build it again ({_build_command(self.path)} --overwrite)"
        )

    @contextlib.contextmanager
    def _naming_the_file(self) -> Iterator[None]:
        try:
            yield
        except CorruptRecord as error:
            if str(self.path) in str(error):
                raise
            raise CorruptRecord(f"{self.path}: {error}; {_AGAIN}") from error

    def _read_meta(self) -> dict[str, Any]:
        value = self._get(META_KEY)
        if value is None:
            self.close()
            raise StoreError(
                f"{self.path} is an LMDB file, but no store of graphs: it has no entry {META_KEY.decode()!r}"
            )
        try:
            meta: dict[str, Any] = json.loads(bytes(value[8:]))
            version, name = meta["format_version"], meta["format"]
        except (ValueError, KeyError, TypeError) as error:
            self._column(META_KEY)  # a damaged entry says so
            raise StoreError(f"{self.path} is an LMDB file, but no store of graphs") from error
        if name != FORMAT_NAME or version != FORMAT_VERSION:
            self.close()
            raise StoreVersionMismatch(
                f"the format must be {FORMAT_NAME!r} version {FORMAT_VERSION}, got {name!r} version {version} "
                f"({self.path}); build the store again with this crystune ({_build_command(self.path)} --overwrite), "
                "or read it with the version that wrote it"
            )
        self._column(META_KEY)
        if not meta["finished"]:
            self.close()
            raise StoreUnfinished(
                f"{self.path} is the work of an unfinished build: run {invocation('graphdb.build')} again, it goes on"
            )
        return meta


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


class _Handle:
    """An open environment with its read transaction; closed when the last store lets go of it.

    LMDB asks that an environment is not used after a fork, for the sake of its lock file and its table of readers.
    Opened read-only and without locks it has neither: what a child inherits is a mapping of a file that never changes,
    and it may read on and close its own copy (tests/graphdb/test_store.py does, under fork and spawn).
    """

    def __init__(self, path: Path) -> None:
        self.environment = _open_readonly(path)
        self.transaction = self.environment.begin(buffers=True)

    def __del__(self) -> None:
        if hasattr(self, "transaction"):
            self.transaction.abort()
            self.environment.close()


# A process must not open a file twice, says LMDB: stores of the same file share what is open.
_open_handles: weakref.WeakValueDictionary[tuple[int, int], _Handle] = weakref.WeakValueDictionary()


def _shared_handle(path: Path) -> _Handle:
    """The handle of this process for a file, told by its inode: a file that was replaced is another one."""
    _check_is_store_file(path)
    status = path.stat()
    key = (status.st_dev, status.st_ino)
    handle = _open_handles.get(key)
    if handle is None:
        handle = _open_handles[key] = _Handle(path)
    return handle


def _build_command(path: Path) -> str:
    return f"{invocation('graphdb.build')} SOURCE {shlex.quote(str(path))}"


def _check_is_store_file(path: Path) -> None:
    if not path.exists():
        if partial_path(path).exists():
            if is_held(partial_path(path)):
                raise StoreUnfinished(f"{path} is not finished: its build is running; wait for it")
            raise StoreUnfinished(
                f"{path} is not finished: its build was interrupted; run {invocation('graphdb.build')} again with the "
                "same arguments, it goes on where it stopped"
            )
        raise StoreError(f"there is no store at {path}; {_build_command(path)} makes one")
    if path.is_dir():
        raise StoreError(f"a store is a file, {path} is a folder; is it the SOURCE of {invocation('graphdb.build')}?")


def is_lmdb_file(path: Path) -> bool:
    """Whether a file begins as LMDB writes it: a page's header, then the magic number."""
    with path.open("rb") as stream:
        return stream.read(20)[16:] in (_MAGIC.to_bytes(4, "little"), _MAGIC.to_bytes(4, "big"))


def _open_readonly(path: Path) -> Any:
    """Open a file for reading without locks; whatever is wrong with it is told in a sentence."""
    with path.open("rb") as stream:
        if stream.read(1) == b"":
            raise StoreError(f"{path} is empty: no store of graphs; {_build_command(path)} makes one")
    if not is_lmdb_file(path):
        raise StoreError(
            f"{path} is no store of graphs, but a file of another kind; "
            f"{invocation('graphdb.build')} SOURCE STORE makes a store"
        )
    if kind := network_file_system(path):
        warnings.warn(
            f"{path} lies on a network file system ({kind}): copy it to a local disk, LMDB is slow and unsafe on such",
            stacklevel=3,
        )
    _check_pages(path, unless_larger_than=_QUICKLY_CHECKED_BYTES)
    try:
        env = lmdb.open(str(path), subdir=False, readonly=True, lock=False, create=False, readahead=True)
    except lmdb.VersionMismatchError as error:
        raise StoreVersionMismatch(f"{path} was written by another major version of LMDB: {error}") from error
    except lmdb.Error as error:
        raise CorruptRecord(f"{path} is damaged ({error}); {_AGAIN}") from error
    # A page beyond the end of a mapped file kills the process (SIGBUS): look before touching any.
    needed = (env.info()["last_pgno"] + 1) * env.stat()["psize"]
    if path.stat().st_size < needed:
        env.close()
        raise CorruptRecord(f"{path} is cut off: {path.stat().st_size:,} bytes of {needed:,}; {_AGAIN}")
    return env


def _check_pages(path: Path, *, unless_larger_than: int | None = None) -> None:
    """Check the pages of the file before LMDB trusts them: a damaged one can kill the process.

    Raises:
        CorruptRecord: if a page is damaged.
        StoreError: if it is no LMDB file at all.
    """
    if unless_larger_than is not None and path.stat().st_size > unless_larger_than:
        return
    try:
        from lmdb.verify import VerifyError, verify
    except ImportError:  # before lmdb 3
        return
    try:
        problems: list[str] = verify(str(path), subdir=False)  # type: ignore[no-untyped-call]
    except VerifyError as error:
        raise CorruptRecord(f"{path} is damaged ({error}); {_AGAIN}") from error
    if problems:
        raise CorruptRecord(f"{path} is damaged ({problems[0]}); {_AGAIN}")
