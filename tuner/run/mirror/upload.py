"""Brings a bucket from one moment of a run to the next, step by step, so that every step leaves it whole."""

import hashlib
import json
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tuner.errors import SearchError
from tuner.run.mirror import objects
from tuner.run.mirror.bucket import AT_A_TIME, Bucket
from tuner.run.mirror.local import begins_with, comes_from, equals, write_owner
from tuner.run.mirror.objects import MANIFESTS, PARTS, WRITERS, Manifest, Part, size_of
from tuner.run.mirror.snapshot import OWN_FOLDER, Item, Snapshot, grows_only, identity_of

T = TypeVar("T")


class TakenOverError(Exception):
    """There is a later writer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Placed:
    """What the bucket has of a file."""

    identity: tuple[int, int]
    parts: tuple[Part, ...]


class Uploader:
    """The one writer of a mirrored run, unless a later one has come."""

    def __init__(self, bucket: Bucket, folder: Path) -> None:
        """Become the writer of a run that goes on from a local folder; a SearchError if the bucket is ahead of it."""
        self._bucket = bucket
        self._folder = folder
        before = objects.newest_manifest(bucket)
        if before is not None and not comes_from(folder, before):
            raise SearchError(
                f"the run in {bucket.uri} was written to by another search after {folder} was read from it; try again"
            )
        self.writer = objects.new_writer(objects.writers(bucket))
        write_owner(folder, writer=self.writer, base=before.name if before is not None else "")
        self._send_heartbeat(ended=False)
        self._check_writer()
        if objects.newest_manifest(bucket) != before:
            raise SearchError(f"another search writes to {bucket.uri} at this moment; try again when it has ended")
        # From here on no other writer removes a part: each looks for later writers between manifest and removal.
        self._before: dict[str, tuple[Part, ...]] | None = None
        self._placed = _already_there(folder, before) if before is not None else {}
        self._number = 0
        self._removable = {
            *(f"{PARTS}/{name}" for name in bucket.names(PARTS) if objects.writer_of_part(name) < self.writer),
            *(f"{MANIFESTS}/{name}" for name in bucket.names(MANIFESTS)),
            *(f"{WRITERS}/{name}.json" for name in objects.writers(bucket) if name < self.writer),
        }
        self.num_placed = 0
        """Files brought into the bucket so far."""

    def upload(self, snapshot: Snapshot, *, ended: bool = False) -> None:
        """Make the bucket hold this moment. After an error call again, with this or a later snapshot.

        Raises:
            TakenOverError: if there is a later writer; nothing that it uses has been touched.
        """
        self._check_writer()
        self._send_heartbeat(ended=False)
        with ThreadPoolExecutor(AT_A_TIME) as pool:
            self._make_hold(snapshot, pool)
        if ended:
            self._send_heartbeat(ended=True)

    def _make_hold(self, snapshot: Snapshot, pool: ThreadPoolExecutor) -> None:
        manifest = f"{self.writer}-{self._number + 1:08d}"
        _each(pool, lambda item: self._place(item, manifest), self.missing(snapshot))
        files = {path: self._placed[path].parts for path in snapshot.items if path in self._placed}
        if files == self._before:
            return
        self._put(f"{MANIFESTS}/{manifest}.json", objects.encode(Manifest(name=manifest, files=files)))
        self._number += 1
        self._before = files
        self._check_writer()
        needed = {
            f"{MANIFESTS}/{manifest}.json",
            *(f"{PARTS}/{part.name}" for parts in files.values() for part in parts),
        }
        _each(pool, self._bucket.delete, self._removable - needed)
        self._removable = needed
        self._placed = {path: placed for path, placed in self._placed.items() if path in files}

    def _put(self, name: str, content: bytes) -> None:
        self._removable.add(name)
        self._bucket.put(name, content)

    def withdraw(self) -> None:
        """Leave no trace of a search that never began."""
        with suppress(OSError):
            self._bucket.delete(f"{WRITERS}/{self.writer}.json")
        shutil.rmtree(self._folder / OWN_FOLDER, ignore_errors=True)

    def missing(self, snapshot: Snapshot) -> list[Item]:
        """Files that the bucket does not hold as they were."""
        return [item for item in snapshot.items.values() if not self._holds(item)]

    def _holds(self, item: Item) -> bool:
        placed = self._placed.get(item.path)
        return placed is not None and placed.identity == item.identity and size_of(placed.parts) == item.size

    def _place(self, item: Item, manifest: str) -> None:
        placed = self._placed.get(item.path)
        kept: Sequence[Part] = ()
        if item.grows and placed is not None and placed.identity == item.identity:
            kept = placed.parts if size_of(placed.parts) <= item.size else ()
        content = _read(item, size_of(kept))
        if kept and not content:
            return
        while kept and kept[-1].size <= len(content):  # a number of parts that grows with the logarithm
            content = _read(item, size_of(kept[:-1]))
            kept = kept[:-1]
        start = size_of(kept)
        name = objects.part_name(item.path, manifest, start, start + len(content))
        part = Part(name=name, size=len(content), sha256=hashlib.sha256(content).hexdigest())
        self._put(f"{PARTS}/{name}", content)
        self._placed[item.path] = _Placed(identity=item.identity, parts=(*kept, part))
        self.num_placed += 1
        if not item.grows:
            item.content.unlink(missing_ok=True)

    def _send_heartbeat(self, *, ended: bool) -> None:
        content = {"host": socket.gethostname(), "process": os.getpid(), "time": round(time.time()), "ended": ended}
        self._bucket.put(f"{WRITERS}/{self.writer}.json", json.dumps(content).encode())

    def _check_writer(self) -> None:
        latest = max(objects.writers(self._bucket), default=self.writer)
        if latest > self.writer:
            raise TakenOverError(objects.process_of(objects.read_heartbeat(self._bucket, latest)))


def _each(pool: ThreadPoolExecutor, do: Callable[[T], None], things: Iterable[T]) -> None:
    """Do it for all; the first error ends it, without an attempt at those that have not begun."""
    futures = [pool.submit(do, thing) for thing in things]
    try:
        for future in futures:
            future.result()
    finally:
        for future in futures:
            future.cancel()


def _already_there(folder: Path, manifest: Manifest) -> dict[str, _Placed]:
    found = {}
    for path, parts in manifest.files.items():
        grows = grows_only(path)
        if (begins_with if grows else equals)(folder / path, parts):
            found[path] = _Placed(identity=identity_of((folder / path).stat(), grows), parts=tuple(parts))
    return found


def _read(item: Item, start: int) -> bytes:
    """Bytes of a file at the moment; of one that grows, whole lines only, since a torn line may be written anew."""
    with open(item.content, "rb") as file:
        file.seek(start)
        content = file.read(item.size - start)
    return content[: content.rfind(b"\n") + 1] if item.grows else content
