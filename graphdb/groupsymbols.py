"""Symbols of space groups, as programs write them: which of gemmi's table of 564 settings each may mean.

Hermann-Mauguin symbols may be short or full, old or new, with or without blanks, and with words behind them;
Schoenflies symbols and numbers name the group alone, which may have several settings.
"""

import re
from functools import cache, lru_cache
from typing import Any

#: How ICSD and others tell settings apart, and what the table calls them.
_EXTENSIONS = {"s": "1", "z": "2", "h": "H", "r": "R", "1": "1", "2": "2", "o1": "1", "o2": "2"}
#: What people write behind a symbol: the number of the group, its origin or axes, in words.
_NUMBER_BEHIND = re.compile(
    r"\s*(?:[(\[{]\s*(?:no\.?|nr\.?|#)?|,?\s*(?:no\.?|nr\.?|#))\s*(\d{1,3})\s*[)\]}]?$", re.IGNORECASE
)
_WORDS_BEHIND = (
    (re.compile(r"\W*origin\s*(?:choice|number|no\.?)?\s*[:#]?\s*([12])\W*$", re.IGNORECASE), r":\1"),
    (re.compile(r"\W*origin\W*(?:at\s+)?(?:the\s+)?(?:inversion\s+)?cent(?:re|er)\W*$", re.IGNORECASE), ":2"),
    (re.compile(r"\W*\b(h)ex(?:agonal)?(?:\s+(?:axes|setting|cell))?\W*$", re.IGNORECASE), r":\1"),
    (re.compile(r"\W*\b(r)hom(?:bohedral)?(?:\s+(?:axes|setting|cell))?\W*$", re.IGNORECASE), r":\1"),
)
#: In full symbols: the axis that each plane stands on, which the short ones leave out.
_AXIS = re.compile(r"(?:[46][1-5]?|21?)\s*/\s*(?=[a-z])", re.IGNORECASE)
_KEPT_AXIS = re.compile(r"\s*[a-z]\s*[46][1-5]?\s*/\s*[a-z](?!\s*-?\s*3)", re.IGNORECASE)
#: Schoenflies' classes, in the order of the space groups, and the first group of each; several have two names.
_CLASSES = (
    "C1 1,Ci 2,S2 2,C2 3,Cs 6,C1h 6,C2h 10,D2 16,V 16,C2v 25,D2h 47,Vh 47,C4 75,S4 81,C4h 83,D4 89,C4v 99,D2d 111,"
    "Vd 111,D4h 123,C3 143,C3i 147,S6 147,D3 149,C3v 156,D3d 162,C6 168,C3h 174,C6h 175,D6 177,C6v 183,D3h 187,D6h 191,"
    "T 195,Th 200,O 207,Td 215,Oh 221"
)


@cache
def all_settings() -> list[Any]:
    """The 564 settings."""
    import gemmi

    return list(gemmi.spacegroup_table())


@lru_cache(maxsize=1024)
def by_symbol(symbol: str) -> list[Any]:
    """The settings that a symbol fits: Hermann-Mauguin (short or full, old or new), Schoenflies, or a number."""
    if found := _by_hermann_mauguin(symbol):
        return found
    if number := _by_schoenflies(symbol) or (int(symbol) if re.fullmatch(r"\d{1,3}", symbol) else 0):
        return [s for s in all_settings() if s.number == number]
    if behind := _NUMBER_BEHIND.search(symbol):  # 'P 4(2)' is P 42, which was tried above
        return [s for s in by_symbol(symbol[: behind.start()]) if s.number == int(behind.group(1))]
    return []


@cache
def _symbols() -> dict[str, list[Any]]:
    """Settings by symbol without blanks, in lower case: full, short, and as gemmi abbreviates them."""
    found: dict[str, list[Any]] = {}
    for setting in all_settings():
        full = _squashed(setting.hm)
        for key in dict.fromkeys([full, _squashed(setting.short_name()), "".join(_short(setting.hm)).lower()]):
            found.setdefault(key, []).append(setting)
    for key, group in found.items():  # a full symbol is that setting, whatever else it abbreviates
        if full_ones := [setting for setting in group if _squashed(setting.hm) == key]:
            found[key] = full_ones
    return found


