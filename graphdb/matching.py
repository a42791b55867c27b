"""Which crystal a row of targets belongs to, by id or by the name of a file; and what would match if none does."""

import re
from collections.abc import Callable, Iterable, Sequence
from itertools import islice

from graphdb.filenames import file_id
from graphdb.names import clean_id

#: Ids of which it is tried out what would make them match, and affixes for each.
_MAX_TRIED = 10
_MAX_AFFIXES = 4
#: Ids by which the change that helps most is chosen.
_SAMPLE = 1000
_SHOWN_IDS = 3

#: What may be wrong with ids: in words, as a function, and whether it is for the crystals' ids, too.
_Change = tuple[str, Callable[[str], str], bool]


class CrystalIds:
    """The ids of the crystals of a source."""

    def __init__(self, known: Iterable[str]) -> None:
        """Remember the ids."""
        self.known = set(known)
        stems: dict[str, str | None] = {}
        for material_id in self.known:
            stem = file_id(material_id)
            if stem != material_id:
                stems[stem] = None if stem in stems else material_id
        self._by_stem = {stem: material_id for stem, material_id in stems.items() if material_id is not None}

    def find(self, text: str) -> str | None:
        """The crystal that an id, or a file's name with or without folder and suffix, means; None if there is none."""
        material_id = clean_id(text)
        if material_id in self.known:
            return material_id
        stem = file_id(material_id.replace("\\", "/"))
        return stem if stem in self.known else self._by_stem.get(stem)

    def examples(self) -> str:
        """Three of the ids."""
        return shown(sorted(self.known)) or "no crystal"


def shown(ids: Sequence[str]) -> str:
    """The first three ids, for a person."""
    text = ", ".join(
        material_id if len(material_id) <= 40 else material_id[:39] + "…" for material_id in ids[:_SHOWN_IDS]
    )
    return text + (", ..." if len(ids) > _SHOWN_IDS else "")


def what_would_match(ids: Sequence[str], crystals: CrystalIds) -> tuple[str, int]:
    """How ids, of which none is a crystal's, would have to be changed, and how many would match then (0: none).

    Args:
        ids: of the rows, as they stand in the file.
        crystals: of the source.
    """
    sample = ids[:_SAMPLE]
    changes = _changes(ids, crystals)
    how, change, is_for_both = max(changes, key=lambda item: _num_matching(sample, crystals, item))
    return how, _num_matching(ids, crystals, (how, change, is_for_both))


def _num_matching(ids: Sequence[str], crystals: CrystalIds, item: _Change) -> int:
    _, change, is_for_both = item
    wanted = {change(material_id) for material_id in crystals.known} if is_for_both else crystals.known
    return sum(change(clean_id(text)) in wanted for text in ids)


def _changes(ids: Sequence[str], crystals: CrystalIds) -> list[_Change]:
    """What may be wrong with ids."""
    changes: list[_Change] = [
        ("in lower case", str.lower, True),
        ("without quotation marks", lambda text: text.strip("'\"`"), False),
        ("without the decimals '.0'", lambda text: re.sub(r"\.0+$", "", text), False),
        ("without leading zeros", lambda text: re.sub(r"(?<!\d)0+(?=\d)", "", text), True),
        ("with the same hyphens or underscores", lambda text: re.sub(r"[\s_‐-―−-]+", "-", text), True),
    ]
    seen: set[str] = set()
    for text in filter(None, (clean_id(text) for text in ids[:_MAX_TRIED])):
        alike = (name for name in crystals.known if _is_end(text, name) or _is_end(name, text))
        near = sorted(alike, key=lambda name: (abs(len(name) - len(text)), name))
        found = (change for name in near for change in _affixes(text, name) if change[0] not in seen)
        for change in islice(found, _MAX_AFFIXES):
            seen.add(change[0])
            changes.append(change)
    return changes


def _is_end(short: str, long: str) -> bool:
    return long.endswith(short) or long.startswith(short)


def _affixes(text: str, name: str) -> list[_Change]:
    """What to add to a row's id, or to take away from it, that it becomes a crystal's; no number is cut in two."""
    short, long = sorted((text, name), key=len)
    if not short or short == long:
        return []
    if long.endswith(short) and not _is_within_number(long, len(long) - len(short)):
        front = long[: -len(short)]
        if long == name:
            return [(f"with {front!r} before them", lambda other: front + other, False)]
        return [(f"without {front!r}", lambda other: other.removeprefix(front), False)]
    if long.startswith(short) and not _is_within_number(long, len(short)):
        back = long[len(short) :]
        if long == name:
            return [(f"with {back!r} after them", lambda other: other + back, False)]
        return [(f"without {back!r}", lambda other: other.removesuffix(back), False)]
    return []


def _is_within_number(text: str, place: int) -> bool:
    return text[place - 1].isdigit() and text[place].isdigit()
