"""The graphs of any files, in portions of bounded size: sources are parsed and built on all cores, stores just read.

What `model.predict` predicts from.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Protocol

from graphdb.codec import decode_graphs
from graphdb.command import count
from graphdb.cpus import usable_cpus
from graphdb.errors import NOTES, Reason, SkippedCrystal, SourceError
from graphdb.graph import FlatGraphs
from graphdb.graphsettings import GraphSettings
from graphdb.ingest import Built, Text, build_all
from graphdb.repeats import FirstFiles
from graphdb.store import Store, is_lmdb_file
from graphdb.usable import Found, SourceChanged, iter_usable

#: Rows of a portion; of a store, reading more at a time is cheaper.
_SOURCE_ROWS, _STORE_ROWS = 256, 2048
#: Text that waits for the workers or for whoever takes the graphs.
_BYTES_AHEAD = 16 * 2**20
_NO_CRYSTAL = (Reason.NOT_A_STRUCTURE, Reason.DUPLICATE_ID)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a row has no graph."""

    message: str
    is_crystal: bool = True
    """False for a file of another kind in a folder or archive, or a second one of a crystal: no mistakes."""


@dataclass(slots=True, kw_only=True)
class Portion:
    """Consecutive crystals, and other things that lie among them: a row each."""

    group: int
    """Position of the first file of those that its rows come from."""
    material_ids: list[str] = field(default_factory=list)
    """Of the rows; for what has none, the place where it stands."""
    graphs: FlatGraphs
    """Of the rows without refusal, in their order."""
    refusals: dict[int, Refusal] = field(default_factory=dict)
    """By row."""
    notes: dict[int, str] = field(default_factory=dict)
    """What is doubtful about a crystal, by row."""
    repeats: dict[int, str] = field(default_factory=dict)
    """A file before that has a crystal with the same id, by row."""
    share: float = 0.0
    """Of all files that was read up to its end."""
    texts: list[tuple[bytes, SkippedCrystal | None]] = field(default_factory=list)
    """Digests of the texts that were converted for it, and why each cannot be used."""


class Done(Protocol):
    """The rows that an earlier run got, which come first and are not to be made again."""

    @property
    def material_ids(self) -> Iterator[str]:
        """Of these rows; the same iterator each time."""

    def texts(self, group: int) -> Iterator[tuple[bytes, SkippedCrystal | None]]:
        """`Portion.texts` of the portions of a group."""


class NothingDone:
    """For a first run."""

    def __init__(self) -> None:
        """No row."""
        self.material_ids: Iterator[str] = iter(())

    def texts(self, group: int) -> Iterator[tuple[bytes, SkippedCrystal | None]]:
        """None."""
        return iter(())


