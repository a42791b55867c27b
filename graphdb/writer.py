"""Writing a store: results collect in ``STORE.partial`` in any order, and are then laid out by id in the store itself.

Killed at any moment, the next run finds what was committed and goes on. Nothing of the order of arrival, the number of
workers or the interruptions is left in the finished file.
"""

import json
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Self

import numpy as np
from numpy.typing import NDArray

from graphdb.codec import encode_column
from graphdb.command import count
from graphdb.entries import (
    DIGEST_BYTES,
    ENTRY,
    GRAPH,
    SKIPPED,
    all_notes,
    entries,
    graph_item,
    notes_item,
    read_skip,
    skip_item,
)
from graphdb.errors import NOTES, SettingsMismatch, SkippedCrystal, StoreError
from graphdb.files import hold, partial_path, sync_folder
from graphdb.fingerprint import FORMAT_VERSION
from graphdb.graphsettings import GraphSettings
from graphdb.layout import lay_out
from graphdb.shapes import Float
from graphdb.store import FORMAT_NAME, META_KEY, Store, iterate, open_writable, write_items

_COMMIT_SECONDS = 1.0
_COMMIT_BYTES = 4 * 2**20


class StoreWriter:
    """Collects graphs and skips by id; ``finish`` turns them into a store."""

    def __init__(self, path: Path, settings: GraphSettings, *, afresh: bool = False) -> None:
        """Begin, or go on with, the build of a store.

        Args:
            path: of the store to be. If one is there already, its graphs are taken over.
            settings: of its graphs.
            afresh: take nothing over, neither from the store nor from a build that was not begun afresh.

        Raises:
            StoreError: if another build of the same store is running, or the folder cannot be written.
            SettingsMismatch: if the work begun, or the store, has other settings.
        """
        self.path = path
        self.settings = settings
        self._partial = partial_path(path)
        self._lock = self._acquire()
        self._env: Any = None
        self._pending: list[tuple[bytes, bytes]] = []
        self._pending_bytes = 0
        self._last_commit = time.monotonic()
        self._num_taken_over = 0
        try:
            self._env = open_writable(self._partial, durable=True)
            self._begin(afresh)
            self._digests: dict[str, bytes] = {}
            self._with_graph: set[str] = set()
            for key, value in iterate(self._env, ENTRY):
                self._remember(key[1:].decode(), bytes(value[:DIGEST_BYTES]), bytes(value[DIGEST_BYTES:][:1]))
        except BaseException:
            self._leave()
            raise
        #: entries that were there before this run
        self.num_found = len(self._digests)

    def known(self, material_id: str, digest: bytes) -> bool:
        """Whether the result for this id and this very text is there already."""
        return self._digests.get(material_id) == digest

    def has_graph(self, material_id: str) -> bool:
        """Whether what is there for this id, of whatever text, is a graph."""
        return material_id in self._with_graph

    def add_graph(self, material_id: str, digest: bytes, record: bytes, notes: Sequence[SkippedCrystal] = ()) -> None:
        """Keep a graph (`codec.encode_graph`), and what there is to be said about it."""
        if notes:
            self._pending.append(notes_item(material_id, digest, notes))
        self._add(material_id, digest, graph_item(material_id, digest, record))

    def add_skipped(self, skipped: SkippedCrystal, digest: bytes) -> None:
        """Keep the reason why a crystal has none."""
        self._add(skipped.material_id, digest, skip_item(skipped, digest))

    def commit(self) -> None:
        """Bring what was added to the disk."""
        items, self._pending, self._pending_bytes = self._pending, [], 0
        if items:
            write_items(self._env, sorted(items))
        self._last_commit = time.monotonic()

    def skipped(self, wanted: Mapping[str, bytes]) -> list[SkippedCrystal]:
        """The skips among the wanted ids."""
        self.commit()
        found = entries(self._env, wanted)
        return [read_skip(material_id, payload) for material_id, _, kind, payload in found if kind == SKIPPED]

    def notes(self, wanted: Mapping[str, bytes]) -> list[SkippedCrystal]:
        """The notes on the graphs among the wanted ids."""
        self.commit()
        return all_notes(self._env, wanted)

    def graph_ids(self, wanted: Mapping[str, bytes]) -> list[str]:
        """The wanted ids that have a graph, sorted."""
        self.commit()
        return [material_id for material_id, _, kind, _ in entries(self._env, wanted) if kind == GRAPH]

    def finish(
        self,
        wanted: Mapping[str, bytes],
        columns: Mapping[str, Float[NDArray[np.float64], " crystals"]],
        units: Mapping[str, str],
        skipped: list[SkippedCrystal],
    ) -> str:
        """Lay the store out and put it in place; the partial file goes.

        Args:
            wanted: the ids of the source with the digest of their text.
            columns: targets by name, for the sorted ids that have a graph; nan where unknown.
            units: by name of the column.
            skipped: all that was left out, and all notes, for the record.

        Returns:
            The fingerprint.
        """
        self.commit()
        temporary = self.path.with_name(self.path.name + ".tmp")
        temporary.unlink(missing_ok=True)
        env = open_writable(temporary, durable=False)
        try:
            found = entries(self._env, wanted)
            fingerprint = lay_out(env, self.settings, found, columns, units, skipped)
            env.sync(True)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        finally:
            env.close()
        os.replace(temporary, self.path)
        sync_folder(self.path.parent)
        self._partial.unlink(missing_ok=True)  # while it is locked: the next build may lock it at once
        self.close()
        return fingerprint

    def close(self) -> None:
        """Keep what was added, and let others build."""
        if self._env is not None:
            self.commit()
            self._env.close()
            self._env = None
        self._lock.close()

    def __enter__(self) -> Self:
        """Return the writer itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """Keep what was added; after an error, provided that there is anything to go on with."""
        if error is None:
            self.close()
        else:
            if num_graphs := self._leave():
                kept = count(num_graphs, "graph is", "graphs are")
                error.add_note(
                    f"{kept} kept in {self._partial}: run the command again to go on from there, or delete it"
                )

    def _leave(self) -> int:
        """Close; the partial file goes unless it has graphs that the store has not. Returns how many are kept."""
        num_graphs = 0
        if self._env is not None:
            with suppress(StoreError):  # nothing can be written: what was committed is what there is
                self.commit()
            num_graphs = sum(value[DIGEST_BYTES : DIGEST_BYTES + 1] == GRAPH for _, value in iterate(self._env, ENTRY))
            if num_graphs == self._num_taken_over:
                num_graphs = 0
                self._partial.unlink(missing_ok=True)
        self.close()
        return num_graphs

    def _acquire(self) -> IO[str]:
        """A lock on the partial file that ends with this process, however it ends."""
        try:
            file = hold(self._partial)
        except OSError as error:
            raise StoreError(f"cannot write {self._partial}: {error.strerror}; choose another STORE") from error
        if file is None:
            raise StoreError(f"another process is building {self.path}; wait for it, or stop it")
        return file

    def _begin(self, afresh: bool) -> None:
        """Check what is there, or take the graphs of the finished store over."""
        meta = next((json.loads(bytes(value[8:])) for _, value in iterate(self._env, META_KEY)), None)
        if meta and afresh and not meta["afresh"]:
            self._env.close()
            os.truncate(self._partial, 0)
            self._env = open_writable(self._partial, durable=True)
            meta = None
        if meta:
            if meta["format_version"] != FORMAT_VERSION:
                raise StoreError(
                    f"{self._partial} was begun by another version of crystune (format {meta['format_version']}, not "
                    f"{FORMAT_VERSION}); delete it, or finish it with that version"
                )
            self._check_settings(GraphSettings.from_dict(meta["settings"]), f"the work begun in {self._partial}")
            return
        items: list[tuple[bytes, bytes]] = []
        if self.path.exists() and not afresh:
            with Store(self.path) as store:
                self._check_settings(store.settings, str(self.path))
                for name, digest, record in zip(store.material_ids, store.digests(), store.raw_records(), strict=True):
                    items.append(graph_item(name, digest, record))
                self._num_taken_over = len(items)
                noted: dict[str, tuple[bytes, list[SkippedCrystal]]] = {}
                for skip, digest in store.skipped():
                    if digest and skip.reason in NOTES:
                        noted.setdefault(skip.material_id, (digest, []))[1].append(skip)
                    elif digest:
                        items.append(skip_item(skip, digest))
                items.extend(notes_item(name, digest, notes) for name, (digest, notes) in noted.items())
        meta = {
            "format": FORMAT_NAME,
            "format_version": FORMAT_VERSION,
            "finished": False,
            "afresh": afresh,
            "settings": self.settings.as_dict(),
        }
        items.append((META_KEY, encode_column(json.dumps(meta).encode(), META_KEY)))
        write_items(self._env, sorted(items))

    def _check_settings(self, found: GraphSettings, what: str) -> None:
        if differences := self.settings.differences(found):
            raise SettingsMismatch(
                f"{what} has other graph settings: {'; '.join(differences)} (asked for, not in it); choose another "
                "STORE, ask for the same settings, or start afresh with --overwrite"
            )

    def _add(self, material_id: str, digest: bytes, item: tuple[bytes, bytes]) -> None:
        self._pending.append(item)
        self._pending_bytes += len(item[1])
        self._remember(material_id, digest, item[1][DIGEST_BYTES:][:1])
        if self._pending_bytes > _COMMIT_BYTES or time.monotonic() - self._last_commit > _COMMIT_SECONDS:
            self.commit()

    def _remember(self, material_id: str, digest: bytes, kind: bytes) -> None:
        self._digests[material_id] = digest
        if kind == GRAPH:
            self._with_graph.add(material_id)
        else:
            self._with_graph.discard(material_id)
