"""Writing a store: results collect in ``STORE.partial`` in any order, and are then laid out by id in the store itself.

Killed at any moment, the next run finds what was committed and goes on. Nothing of the order of arrival, the number of
workers or the interruptions is left in the finished file.
"""

import fcntl
import json
import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from graphdb.codec import BLOCK_SIZE, encode_block, encode_column, record_sizes
from graphdb.command import count
from graphdb.errors import NOTES, Reason, SettingsMismatch, SkippedCrystal, StoreError
from graphdb.files import partial_path, sync_folder
from graphdb.fingerprint import FORMAT_VERSION, GraphsHash, targets_fingerprint
from graphdb.graph import GraphSettings
from graphdb.store import (
    FORMAT_NAME,
    META_KEY,
    Property,
    Store,
    block_key,
    iterate,
    open_writable,
    target_key,
    write_items,
)

_ENTRY, _NOTES = b"c", b"n"
_GRAPH, _SKIPPED = b"g", b"s"
_DIGEST_BYTES = 16
_COMMIT_SECONDS = 1.0
_COMMIT_BYTES = 4 * 2**20
_FINAL_BATCH_BYTES = 16 * 2**20


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
            for key, value in iterate(self._env, _ENTRY):
                self._remember(key[1:].decode(), bytes(value[:_DIGEST_BYTES]), bytes(value[_DIGEST_BYTES:][:1]))
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
            self._pending.append(_notes_item(material_id, digest, notes))
        self._add(material_id, digest, _GRAPH + record)

    def add_skipped(self, skipped: SkippedCrystal, digest: bytes) -> None:
        """Keep the reason why a crystal has none."""
        note = json.dumps([skipped.reason, skipped.message, skipped.where])
        self._add(skipped.material_id, digest, _SKIPPED + note.encode())

    def commit(self) -> None:
        """Bring what was added to the disk."""
        items, self._pending, self._pending_bytes = self._pending, [], 0
        if items:
            write_items(self._env, sorted(items))
        self._last_commit = time.monotonic()

    def skipped(self, wanted: Mapping[str, bytes]) -> list[SkippedCrystal]:
        """The skips among the wanted ids."""
        self.commit()
        found = []
        for material_id, _, kind, payload in self._entries(wanted):
            if kind == _SKIPPED:
                found.append(_skip(material_id, payload))
        return found

    def notes(self, wanted: Mapping[str, bytes]) -> list[SkippedCrystal]:
        """The notes on the graphs among the wanted ids."""
        self.commit()
        found = []
        for key, value in iterate(self._env, _NOTES):
            material_id = key[1:].decode()
            if wanted.get(material_id) == bytes(value[:_DIGEST_BYTES]):
                for reason, message, where in json.loads(bytes(value[_DIGEST_BYTES:])):
                    found.append(SkippedCrystal(material_id, Reason(reason), message, where))
        return found

    def graph_ids(self, wanted: Mapping[str, bytes]) -> list[str]:
        """The wanted ids that have a graph, sorted."""
        self.commit()
        return [material_id for material_id, _, kind, _ in self._entries(wanted) if kind == _GRAPH]

    def finish(
        self,
        wanted: Mapping[str, bytes],
        columns: Mapping[str, NDArray[np.float64]],
        units: Mapping[str, str],
        skipped: list[SkippedCrystal],
    ) -> str:
        """Lay the store out and put it in place; the partial file goes.

        Args:
            wanted: the ids of the source with the digest of their text.
            columns: (N,) targets by name, for the sorted ids that have a graph; nan where unknown.
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
            fingerprint = self._lay_out(env, wanted, columns, units, skipped)
            env.sync(True)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        finally:
            env.close()
        os.replace(temporary, self.path)
        sync_folder(self.path.parent)
        self.close()
        self._partial.unlink(missing_ok=True)
        return fingerprint

    def close(self) -> None:
        """Keep what was added, and let others build."""
        if self._env is not None:
            self.commit()
            self._env.close()
            self._env = None
        os.close(self._lock) if self._lock >= 0 else None
        self._lock = -1

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
            num_graphs = sum(value[_DIGEST_BYTES : _DIGEST_BYTES + 1] == _GRAPH for _, value in self._all_entries())
            if num_graphs == self._num_taken_over:
                num_graphs = 0
                self._partial.unlink(missing_ok=True)
        self.close()
        return num_graphs

    def _acquire(self) -> int:
        """A lock on the partial file that ends with this process, however it ends."""
        try:
            while True:
                handle = os.open(self._partial, os.O_RDWR | os.O_CREAT, 0o644)
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError as error:
                    os.close(handle)
                    raise StoreError(f"another process is building {self.path}; wait for it, or stop it") from error
                with suppress(FileNotFoundError):
                    if os.fstat(handle).st_ino == os.stat(self._partial).st_ino:
                        return handle
                os.close(handle)  # it finished between the two lines above and took the file away
        except OSError as error:
            raise StoreError(f"cannot write {self._partial}: {error.strerror}; choose another STORE") from error

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
                    items.append((_ENTRY + name.encode(), digest + _GRAPH + record))
                self._num_taken_over = len(items)
                noted: dict[str, tuple[bytes, list[SkippedCrystal]]] = {}
                for skip, digest in store.skipped():
                    if digest and skip.reason in NOTES:
                        noted.setdefault(skip.material_id, (digest, []))[1].append(skip)
                    elif digest:
                        note = json.dumps([skip.reason, skip.message, skip.where])
                        items.append((_ENTRY + skip.material_id.encode(), digest + _SKIPPED + note.encode()))
                items.extend(_notes_item(name, digest, notes) for name, (digest, notes) in noted.items())
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

    def _add(self, material_id: str, digest: bytes, payload: bytes) -> None:
        self._pending.append((_ENTRY + material_id.encode(), digest + payload))
        self._pending_bytes += len(payload)
        self._remember(material_id, digest, payload[:1])
        if self._pending_bytes > _COMMIT_BYTES or time.monotonic() - self._last_commit > _COMMIT_SECONDS:
            self.commit()

    def _remember(self, material_id: str, digest: bytes, kind: bytes) -> None:
        self._digests[material_id] = digest
        if kind == _GRAPH:
            self._with_graph.add(material_id)
        else:
            self._with_graph.discard(material_id)

    def _all_entries(self) -> Iterator[tuple[bytes, memoryview]]:
        return iterate(self._env, _ENTRY)

    def _entries(self, wanted: Mapping[str, bytes]) -> Iterator[tuple[str, bytes, bytes, bytes]]:
        """Id, digest, kind and payload of each wanted entry, by id."""
        for key, value in self._all_entries():
            material_id = key[1:].decode()
            digest = bytes(value[:_DIGEST_BYTES])
            if wanted.get(material_id) == digest:
                payload = bytes(value[_DIGEST_BYTES:])
                yield material_id, digest, payload[:1], payload[1:]

    def _lay_out(
        self,
        env: Any,
        wanted: Mapping[str, bytes],
        columns: Mapping[str, NDArray[np.float64]],
        units: Mapping[str, str],
        skipped: list[SkippedCrystal],
    ) -> str:
        """Write every entry of the final file in the order of the keys, so that LMDB fills its pages."""
        graphs = GraphsHash(self.settings)
        ids: list[str] = []
        digests: list[bytes] = []
        sizes: list[tuple[int, int, int]] = []
        skip_digests: dict[SkippedCrystal, bytes] = {}
        graph_digests: dict[str, bytes] = {}
        records: list[bytes] = []
        batch: list[tuple[bytes, bytes]] = []
        batch_bytes = 0

        def flush_block() -> None:
            nonlocal batch_bytes
            first = len(ids) - len(records)
            batch.append((block_key(first // BLOCK_SIZE), encode_block(records, first)))
            batch_bytes += len(batch[-1][1])
            records.clear()
            if batch_bytes > _FINAL_BATCH_BYTES:
                write_items(env, batch, append=True)
                batch.clear()
                batch_bytes = 0

        for material_id, digest, kind, payload in self._entries(wanted):
            if kind == _SKIPPED:
                skip_digests[_skip(material_id, payload)] = digest
                continue
            ids.append(material_id)
            digests.append(digest)
            graph_digests[material_id] = digest
            sizes.append(record_sizes(payload))
            graphs.add(material_id, payload)
            records.append(payload)
            if len(records) == BLOCK_SIZE:
                flush_block()
        if records:
            flush_block()
        fingerprint = targets_fingerprint(graphs.hexdigest(), columns, units)
        num_skipped: dict[str, int] = {}
        num_noted: dict[str, int] = {}
        for skip in skipped:
            counts = num_noted if skip.reason in NOTES else num_skipped
            counts[skip.reason] = counts.get(skip.reason, 0) + 1
        meta = {
            "format": FORMAT_NAME,
            "format_version": FORMAT_VERSION,
            "finished": True,
            "settings": self.settings.as_dict(),
            "num_crystals": len(ids),
            "graphs_fingerprint": graphs.hexdigest(),
            "fingerprint": fingerprint,
            "properties": {name: _describe(columns[name], units[name]) for name in columns},
            "num_skipped": num_skipped,
            **({"num_noted": num_noted} if num_noted else {}),
            "created_by": {name: _version(name) for name in ("crystune", "pymatgen", "gemmi", "numpy")},
        }
        notes = [
            [
                *(s.material_id, s.reason, s.message, s.where),
                (graph_digests.get(s.material_id, b"") if s.reason in NOTES else skip_digests.get(s, b"")).hex(),
            ]
            for s in skipped
        ]
        entries = {
            b"digests": b"".join(digests),
            b"ids": "\n".join(ids).encode(),
            META_KEY: json.dumps(meta).encode(),
            b"sizes": np.array(sizes, "<i4").tobytes(),
            b"skipped": json.dumps(notes).encode(),
            **{target_key(name): values.astype("<f8").tobytes() for name, values in columns.items()},
        }
        batch.extend((key, encode_column(entries[key], key)) for key in sorted(entries))
        write_items(env, batch, append=True)
        return fingerprint


def _skip(material_id: str, payload: bytes) -> SkippedCrystal:
    reason, message, where = json.loads(payload)
    return SkippedCrystal(material_id, Reason(reason), message, where)


def _notes_item(material_id: str, digest: bytes, notes: Sequence[SkippedCrystal]) -> tuple[bytes, bytes]:
    text = json.dumps([[note.reason, note.message, note.where] for note in notes])
    return _NOTES + material_id.encode(), digest + text.encode()


def _describe(values: NDArray[np.float64], unit: str) -> dict[str, Any]:
    known = values[~np.isnan(values)]
    if len(known) == 0:
        return {"unit": unit, "count": 0, "minimum": None, "maximum": None, "mean": None}
    mean = math.fsum(known) / len(known)
    return asdict(Property(unit, len(known), float(known.min()), float(known.max()), mean))


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