def _short(symbol: str) -> list[str]:
    """The words of 'P 21/c' for 'P 1 21/c 1'; 'P 3 2 1' may not be written 'P 3 2'."""
    words = symbol.split()
    return [word for word in words if word != "1"] if len(words) == 4 and words.count("1") == 2 else words


def _boundaries(symbol: str) -> set[int]:
    """Where blanks part a symbol, counted in letters."""
    lengths = [len(_squashed(word)) for word in symbol.split(":")[0].split()]
    return {sum(lengths[:i]) for i in range(1, len(lengths))}


def _squashed(symbol: str) -> str:
    return re.sub(r"[\s_()]", "", symbol).lower()


def _by_hermann_mauguin(symbol: str) -> list[Any]:
    text = symbol
    for words, short in _WORDS_BEHIND:
        text = words.sub(short, text)
    written, _, extension = text.partition(":")
    extension = _squashed(extension)
    found = _with_blanks(written)
    if not found and not extension:
        found, extension = _with_ending(written.rstrip())
    if not found:
        found = _with_blanks(written, old=True)
    if extension:
        wanted = (_EXTENSIONS.get(extension, extension.upper()), extension)
        found = [s for s in found if s.ext in wanted or s.qualifier in wanted]
    return found


def _with_ending(written: str) -> tuple[list[Any], str]:
    """The settings of a symbol with one of ICSD's endings, and the ending; S is the only origin where there is one."""
    for ending in ("o1", "o2", "s", "z", "h", "r"):
        if written.lower().endswith(ending) and (found := _with_blanks(written[: -len(ending)], old=True)):
            if any(setting.ext.strip("\x00") for setting in found):
                return found, ending
            if ending == "s":
                return found, ""
    return [], ""


def _with_blanks(written: str, *, old: bool = False) -> list[Any]:
    """The settings of a symbol without extension, whose blanks count: 'P 3 2' is not P 32.

    Args:
        written: the symbol.
        old: also look for old and new names, F m 3 m and C m c e, among which gemmi has some with extensions.
    """
    import gemmi

    written = re.sub(r"[_()]", "", written)
    base = _squashed(written)
    if base not in _symbols() and (base.count("/") > 1 or re.search(r"/.*-?3|-3.*/", base)):
        kept = match.end() if (match := _KEPT_AXIS.match(written)) else 0
        written = written[:kept] + _AXIS.sub("", written[kept:])
        base = _squashed(written)
    found = _symbols().get(base)
    if found is not None:
        blanks = {place for place in _boundaries(written) if place < len(base)}
        return [s for s in found if blanks <= _boundaries(s.hm) or blanks <= _boundaries(" ".join(_short(s.hm)))]
    setting = gemmi.find_spacegroup_by_name(base) if old else None
    return _symbols()[_squashed(setting.hm)] if setting else []


@cache
def _schoenflies() -> dict[str, tuple[int, int]]:
    """First and last space group of each class, by its name in lower case."""
    first = {name.lower(): int(number) for name, number in (entry.split() for entry in _CLASSES.split(","))}
    starts = sorted({*first.values(), 231})
    return {name: (number, starts[starts.index(number) + 1] - 1) for name, number in first.items()}


def _by_schoenflies(symbol: str) -> int:
    """The number of a group by its Schoenflies symbol, 'Oh^5', 'D2h-16', 'C_{2h}^{5}'; 0 if it is none."""
    match = re.fullmatch(r"_?([a-z]\d?[a-z]?)[\^.-](\d{1,2})", re.sub(r"[\s{}()$_]", "", symbol).lower())
    first, last = _schoenflies().get(match.group(1), (0, -1)) if match else (0, -1)
    number = first + int(match.group(2)) - 1 if match else 0
    return number if first <= number <= last and first else 0
