"""Symmetry operations of a crystal: listed one by one, or of the setting of a space group that is only named.

The table of settings (all 564 of them, with the operations of each) and the reading of Hall symbols are gemmi's, which
is imported on first use. A name that fits several settings stays several: `settings` returns them all, and whoever
knows the sites decides.
"""

import re
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphdb.groupsymbols import all_settings, by_symbol
from graphdb.shapes import Float

#: How far translations such as 0.333 may be from the 24th of a cell that they stand for.
_TRANSLATION_TOLERANCE = 0.004
#: How far the cell may be from the shape that the operations ask for, relative to its squared lengths.
_METRIC_TOLERANCE = 0.02
#: A group has at most 192 operations, 384 with time reversal, and a few times as many in a larger cell.
_MAX_OPERATIONS = 1000
_TERM = re.compile(r"([+-]?)(\d+\.?\d*|\.\d+)?(?:/(\d+\.?\d*))?\*?([xyz])?(?:/(\d+))?")


class SymmetryError(ValueError):
    """Operations or names that have no meaning; the message says what and what would help."""


@dataclass(frozen=True, slots=True, eq=False)
class Operations:
    """Operations of a space group, all of them, centring included: x -> rotation x + translation.

    Attributes:
        rotation: acting on columns of fractional coordinates.
        translation: in 0 to 1.
        name: of the setting; empty for a list.
    """

    rotation: Float[NDArray[np.float64], "operations 3 3"]
    translation: Float[NDArray[np.float64], "operations 3"]
    name: str = ""

    def __len__(self) -> int:
        """Number of operations."""
        return len(self.rotation)

    def fit(self, lattice: Float[NDArray[np.float64], "3 3"]) -> bool:
        """Whether a cell (rows, Å) has the shape that these operations leave as it is."""
        return self.misfit(lattice) <= _METRIC_TOLERANCE

    def misfit(self, lattice: Float[NDArray[np.float64], "3 3"]) -> float:
        """How far a cell (rows, Å) is from the shape that they leave as it is, relative to its squared lengths."""
        metric = lattice @ lattice.T
        turned = np.swapaxes(self.rotation, 1, 2) @ metric @ self.rotation
        scale = np.sqrt(np.outer(np.diag(metric), np.diag(metric)))
        return float((np.abs(turned - metric) / scale).max())

    def is_monoclinic_along_b(self) -> bool:
        """Whether they are those of a monoclinic group with the unique axis b."""
        along_b = np.diag([-1.0, 1.0, -1.0])
        unlike = np.abs(np.abs(self.rotation) - np.eye(3)).max(axis=(1, 2)) > 0
        diagonals = {tuple(np.diag(rotation) * np.linalg.det(rotation)) for rotation in self.rotation}
        return not unlike.any() and diagonals == {(1.0, 1.0, 1.0), tuple(np.diag(along_b))}

    def is_group(self) -> bool:
        """Whether any two of them, one after the other, are a third of them."""
        known = self._keys(self.rotation, self.translation)
        for rotation, translation in zip(self.rotation, self.translation, strict=True):
            products = self._keys(rotation @ self.rotation, self.translation @ rotation.T + translation)
            if not products <= known:
                return False
        return True

    def unique(self) -> "Operations":
        """The same, each operation once (time reversal, of which atoms know nothing, doubles some)."""
        first = {key: i for i, key in reversed(list(enumerate(self._list(self.rotation, self.translation))))}
        keep = sorted(first.values())
        return Operations(self.rotation[keep], self.translation[keep], self.name)

    def _keys(self, rotation: NDArray[np.float64], translation: NDArray[np.float64]) -> set[bytes]:
        return set(self._list(rotation, translation))

    @staticmethod
    def _list(rotation: NDArray[np.float64], translation: NDArray[np.float64]) -> list[bytes]:
        """Each operation as bytes that are equal for equal ones: translations to a hundredth of the cell."""
        steps = np.rint(np.concatenate([rotation.reshape(-1, 9) * 120, translation * 120 % 120], axis=1)).astype(int)
        steps[:, 9:] %= 120
        whole: list[bytes] = steps.view(f"V{steps.itemsize * 12}")[:, 0].tolist()
        return whole


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupNames:
    """What a file says about its space group, besides operations; empty where it says nothing.

    Attributes:
        hall: a Hall symbol.
        symbols: Hermann-Mauguin symbols of the setting in use, perhaps short, perhaps with an extension.
        number: of the group, 1 to 230; several, parted by commas, contradict each other.
        code: of the setting, as the International Tables have it (1, 2, h, r, b1, -cba, ...).
        types: symbols that name the group, but not its setting.
    """

    hall: str = ""
    symbols: tuple[str, ...] = ()
    number: str = ""
    code: str = ""
    types: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Whether a group is named at all."""
        return bool(self.hall or self.symbols or self.number or self.types)

    def __str__(self) -> str:
        """As a message has it."""
        parts = [*self.symbols, *self.types, f"Hall {self.hall}" if self.hall else "", f"number {self.number}"]
        return ", ".join(part for part in parts if part and part != "number ")


def parse_operation(text: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rotation (3, 3) and translation (3,) of '-y, x-y, z+1/3'; a sign of time reversal at the end is left out.

    Raises:
        SymmetryError: if it is no operation.
    """
    parts = re.sub(r"\s", "", text).lower().strip("'\"").split(",")
    if len(parts) == 4 and parts[3] in ("1", "+1", "-1", "m", "-m", "+m"):
        parts.pop()
    if len(parts) != 3 or not all(parts):
        raise SymmetryError(f"a symmetry operation must be like 'x, y+1/2, -z', got {text!r}")
    rotation, translation = np.zeros((3, 3)), np.zeros(3)
    for row, part in enumerate(parts):
        position = 0
        while position < len(part):
            term = _TERM.match(part, position)
            if term is None or term.end() == position or (position > 0 and not term.group(1)):
                raise SymmetryError(f"a symmetry operation must be like 'x, y+1/2, -z', got {text!r}")
            sign, number, divisor, letter, divisor2 = term.groups()
            if (number is None and letter is None) or float(divisor or divisor2 or 1) == 0:
                raise SymmetryError(f"a symmetry operation must be like 'x, y+1/2, -z', got {text!r}")
            value = float(number or 1) / float(divisor or 1) / float(divisor2 or 1) * (-1 if sign == "-" else 1)
            if letter is None:
                nearest = round(value * 24) / 24 if divisor is None else value
                translation[row] += nearest if abs(value - nearest) <= _TRANSLATION_TOLERANCE else value
            else:
                rotation[row, "xyz".index(letter)] += value
            position = term.end()
    if abs(abs(np.linalg.det(rotation)) - 1) > 1e-6:
        raise SymmetryError(f"a symmetry operation must leave volumes as they are, {text!r} does not")
    return rotation, translation - np.floor(translation)


