"""The files of a run at one moment, kept while they are uploaded although the search goes on changing them.

Files that only grow are kept by their size. All others are replaced as a whole by whoever writes them, so that a hard
link keeps the old content at no cost.
"""

import math
import os
import shutil
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tuner.run.trial_folder import STATE

OWN_FOLDER = ".mirror"
STATE_BYTES_PER_SNAPSHOT = 250_000_000
"""States taken anew in a snapshot. More of them take turns: an older one costs epochs trained again, no more."""
_LEFT_OUT = ("report",)
"""Beside hidden names: what tuner.report writes anew from the rest."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """A file at the moment."""

    path: str
    size: int
    identity: tuple[int, int]
    """Of the content: inode and time of change for a file that is replaced; inode alone (and 0) for one that grows."""
    grows: bool
    content: Path
    """Where to read it, up to `size`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """All files."""

    items: Mapping[str, Item]
    last_link: int
    """Links made later belong to later snapshots."""


class Snapshotter:
    """Takes snapshots of a folder, between two steps of the one thread that writes there."""

    def __init__(self, folder: Path) -> None:
        """Prepare a place for links beside the files of a run."""
        self._folder = folder
        self._spool = folder / OWN_FOLDER / "spool"
        shutil.rmtree(self._spool, ignore_errors=True)
        self._spool.mkdir(parents=True, exist_ok=True)
        self._last: Mapping[str, Item] = {}
        self._links = 0
        self._turn = 0
        self._turns = 1

    def take(self, *, all_states: bool = False) -> Snapshot:
        """Note all sizes, and link what was replaced since the last time.

        Args:
            all_states: take every state anew, however many: nothing will be taken after this.
        """
        items = {}
        self._turn += 1
        for path, found in _files(self._folder):
            grows = grows_only(path)
            identity = identity_of(found, grows)
            before = self._last.get(path)
            if before is not None and (
                (before.identity == identity and before.size == found.st_size)
                or (_is_state(path) and not all_states and not self._has_its_turn(path))
            ):
                items[path] = before
            else:
                content = self._folder / path if grows else self._link(path)
                items[path] = Item(path=path, size=found.st_size, identity=identity, grows=grows, content=content)
        self._last = items
        state_bytes = sum(item.size for path, item in items.items() if _is_state(path))
        self._turns = max(1, math.ceil(state_bytes / STATE_BYTES_PER_SNAPSHOT))
        return Snapshot(items=items, last_link=self._links)

    def _has_its_turn(self, path: str) -> bool:
        return (zlib.crc32(path.encode()) + self._turn) % self._turns == 0

    def _link(self, path: str) -> Path:
        self._links += 1
        target = self._spool / str(self._links)
        try:
            os.link(self._folder / path, target)
        except (OSError, NotImplementedError):  # a disk without links
            shutil.copyfile(self._folder / path, target)
        return target

    def drop_links(self, snapshot: Snapshot) -> None:
        """Remove links made up to a snapshot that it does not need."""
        needed = {item.content.name for item in snapshot.items.values() if not item.grows}
        for link in self._spool.iterdir():
            if link.name not in needed and int(link.name) <= snapshot.last_link:
                link.unlink(missing_ok=True)


def grows_only(path: str) -> bool:
    """Whether a file of a run is only ever appended to, until another takes its place."""
    return is_log(path) or path.endswith(".journal")


def is_log(path: str) -> bool:
    """Whether a file of a run is appended to for as long as there is the run."""
    return path.endswith(".jsonl") or path.startswith("failures/")


def identity_of(found: os.stat_result, grows: bool) -> tuple[int, int]:
    """As in `Item`."""
    return found.st_ino, 0 if grows else found.st_mtime_ns


def _is_state(path: str) -> bool:
    return path.endswith(f"/{STATE}")


def _files(folder: Path, below: str = "") -> Iterator[tuple[str, os.stat_result]]:
    with os.scandir(folder / below) as entries:
        for entry in entries:
            path = f"{below}{entry.name}"
            if entry.name.startswith(".") or path in _LEFT_OUT or entry.is_symlink():
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _files(folder, f"{path}/")
            else:
                yield path, entry.stat(follow_symlinks=False)
