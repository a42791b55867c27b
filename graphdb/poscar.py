"""POSCAR and CONTCAR, the structures of VASP, as people and programs write them."""

import itertools
import re
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from graphdb.crystal import Crystal, atomic_number, check_lattice, check_size, checked, element_number
from graphdb.errors import Reason, Unusable

_COMMENT = re.compile(r"[!#].*")
#: An element behind another one and a share, 'Fe0.5Co0.5', or a sign, 'Fe-Co'.
_SEVERAL = re.compile(r"[A-Za-z](?:\d*\.\d*|[-+,&|;:])[A-Z]")
_REPEAT = re.compile(r"(\d+)\*(\S+)")


def read_poscar(text: str) -> Crystal:
    """The crystal of a POSCAR of VASP 5 or later, with the elements in line 6.

    The second line is a factor for lengths, or three of them, or the volume with a minus sign; it applies to the cell
    and to Cartesian coordinates. Comments, D exponents, species with the name or hash of their potential, wrapped
    lines of species and counts, selective dynamics and whatever follows the coordinates are allowed.

    Raises:
        Unusable: with the reason.
    """
    lines = text.split("\n")
    while lines and not lines[-1].strip():
        lines.pop()
    if len(lines) < 7:
        raise Unusable(Reason.UNPARSABLE, f"a POSCAR has at least 8 lines, got {len(lines)}")
    factors = _factors(lines[1])
    rows = np.array([_numbers(lines[i], i, 3) for i in (2, 3, 4)])
    lattice, scale = _scaled(rows, factors)
    check_lattice(lattice)
    species, counts, position = _species(lines)
    if sum(counts) == 0:
        raise Unusable(Reason.NO_ATOMS, "line 7 counts no atoms")
    check_size(sum(counts))
    position, mode = _mode(lines, position)
    if mode in ("s", "S"):
        position, mode = _mode(lines, position)
    if _number(lines[position - 1].split(maxsplit=1)[0] if lines[position - 1].strip() else "") is not None:
        message = f"line {position} must say Direct or Cartesian, got {lines[position - 1].strip()[:40]!r}"
        raise Unusable(Reason.UNPARSABLE, message)
    last = position + sum(counts)
    if len(lines) < last:
        message = f"{sum(counts):,} atoms are counted, but there are {len(lines) - position:,} lines of coordinates"
        raise Unusable(Reason.UNPARSABLE, message)
    places = np.array([_numbers(lines[i], i, 3) for i in range(position, last)], dtype=np.float64)
    if not np.isfinite(places).all():
        raise Unusable(Reason.BAD_COORDINATES, "coordinates must be finite numbers, got nan or inf")
    _check_end(lines, last, sum(counts))
    numbers = np.repeat([atomic_number(name) for name in species], counts)
    fractions = places
    if mode in "cCkK":
        fractions = np.asarray(np.linalg.solve(lattice.T, (places * scale).T).T, dtype=np.float64)
    return checked(numbers, lattice, fractions)


def _factors(line: str) -> list[float]:
    values = []
    for word in _words(line):
        number = _number(word)
        if number is None:
            break
        values.append(number)
    if len(values) in (0, 2):
        raise Unusable(Reason.UNPARSABLE, f"line 2 must be one or three scaling factors, got {line.strip()[:40]!r}")
    values = values[:3]
    if not np.isfinite(values).all() or 0 in values or (len(values) == 3 and min(values) <= 0):
        message = f"scaling factors must be finite and not 0, three of them positive, got {line.strip()[:40]!r}"
        raise Unusable(Reason.INVALID_CELL, message)
    return values


