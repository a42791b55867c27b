"""Which of several texts with one id counts: the first that can be used."""

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import PurePosixPath
from typing import TypeVar

from graphdb.errors import Reason, SkippedCrystal
from graphdb.rawcrystal import RawCrystal
from graphdb.sources import open_source

Result = TypeVar("Result")

#: How the place of an entry ends that is one of several in a file.
_ROW = re.compile(r", (?:line|entry) \d+$")


def iter_usable(
    path: str | os.PathLike[str],
    convert: Callable[[RawCrystal], Result | SkippedCrystal],
    *,
    tell: Callable[[float], None] = lambda share: None,
) -> Iterator[tuple[str, Result | SkippedCrystal]]:
    """Id and result of everything in a source; what cannot be used comes as the reason why.

    Of several entries with the same id the first one that can be used counts, so an id has at most one result. The
    others come with the reason "duplicate id", or "id taken" if they may be other crystals. All come in the order of
    the source, but for those that cannot be used while others with their id are to be expected: whether such a one
    takes their place is known at the end.

    Args:
        path: what `open_source` reads.
        convert: makes of a text what is wanted of it, as `graphdb.convert.to_crystal` does.
        tell: told the share of the source that was read, before each entry.

    Raises:
        SourceError: if the source as a whole cannot be read.
    """
    places: dict[str, str] = {}
    contents: dict[str, int] = {}
    refused: list[SkippedCrystal] = []
    source = open_source(path)
    for entry in source.entries():
        tell(source.progress())
        if isinstance(entry, SkippedCrystal):
            skip = entry
        elif entry.material_id in places:
            is_equal = hash(entry.content) == contents[entry.material_id]
            skip = duplicate(entry, places[entry.material_id], is_equal=is_equal)
        else:
            found = convert(entry)
            if not isinstance(found, SkippedCrystal):
                places[entry.material_id] = entry.where
                contents[entry.material_id] = hash(entry.content)
                yield entry.material_id, found
                continue
            skip = found
        if skip.reason not in (Reason.DUPLICATE_ID, Reason.ID_TAKEN) and source.may_repeat(skip.material_id):
            refused.append(skip)
        else:
            yield skip.material_id, skip
    told: dict[str, str] = {}
    for skip in refused:
        if skip.material_id in places:
            place = places[skip.material_id]
            reason = Reason.DUPLICATE_ID if _are_beside(skip.where, place) else skip.reason
            skip = replace(skip, reason=reason, message=f"{skip.message}; {place} has the same id and counts")
        elif skip.material_id in told and _are_beside(skip.where, told[skip.material_id]):
            message = f"{skip.message} ({skip.reason}), like an earlier one with the same id"
            skip = replace(skip, reason=Reason.DUPLICATE_ID, message=message)
        if skip.material_id:
            told.setdefault(skip.material_id, skip.where)
        yield skip.material_id, skip


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
