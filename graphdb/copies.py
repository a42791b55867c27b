"""Copies of stores on the local disk: LMDB maps its file into memory, which network file systems do slowly or wrongly.

One process fetches a copy while the others wait for it. It takes its name only when it is complete, checked and on the
disk; what an interruption left is gone on with, and begun afresh if it does not pass the check.
"""

import errno
import hashlib
import os
import re
import shutil
import tempfile
import urllib.parse
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from graphdb.errors import CorruptRecord, StoreError, first_line
from graphdb.files import hold, network_file_system, partial_path, sync_folder

CHUNK_BYTES = 16 * 2**20
"""A copy is read in pieces of this size, each from a multiple of it on."""

_PIECES_AHEAD = 4  # object storage gives a single reader a fraction of what the network bears
_SPARE_BYTES = 64 * 2**20

Say = Callable[[str], None]


class Origin(Protocol):
    """Where the bytes of a store come from. Whatever fails is an `OSError`."""

    @property
    def name(self) -> str:
        """For messages."""

    def version(self) -> tuple[int, str]:
        """Size in bytes, and a text that changes when the content does."""

    def read(self, offset: int, length: int) -> Any:
        """These bytes, as an object with the buffer interface; fewer at the end only. Called by several threads."""


class Server(Origin, Protocol):
    """A store's file on another machine of ours."""

    def sha256(self) -> str:
        """Checksum of the whole file."""