class GraphFiles:
    """Files with crystals, or with their graphs."""

    def __init__(
        self,
        files: Sequence[str],
        settings: GraphSettings,
        *,
        elements: Set[int] | None = None,
        num_workers: int | None = None,
        own: Set[str] = frozenset(),
    ) -> None:
        """Open the stores among the files.

        Args:
            files: stores, and what `open_source` reads, in any order.
            settings: of the graphs of crystals; those of the stores are up to the caller.
            elements: atomic numbers to take from crystals; the others are refused. None takes all.
            num_workers: processes; None for one per core.
            own: real paths of files of the caller, which may lie in a folder that is read and get no row.

        Raises:
            StoreError, CorruptRecord: for a store that is not whole or of another version.
        """
        self.files = files
        self.stores = {number: Store(name) for number, name in enumerate(files) if _is_store(name)}
        """By position in `files`."""
        self.empty: list[str] = []
        """Files without a crystal, as far as they were read."""
        self.other = ""
        """The first file that is no crystal, and what it is."""
        self._settings = settings
        self._elements = elements
        self._num_workers = num_workers or usable_cpus()
        self._own = own
        self._num_crystals = 0
        self._first_files = FirstFiles()
        self.tell: Callable[[float, str], None] = lambda share, note: None
        """Told the share that was read, and a note."""

    def portions(self, done: Done | None = None) -> Iterator[Portion]:
        """All rows but those that are done.

        The rows of a portion depend on the files alone.

        Raises:
            SourceChanged: if the files do not begin as those that `done` tells of.
            CorruptRecord: if the bytes of a store have changed on disk.
        """
        done = done or NothingDone()
        self._num_crystals = 0
        self._first_files = FirstFiles()
        self.empty.clear()
        self.other = ""
        for store, numbers in groupby(range(len(self.files)), key=self.stores.get):
            if store is None:
                yield from self._of_sources(list(numbers), done)
            else:
                yield from self._of_store(store, next(numbers), done)

    def _of_store(self, store: Store, number: int, done: Done) -> Iterator[Portion]:
        ids = store.material_ids
        noted: dict[str, list[str]] = {}
        for skip, _ in store.skipped():
            if skip.reason in NOTES:
                noted.setdefault(skip.material_id, []).append(_text(skip))
        first = 0
        while first < len(ids) and (kept := next(done.material_ids, None)) is not None:
            if kept != ids[first]:
                raise SourceChanged
            self._repeated(kept, number)
            first += 1
        self._num_crystals += first
        for start in range(first, len(ids), _STORE_ROWS):
            names = ids[start : start + _STORE_ROWS]
            share = (number + (start + len(names)) / len(ids)) / len(self.files)
            self._num_crystals += len(names)
            self._tell(share)
            befores = [self._repeated(name, number) for name in names]
            yield Portion(
                group=number,
                material_ids=list(names),
                graphs=store.flat(range(start, start + len(names))),
                notes={row: "; ".join(noted[name]) for row, name in enumerate(names) if name in noted},
                repeats={row: before for row, before in enumerate(befores) if before},
                share=share,
            )

    def _of_sources(self, numbers: Sequence[int], done: Done) -> Iterator[Portion]:
        paths = [self.files[number] for number in numbers]
        has_crystal = [False] * len(paths)
        rows = _Rows(numbers[0])
        for found in iter_usable(paths, self._convert, known=done.texts(numbers[0])):
            if found.digest:
                rows.texts.append((found.digest, found.result if isinstance(found.result, SkippedCrystal) else None))
            if found.is_deferred or self._is_own(found, paths):
                continue
            material_id, outcome = _row(found, paths)
            is_crystal = not isinstance(outcome, Refusal) or outcome.is_crystal
            if isinstance(outcome, Refusal) and not is_crystal:
                self.other = self.other or f"{material_id}: {outcome.message}"
            has_crystal[found.source] |= is_crystal
            self._num_crystals += is_crystal
            before = self._repeated(material_id, numbers[found.source]) if not isinstance(outcome, Refusal) else ""
            kept = next(done.material_ids, None)
            if kept is not None and kept == material_id:
                continue
            if kept is not None or outcome is None:
                raise SourceChanged
            share = (numbers[0] + found.share * len(paths)) / len(self.files)
            self._tell(share)
            rows.add(material_id, outcome, before)
            if len(rows) == _SOURCE_ROWS:
                yield rows.take(share)
        if len(rows):
            yield rows.take((numbers[-1] + 1) / len(self.files))
        self.empty.extend(path for path, has in zip(paths, has_crystal, strict=True) if not has)

    def _convert(self, texts: Iterator[Text]) -> Iterable[Built | SkippedCrystal]:
        built = build_all(texts, self._settings, self._num_workers, elements=self._elements, bytes_ahead=_BYTES_AHEAD)
        return (one.outcome if isinstance(one.outcome, SkippedCrystal) else one for one in built)

    def _repeated(self, material_id: str, number: int) -> str:
        """The first file that has a crystal with this id, if it is another one."""
        if len(self.files) == 1:
            return ""
        first = self._first_files.first(material_id, number)
        return self.files[first] if first != number else ""

    def _is_own(self, found: Found[Built], paths: Sequence[str]) -> bool:
        """Whether this is a file of the caller, which is no crystal."""
        skip = found.result
        if not isinstance(skip, SkippedCrystal):
            return False
        return os.path.realpath(os.path.join(paths[found.source], skip.where)) in self._own

    def _tell(self, share: float) -> None:
        self.tell(share, count(self._num_crystals, "crystal"))


def _is_store(name: str) -> bool:
    return os.path.isfile(name) and is_lmdb_file(Path(name))


def _row(found: Found[Built], paths: Sequence[str]) -> tuple[str, Built | Refusal | None]:
    """The id that a row begins with, and what becomes of it."""
    result = found.result
    if isinstance(result, SourceError):
        return Path(paths[found.source]).stem, Refusal(str(result))
    if isinstance(result, SkippedCrystal):
        return found.material_id or result.where, Refusal(_text(result), result.reason not in _NO_CRYSTAL)
    return found.material_id, result


class _Rows:
    """Rows that become a portion."""

    def __init__(self, group: int) -> None:
        self._group = group
        self._start()

    def _start(self) -> None:
        self.texts: list[tuple[bytes, SkippedCrystal | None]] = []
        self._material_ids: list[str] = []
        self._records: list[bytes] = []
        self._refusals: dict[int, Refusal] = {}
        self._notes: dict[int, str] = {}
        self._repeats: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._material_ids)

    def add(self, material_id: str, outcome: Built | Refusal, before: str) -> None:
        if before:
            self._repeats[len(self)] = before
        if isinstance(outcome, Refusal):
            self._refusals[len(self)] = outcome
        else:
            assert isinstance(outcome.outcome, bytes)
            self._records.append(outcome.outcome)
            if outcome.notes:
                self._notes[len(self)] = "; ".join(map(_text, outcome.notes))
        self._material_ids.append(material_id)

    def take(self, share: float) -> Portion:
        portion = Portion(
            group=self._group,
            material_ids=self._material_ids,
            graphs=decode_graphs(self._records),
            refusals=self._refusals,
            notes=self._notes,
            repeats=self._repeats,
            share=share,
            texts=self.texts,
        )
        self._start()
        return portion


def _text(skip: SkippedCrystal) -> str:
    return f"{skip.reason}: {skip.message}"