def listed_operations(texts: list[str], centerings: list[str] | None = None) -> Operations:
    """The operations of a list, times those of a list of centrings (of magnetic CIFs).

    Raises:
        SymmetryError: if one of them is no operation, or if they are more than any group of a crystal has.
    """
    number = len(texts) * max(1, len(centerings or ()))
    if number > _MAX_OPERATIONS:
        raise SymmetryError(f"a file may list at most {_MAX_OPERATIONS:,} symmetry operations, got {number:,}")
    if len(texts) == 1 and not centerings and re.sub(r"\s", "", texts[0]).lower() == "x,y,z":
        return identity()
    rotation, translation = (np.array(part) for part in zip(*map(parse_operation, texts), strict=True))
    if centerings:
        shifts = np.array([parse_operation(text)[1] for text in centerings])
        translation = (translation[None] + shifts[:, None]).reshape(-1, 3) % 1.0
        rotation = np.tile(rotation, (len(shifts), 1, 1))
    return Operations(rotation, translation).unique()


def identity() -> Operations:
    """The one operation of P 1."""
    return Operations(np.eye(3)[None], np.zeros((1, 3)), "P 1")


@lru_cache(maxsize=1024)
def settings(names: GroupNames) -> tuple[Operations, ...]:
    """The settings that all the names fit, each with another set of operations.

    Raises:
        SymmetryError: if a name is unknown, or names contradict each other.
    """
    found, exact = _fitting(names)
    if exact is not None:
        return (exact,)
    distinct: dict[frozenset[bytes], Operations] = {}
    for setting in found:
        operations = _operations(setting)
        distinct.setdefault(frozenset(operations._keys(operations.rotation, operations.translation)), operations)
    return tuple(distinct.values())