def is_uri(source: str) -> bool:
    """Whether a source is a URI (``s3://bucket/my.lmdb``) rather than a path."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", source) is not None


def absolute(source: str) -> str:
    """The same source for a process in another folder."""
    return source if is_uri(source) else str(Path(source).absolute())


def local_copy(source: str | os.PathLike[str], *, say: Say | None = None) -> Path:
    """The path of a store on a local disk: of the source itself if it lies on one, else of a copy.

    Args:
        source: path, or URI of a file system that pyarrow knows (``s3://``, ``gs://``, ``file://``, ...).
        say: told what is waited for.

    Raises:
        StoreError: if the source cannot be read or there is no room for it.
        CorruptRecord: if it is damaged.
    """
    text = os.fspath(source)
    path = _path_of(text)
    if path is not None and (not network_file_system(path) or not path.is_file()):
        return path  # what is no file, the store says best
    folder = cache_folder()
    for _ in range(3):
        with _as_store_error(text):
            origin: Origin = _Shared(path) if path is not None else _Remote(text)
            size, version = origin.version()
        key = hashlib.sha256(f"{text}\n{size}\n{version}".encode()).hexdigest()[:16]
        with suppress(_Changed):
            return fetch([origin], folder / f"{Path(origin.name).stem}-{key}.store", say=say)
    raise StoreError(f"{text} changes while it is copied; wait until it is complete, then run the command again")


def node_copy(path: Path, *, source: str, fingerprint: str, server: Server, say: Say | None = None) -> Path:
    """The path of a store on a local disk of this node, which is one of several that need the same store.

    Args:
        path: where the store lies on the server's machine; taken as it is if it lies there on this one, too.
        source: where the server's machine has it from; asked first if it is to be had on this machine.
        fingerprint: of the store.
        server: asked if the source is not.
        say: told what is waited for.

    Raises:
        StoreError: if the store cannot be had, or there is no room for it.
    """
    if not network_file_system(path) and _opens(path, fingerprint):
        return path
    origins: list[Origin] = [server]
    original = _path_of(source)
    with suppress(OSError, StoreError):
        if original is None or network_file_system(original):
            shared: Origin = _Remote(source) if original is None else _Shared(original)
            if shared.version()[0] == server.version()[0]:
                origins.insert(0, shared)
    target = cache_folder() / f"{fingerprint[:32]}.store"
    return fetch(origins, target, fingerprint=fingerprint, sha256=server.sha256, say=say)


def fetch(
    origins: Sequence[Origin],
    target: Path,
    *,
    fingerprint: str | None = None,
    sha256: Callable[[], str] | None = None,
    say: Say | None = None,
) -> Path:
    """A copy of a store under this name, unless it is there already.

    Args:
        origins: of the same store; the next one is asked when one fails.
        target: where the copy shall lie.
        fingerprint: that the store must have; None takes any.
        sha256: gives the checksum of the whole file, asked for when it was copied; None checks every record against
            the store's own fingerprint instead, which takes ten times as long.
        say: told what is waited for.

    Returns:
        `target`.

    Raises:
        StoreError: if no origin gives the store, or there is no room for it.
        CorruptRecord: if what an origin gives is damaged.
    """
    say = say or (lambda text: None)
    with _as_store_error(str(target.parent)):
        target.parent.mkdir(parents=True, exist_ok=True)
    with _alone(target, say):
        if _opens(target, fingerprint):
            return target
        problems: list[StoreError] = []
        for origin in origins:
            try:
                return _copy(origin, target, fingerprint, sha256, say)
            except StoreError as error:
                problems.append(error)
        raise problems[0] if len(problems) == 1 else StoreError("; ".join(map(str, problems)))


def cache_folder() -> Path:
    """The folder for copies, on a local disk.

    $CRYSTUNE_CACHE, else ``crystune/stores`` in the user's cache folder, or in the temporary folder where that one is
    shared between machines or cannot be written.

    Raises:
        StoreError: if none can be written and is on a local disk.
    """
    override = os.environ.get("CRYSTUNE_CACHE")
    if override:
        folders = [Path(override)]
    else:
        folders = [Path(tempfile.gettempdir()) / f"crystune-{os.getuid()}" / "stores"]
        with suppress(RuntimeError):  # a user without a home, as in some containers
            home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
            folders.insert(0, Path(home) / "crystune" / "stores")
    problems = []
    for folder in folders:
        if kind := network_file_system(folder):
            problems.append(f"{folder} is on a network file system ({kind})")
            continue
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                return folder
        except OSError as error:
            problems.append(f"{folder}: {error.strerror}")
    raise StoreError(
        f"copies of stores need a folder on a local disk, but {'; '.join(problems)}; set CRYSTUNE_CACHE to one"
    )


class _Shared:
    """A file in a folder that several machines share."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._path = path

    def version(self) -> tuple[int, str]:
        status = self._path.stat()
        return status.st_size, str(status.st_mtime_ns)

    def read(self, offset: int, length: int) -> bytes:
        with self._path.open("rb") as file:
            file.seek(offset)
            return file.read(length)


class _Remote:
    """A file in object storage."""

    def __init__(self, uri: str) -> None:
        self.name = uri
        self._system, self._path = _file_system(uri)
        self._file: Any = None

    def version(self) -> tuple[int, str]:
        info = self._system.get_file_info(self._path)
        if not info.is_file:
            raise FileNotFoundError(errno.ENOENT, "there is no such file")
        return info.size, str(info.mtime_ns)

    def read(self, offset: int, length: int) -> Any:
        if self._file is None:
            self._file = self._system.open_input_file(self._path)
        return self._file.read_at(length, offset)


class _Changed(StoreError):
    """The origin is not what it was when the copy began."""


def _path_of(source: str) -> Path | None:
    """The path that a source is; None for a URI of another machine."""
    if not is_uri(source):
        return Path(source)
    parts = urllib.parse.urlsplit(source)
    return Path(urllib.parse.unquote(parts.path)) if parts.scheme == "file" else None


def _file_system(uri: str) -> tuple[Any, str]:
    try:
        from pyarrow.fs import FileSystem
    except ImportError as error:
        raise StoreError(f"{uri} is read with pyarrow, which is not installed: pip install pyarrow") from error
    try:
        return FileSystem.from_uri(uri)  # type: ignore[no-any-return]
    except (ValueError, OSError) as error:
        raise StoreError(
            f"a store must be a path or a URI such as s3://bucket/my.lmdb, got {uri}: {_reason(error)}"
        ) from error


def _copy(origin: Origin, target: Path, fingerprint: str | None, sha256: Callable[[], str] | None, say: Say) -> Path:
    partial = partial_path(target)
    problem: StoreError | None = None
    for _ in range(2):  # what an interruption left may be bad; then once more from the beginning
        found = _fill(origin, partial, say)
        problem = _fault(partial, found, fingerprint, sha256)
        if problem is None:
            os.replace(partial, target)
            sync_folder(target.parent)
            return target
        partial.unlink()
    raise CorruptRecord(f"what {origin.name} gives is not the store that was asked for: {problem}") from problem


def _fill(origin: Origin, partial: Path, say: Say) -> str:
    """Complete the partial file, bring it to the disk, and return the SHA-256 of it all."""
    digest = hashlib.sha256()
    with _as_store_error(origin.name):
        size, version = origin.version()
    try:
        handle = partial.open("r+b" if partial.exists() else "w+b")
        with handle as file:
            have = partial.stat().st_size
            have = 0 if have > size else have - have % CHUNK_BYTES
            _check_room(partial, size - have, origin.name)
            say(f"copying {origin.name} ({_amount(size)}) to {partial.parent}" + (", going on" if have else ""))
            file.truncate(have)
            for _ in range(0, have, CHUNK_BYTES):
                digest.update(file.read(CHUNK_BYTES))
            for offset, piece in _pieces(origin, have, size):
                if len(memoryview(piece)) != min(CHUNK_BYTES, size - offset):
                    raise _Changed(f"{origin.name} became shorter while it was copied")
                file.write(piece)
                digest.update(piece)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        if error.errno == errno.ENOSPC:
            partial.unlink(missing_ok=True)
        raise StoreError(
            f"{origin.name} could not be copied to {partial.parent}: {_reason(error)}"
            + ("; what was copied is kept" if partial.exists() else "")
        ) from error
    with _as_store_error(origin.name):
        changed = origin.version() != (size, version)
    if changed:
        partial.unlink()
        raise _Changed(f"{origin.name} changed while it was copied")
    return digest.hexdigest()


def _pieces(origin: Origin, start: int, stop: int) -> Iterator[tuple[int, Any]]:
    """The bytes from start to stop, piece by piece; a few pieces are asked for ahead."""
    pool = ThreadPoolExecutor(_PIECES_AHEAD, thread_name_prefix="copy")
    asked: deque[tuple[int, Future[Any]]] = deque()
    try:
        for offset in range(start, stop, CHUNK_BYTES):
            asked.append((offset, pool.submit(origin.read, offset, min(CHUNK_BYTES, stop - offset))))
            if len(asked) == _PIECES_AHEAD:
                first, piece = asked.popleft()
                yield first, piece.result()
        while asked:
            first, piece = asked.popleft()
            yield first, piece.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _fault(path: Path, found: str, fingerprint: str | None, sha256: Callable[[], str] | None) -> StoreError | None:
    """What is wrong with a complete copy."""
    from graphdb.store import Store

    try:
        if sha256 is not None and (wanted := sha256()) != found:
            return CorruptRecord(f"its SHA-256 must be {wanted[:16]}..., got {found[:16]}...")
        with Store(path) as store:
            if fingerprint is not None and store.fingerprint != fingerprint:
                return StoreError(f"its fingerprint must be {fingerprint[:16]}, got {store.fingerprint[:16]}")
            if sha256 is None:
                store.verify()
    except StoreError as error:
        return error
    return None


def _opens(path: Path, fingerprint: str | None) -> bool:
    from graphdb.store import Store

    if not path.exists():
        return False
    try:
        with Store(path) as store:
            return fingerprint is None or store.fingerprint == fingerprint
    except (StoreError, OSError):
        return False


def _check_room(partial: Path, needed: int, name: str) -> None:
    free = shutil.disk_usage(partial.parent).free
    if needed + _SPARE_BYTES > free:
        raise StoreError(
            f"a copy of {name} needs {_amount(needed + _SPARE_BYTES)} in {partial.parent}, but {_amount(free)} are "
            "free; delete copies of other stores there, or set CRYSTUNE_CACHE to a folder on a larger local disk"
        )


@contextmanager
def _alone(target: Path, say: Say) -> Iterator[None]:
    """Hold the lock of a copy; the kernel ends it with this process, however that ends."""
    path = target.with_name(target.name + ".lock")
    with _as_store_error(str(target.parent)):
        file = hold(path)
        if file is None:
            say(f"waiting for another process that copies to {target}")
            file = hold(path, wait=True)
    assert file is not None  # it waited
    with file:
        yield


@contextmanager
def _as_store_error(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"{name} cannot be used: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or first_line(error)


def _amount(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.0f} MB"