def _scaled(rows: NDArray[np.float64], factors: list[float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The cell in Å, and what Cartesian coordinates (x, y, z) have to be multiplied by."""
    if len(factors) == 1 and factors[0] < 0:
        volume = abs(np.linalg.det(rows))
        if not volume > 0:
            raise Unusable(Reason.INVALID_CELL, "the cell must have a volume, the three vectors lie in a plane")
        factors = [(-factors[0] / volume) ** (1 / 3)]
    scale = np.array(factors * 3 if len(factors) == 1 else factors)
    return rows * scale, scale


def _species(lines: list[str]) -> tuple[list[str], list[int], int]:
    """Elements, how many atoms of each, and the first line behind them."""
    position = 5
    words: list[str] = []
    while position < len(lines) and (found := _words(lines[position])) and _number(found[0]) is None:
        words += found
        position += 1
    if not words:
        raise Unusable(Reason.UNKNOWN_ELEMENT, "line 6 must name the elements (VASP 5 format), got only their counts")
    species = [_element(word) for word in words]
    counts: list[int] = []
    while position < len(lines) and len(counts) < len(species):
        found = _words(lines[position])[: _num_numbers(lines[position])]
        if not found:
            break
        if not all(map(_is_count, found)):
            message = f"counts of atoms must be whole numbers, got {lines[position].strip()[:40]!r}"
            raise Unusable(Reason.UNPARSABLE, message)
        counts += [int(word) for word in found]
        position += 1
    if len(counts) != len(species):
        message = f"{len(species)} species are named, but {len(counts)} counts of atoms are given"
        raise Unusable(Reason.UNPARSABLE, message)
    return species, counts, position


def _element(word: str) -> str:
    """The element of 'Fe', 'Fe_pv', 'Fe_pv/0a1b2c', 'Fe.2'."""
    if _SEVERAL.search(word.split("/")[0]):
        raise Unusable(Reason.DISORDERED, f"a site is shared by several elements: {word}")
    symbol = re.split(r"[/_.:]", word)[0]
    atomic_number(symbol)
    return symbol


def _mode(lines: list[str], position: int) -> tuple[int, str]:
    """The next line, and the letter that it begins with; anything but Cartesian, also nothing, is Direct for VASP."""
    if position >= len(lines):
        raise Unusable(Reason.UNPARSABLE, f"line {position + 1} must say Direct or Cartesian, but there is none")
    return position + 1, lines[position].strip()[:1]


def _check_end(lines: list[str], last: int, num_atoms: int) -> None:
    """Refuse more atoms than are counted, or a second structure, from the line `last` on; velocities are fine.

    Raises:
        Unusable: with the reason.
    """
    if last < len(lines) and _num_numbers(lines[last]) >= 3:
        message = f"{num_atoms:,} atoms are counted, but line {last + 1} has coordinates of another one"
        raise Unusable(Reason.UNPARSABLE, message)
    for i in range(last, len(lines)):
        if re.match(r"\s*(?:direct|cartesian)\s+configuration", lines[i], re.IGNORECASE) or _begins(lines[i : i + 7]):
            message = f"one structure per file is expected, but another one begins in line {i + 1}"
            raise Unusable(Reason.SEVERAL_STRUCTURES, message)


def _begins(lines: list[str]) -> bool:
    """Whether 7 lines are the first ones of a structure: title, factor, cell, elements (not in VASP 4), counts."""
    if len(lines) < 7 or not all(_num_numbers(line) == 3 for line in lines[2:5]):
        return False
    if letters := re.match(r"\s*([A-Za-z]+)", lines[5]):
        is_count = all(map(_is_count, _words(lines[6])[:1]))
        return _num_numbers(lines[1]) in (1, 3) and element_number(letters.group(1)) > 0 and is_count
    return _num_numbers(lines[1]) == 1 and all(map(_is_count, _words(lines[5]))) and lines[6].strip()[:1].isalpha()


def _num_numbers(line: str) -> int:
    """How many numbers a line begins with."""
    return len(list(itertools.takewhile(lambda word: _number(word) is not None, _words(line))))


def _numbers(line: str, index: int, count: int) -> list[float]:
    """The first numbers of a line."""
    values = [_number(word) for word in _words(line)[:count]]
    numbers = [value for value in values if value is not None]
    if len(numbers) < count:
        message = f"line {index + 1} must begin with {count} numbers, got {line.strip()[:60]!r}"
        raise Unusable(Reason.UNPARSABLE, message)
    return numbers


def _words(line: str) -> list[str]:
    """Words of a line without its comment; '3*0.5' is three of them."""
    return [word for found in _COMMENT.sub("", line).split() for word in _repeated(found)]


def _repeated(word: str) -> Iterator[str]:
    match = _REPEAT.fullmatch(word)
    yield from [match.group(2)] * min(int(match.group(1)), 10) if match else [word]


def _number(word: str) -> float | None:
    try:
        return float(re.sub(r"(?<=[\d.])[dD](?=[+-]?\d)", "e", word)) if "_" not in word else None
    except ValueError:
        return None


def _is_count(word: str) -> bool:
    return word.isascii() and word.isdigit()