def systems(names: GroupNames) -> set[str]:
    """The crystal systems, such as 'cubic', of the settings that the names fit; empty if that cannot be told."""
    if not names:
        return set()
    try:
        return {setting.crystal_system_str() for setting in _fitting(names)[0]}
    except SymmetryError:
        return set()


def _fitting(names: GroupNames) -> tuple[list[Any], Operations | None]:
    """The settings of the table that all names fit, and the operations of the Hall symbol, which needs no table.

    Raises:
        SymmetryError: if a name is unknown, or names contradict each other.
    """
    found = all_settings()
    if names.code:  # a code that the table does not have tells nothing
        found = [s for s in found if names.code.lower() in (s.ext.strip("\x00").lower(), s.qualifier)] or found
    found = _of_number(_of_symbols(found, names), names)
    operations = None
    if names.hall:
        operations, number = _by_hall(names.hall)
        keys = operations._keys(operations.rotation, operations.translation)
        found = [s for s in found if s.number == number]
        exact = [s for s in found if (o := _operations(s))._keys(o.rotation, o.translation) == keys]
        others = names.symbols or names.number or names.types
        if others and number and not (exact if names.symbols and _in_table(keys) else found):
            raise _contradiction(names)
    elif not found:
        raise _contradiction(names)
    return found, operations


def _of_symbols(found: list[Any], names: GroupNames) -> list[Any]:
    """Those settings that the symbols name, and the Schoenflies symbols."""
    matching = {symbol: by_symbol(symbol) for symbol in names.symbols}
    for symbol, some in matching.items():
        if some:
            found = [s for s in found if s in some]
        elif not names.hall and not any(matching.values()):  # which say it all
            raise SymmetryError(f"the space group {symbol!r} is not in the tables; list its operations in the file")
    types = {symbol: {s.number for s in by_symbol(symbol)} for symbol in names.types}
    for symbol, numbers in types.items():
        if numbers:
            found = [s for s in found if s.number in numbers]
        elif not names.hall and not names.symbols and not names.number and not any(types.values()):
            raise SymmetryError(f"the space group {symbol!r} is not in the tables; list its operations in the file")
    return found


def _of_number(found: list[Any], names: GroupNames) -> list[Any]:
    """Those settings that have the number, if there is one."""
    if ", " in names.number:
        raise _contradiction(names)
    if not names.number:
        return found
    if not re.fullmatch(r"\d{1,3}", names.number) or not 1 <= int(names.number) <= 230:
        raise SymmetryError(f"the number of a space group must be in 1 to 230, got {names.number!r}")
    return [s for s in found if s.number == int(names.number)]


def _contradiction(names: GroupNames) -> SymmetryError:
    return SymmetryError(f"what the file says of its space group is contradictory: {names}")


@cache
def _operations(setting: Any) -> Operations:
    return _from_gemmi(setting.operations(), setting.xhm())


def _from_gemmi(group: Any, name: str) -> Operations:
    triplets = list(group)
    rotation = np.array([op.rot for op in triplets], dtype=np.float64) / triplets[0].DEN
    translation = np.array([op.tran for op in triplets], dtype=np.float64) / triplets[0].DEN
    return Operations(rotation, translation % 1.0, name)


def _by_hall(symbol: str) -> tuple[Operations, int]:
    """Operations of a Hall symbol, and the number of its group (0 if its setting is not in the table)."""
    import gemmi

    text = symbol.replace("_", " ").strip()
    try:
        group = gemmi.symops_from_hall(text[0].upper() + text[1:] if text[:1] != "-" else "-" + text[1:].capitalize())
    except (RuntimeError, ValueError, IndexError) as error:
        raise SymmetryError(f"the Hall symbol {symbol!r} cannot be read; list the operations in the file") from error
    setting = gemmi.find_spacegroup_by_ops(group)
    operations = _from_gemmi(group, f"Hall {symbol}")
    if not operations.is_group():
        raise SymmetryError(f"the Hall symbol {symbol!r} gives no group; list the operations in the file")
    return operations, setting.number if setting else 0


@cache
def _all_keys() -> set[frozenset[bytes]]:
    return {frozenset((o := _operations(s))._keys(o.rotation, o.translation)) for s in all_settings()}


def _in_table(keys: set[bytes]) -> bool:
    return frozenset(keys) in _all_keys()
