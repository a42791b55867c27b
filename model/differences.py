"""Where two JSON-able values differ, in words."""

from collections.abc import Mapping
from typing import Any

_ABSENT = object()


def differences(now: Any, before: Any, name: str = "", *, words: str = "{name} was {before} and is now {now}") -> str:
    """What differs between two values of the same kind, entry by entry; at most three, then how many more.

    Args:
        now: one of them.
        before: the other.
        name: of the whole, put before the entries' names.
        words: how one difference is told.

    Returns:
        For example "train.epochs was 6 and is now 7"; empty when they are equal.
    """
    mine, theirs = _leaves(now, name), _leaves(before, name)
    found = [
        words.format(name=key or "it", before=_text(theirs.get(key, _ABSENT)), now=_text(mine.get(key, _ABSENT)))
        for key in dict.fromkeys((*theirs, *mine))
        if not _same(theirs.get(key, _ABSENT), mine.get(key, _ABSENT))
    ]
    return "; ".join(found[:3]) + (f"; and {len(found) - 3} more" if len(found) > 3 else "")


def _leaves(value: Any, name: str) -> dict[str, Any]:
    """Entries of nested dictionaries by their dotted names; lists count as one value."""
    if not isinstance(value, Mapping) or not value:
        return {name: value}
    leaves: dict[str, Any] = {}
    for key, entry in value.items():
        leaves |= _leaves(entry, f"{name}.{key}" if name else str(key))
    return leaves


def _same(left: Any, right: Any) -> bool:
    return bool(left == right) and isinstance(left, bool) == isinstance(right, bool)


def _text(value: Any) -> str:
    text = "absent" if value is _ABSENT else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
