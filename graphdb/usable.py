"""Which of several texts with one id counts: the first that can be used."""

import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any, Generic, TypeVar

from graphdb.errors import CrystuneError, Reason, SkippedCrystal, SourceError
from graphdb.ingest import Text, text_digest
from graphdb.rawcrystal import Entry, RawCrystal
from graphdb.sources import Source, open_source

Result = TypeVar("Result")

#: How the place of an entry ends that is one of several in a file.
_ROW = re.compile(r", (?:line|entry) \d+$")
#: Entries without a text to convert, in a row, after which all that wait are told: 350 bytes of memory each.
_MOST_IN_A_ROW = 10_000
_REPEATED = (Reason.DUPLICATE_ID, Reason.ID_TAKEN)


class SourceChanged(CrystuneError):
    """The first texts of some sources are not those that they were."""


@dataclass(frozen=True, slots=True)
class Found(Generic[Result]):
    """What became of one entry of a source."""

    source: int
    """Position of its source."""
    share: float
    """Of all sources that was read up to here."""
    material_id: str
    """Empty where none could be told."""
    result: Result | SkippedCrystal | SourceError | None
    """What was made of its text (None if that is known from before), or why nothing was; a `SourceError` tells that the
    source as a whole cannot be read any further."""
    digest: bytes = b""
    """Of its text, if that was converted now."""
    is_deferred: bool = False
    """Whether it cannot be used and comes again at the end of its source."""


def iter_usable(
    paths: Sequence[str | os.PathLike[str]],
    convert: Callable[[Iterator[Text]], Iterable[Result | SkippedCrystal]],
    *,
    known: Iterable[tuple[bytes, SkippedCrystal | None]] = (),
) -> Iterator[Found[Result]]:
    """Id and result of everything in some sources; what cannot be used comes as the reason why.

    Of several entries of a source with the same id the first one that can be used counts, so an id has at most one
    result. The others come with the reason "duplicate id", or "id taken" if they may be other crystals. All come in the
    order of the source, but for those that cannot be used while others with their id are to be expected: whether such a
    one takes their place is known at the end. None of this depends on how far `convert` reads ahead.

    Args:
        paths: what `open_source` reads.
        convert: makes of each text what is wanted of it, in their order, as `graphdb.convert.to_crystal` does of one.
        known: digests of the first texts, or how these begin, and why each cannot be used, from an earlier run: they
            are not converted again.

    Raises:
        SourceChanged: if the texts are not those of `known`.
    """
    reads = _reads(paths)
    yield from _settle_known(reads, known)
    waiting: deque[_Read] = deque()
    is_at_end = False

    def texts() -> Iterator[Text]:
        nonlocal is_at_end
        num_in_a_row = 0
        for read in reads:
            read.is_converted = not read.is_settled()
            if isinstance(read.entry, RawCrystal) and not read.is_converted:
                read.entry = replace(read.entry, content=b"")  # its digest is enough, and many may wait
            waiting.append(read)
            num_in_a_row += 1
            if read.is_converted and isinstance(read.entry, RawCrystal):
                yield read.entry, read.digest
                num_in_a_row = 0
            elif num_in_a_row == _MOST_IN_A_ROW:
                return
        is_at_end = True

    while not is_at_end:
        for result in convert(texts()):
            while not waiting[0].is_converted:
                yield from waiting.popleft().settle_without()
            yield waiting.popleft().settle(result)
        while waiting:
            yield from waiting.popleft().settle_without()


def _settle_known(
    reads: "Iterator[_Read]", known: Iterable[tuple[bytes, SkippedCrystal | None]]
) -> Iterator[Found[Any]]:
    """What is to be told of the first reads, up to the last text that is known."""
    for digest, refusal in known:
        for read in reads:
            if not read.is_settled():
                if not read.digest.startswith(digest):
                    raise SourceChanged
                yield replace(read.settle(refusal), digest=b"")
                break
            yield from read.settle_without()
        else:
            raise SourceChanged


@dataclass(slots=True)
class _Read:
    """An entry of a source, why it breaks off, or (None) its end."""

    rule: "_FirstUsable"
    source: int
    share: float
    entry: Entry | SourceError | None
    digest: bytes = b""
    is_converted: bool = False

    def is_settled(self) -> bool:
        """Whether nothing depends on its text."""
        return not isinstance(self.entry, RawCrystal) or self.entry.material_id in self.rule.counting

    def settle(self, result: Result | SkippedCrystal | None) -> Found[Result]:
        """What becomes of a text, once all before it are settled."""
        entry = self.entry
        assert isinstance(entry, RawCrystal)
        if self.is_settled():  # meanwhile
            return self._refused(self.rule.duplicate(entry, self.digest))
        if isinstance(result, SkippedCrystal):
            return self._refused(result, self.digest)
        self.rule.counting[entry.material_id] = entry.where, self.digest
        return Found(self.source, self.share, entry.material_id, result, self.digest)

    def settle_without(self) -> Iterator[Found[Any]]:
        """What is to be told of what was not converted, once all before it are settled."""
        entry = self.entry
        if isinstance(entry, RawCrystal):
            yield self._refused(self.rule.duplicate(entry, self.digest))
        elif isinstance(entry, SkippedCrystal):
            yield self._refused(entry)
        elif entry is not None:
            yield Found(self.source, self.share, "", entry)
        else:
            for skip in self.rule.deferred():
                yield Found(self.source, self.share, skip.material_id, skip)

    def _refused(self, skip: SkippedCrystal, digest: bytes = b"") -> Found[Any]:
        return Found(self.source, self.share, skip.material_id, skip, digest, self.rule.defers(skip))


def _reads(paths: Sequence[str | os.PathLike[str]]) -> Iterator[_Read]:
    for number, path in enumerate(paths):
        rule, failure = _FirstUsable(), None
        try:
            rule.source = open_source(path)
            for entry in rule.source.entries():
                share = (number + rule.source.progress()) / len(paths)
                digest = text_digest(entry) if isinstance(entry, RawCrystal) else b""
                yield _Read(rule, number, share, entry, digest)
        except SourceError as error:
            failure = error
        share = (number + 1) / len(paths)
        yield _Read(rule, number, share, None)
        if failure is not None:
            yield _Read(rule, number, share, failure)


class _FirstUsable:
    """Which texts of one source count."""

    def __init__(self) -> None:
        self.source: Source | None = None
        self.counting: dict[str, tuple[str, bytes]] = {}
        """Place and digest of the text that counts, by id: with the id, 350 bytes of memory a crystal."""
        self._refused: list[SkippedCrystal] = []

    def duplicate(self, entry: RawCrystal, digest: bytes) -> SkippedCrystal:
        """The note on a text whose id is that of one that counts."""
        place, its = self.counting[entry.material_id]
        return duplicate(entry, place, is_equal=digest == its)

    def defers(self, skip: SkippedCrystal) -> bool:
        """Whether this has to wait for the end of the source; it is kept until then."""
        assert self.source is not None
        is_late = skip.reason not in _REPEATED and self.source.may_repeat(skip.material_id)
        if is_late:
            self._refused.append(skip)
        return is_late

    def deferred(self) -> Iterator[SkippedCrystal]:
        """What was kept, now that the source is at its end."""
        told: dict[str, str] = {}
        for skip in self._refused:
            if skip.material_id in self.counting:
                place, _ = self.counting[skip.material_id]
                reason = Reason.DUPLICATE_ID if _are_beside(skip.where, place) else skip.reason
                skip = replace(skip, reason=reason, message=f"{skip.message}; {place} has the same id and counts")
            elif skip.material_id in told and _are_beside(skip.where, told[skip.material_id]):
                message = f"{skip.message} ({skip.reason}), like an earlier one with the same id"
                skip = replace(skip, reason=Reason.DUPLICATE_ID, message=message)
            if skip.material_id:
                told.setdefault(skip.material_id, skip.where)
            yield skip


def duplicate(entry: RawCrystal, place: str, *, is_equal: bool) -> SkippedCrystal:
    """The note on an entry whose id is that of a crystal before it.

    Args:
        entry: that does not count.
        place: where the one that counts stands.
        is_equal: whether both have the same text.
    """
    message = f"the id is that of {place} too; that one counts"
    if is_equal or _are_beside(entry.where, place):
        return SkippedCrystal(entry.material_id, Reason.DUPLICATE_ID, message, entry.where)
    advice = (
        "give each row an id of its own"
        if _ROW.search(entry.where)
        else "rename the file or its folder, or give a table with ids"
    )
    message = f"{message}, though the texts differ: if they are two crystals, {advice}"
    return SkippedCrystal(entry.material_id, Reason.ID_TAKEN, message, entry.where)


def _are_beside(one: str, other: str) -> bool:
    """Whether two places are files of one folder, such as CONTCAR and POSCAR: forms or stages of one crystal."""
    are_rows = _ROW.search(one) or _ROW.search(other)
    return not are_rows and PurePosixPath(one).parent == PurePosixPath(other).parent
