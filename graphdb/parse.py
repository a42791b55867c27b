"""From the text of one structure (CIF, POSCAR, pymatgen JSON) to atoms in a cell, or to the reason why not.

pymatgen is imported on first use only: plain CIFs and JSON do without it, and so does `import graphdb`.
"""

import json
import re
import warnings
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from graphdb.cif import ATOMIC_NUMBERS, CELL_NAMES, SYMBOLS, SYMMETRY_NAMES, read_plain_cif
from graphdb.errors import Reason
from graphdb.graph import MAX_ATOMIC_NUMBER, MAX_ATOMS

Format = Literal["cif", "poscar", "json"]

#: 5,000 atoms take about half a megabyte; pymatgen needs minutes for a text ten times larger.
MAX_TEXT_BYTES = 8 * 2**20

_USUAL_OPERATIONS = 48
_MAX_POSITIONS = 20 * MAX_ATOMS
_CRYSTAL_SYSTEM_NAMES = ("_symmetry_cell_setting", "_space_group_crystal_system")
_HEAVY_HYDROGEN = {"D": 1, "T": 1}
_SYMBOL = re.compile(r"[A-Za-z]+")
_TYPE_SYMBOL_GROUPS = frozenset({"hw", "ow", "wat", "oh", "oh2"})


@dataclass(frozen=True, slots=True, eq=False)
class Crystal:
    """Atoms in a periodic cell, checked: at least one atom, finite numbers, a cell with volume, supported elements.

    Attributes:
        atomic_numbers: (A,) uint8.
        lattice: (3, 3) float64, the cell vectors as rows, Å.
        frac_coords: (A, 3) float64, in units of the cell vectors.
    """

    atomic_numbers: NDArray[np.uint8]
    lattice: NDArray[np.float64]
    frac_coords: NDArray[np.float64]


class Unusable(Exception):
    """A structure that cannot be used.

    Attributes:
        reason: the kind of problem.
        message: what exactly, for a person.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        """Remember reason and message."""
        super().__init__(message)
        self.reason = reason
        self.message = message


def decode(content: bytes) -> str:
    """Text of a file of unknown origin: UTF-8 or UTF-16 with or without mark, else Latin-1; line ends become newlines.

    Raises:
        Unusable: empty, or binary.
    """
    if len(content) > MAX_TEXT_BYTES:
        raise Unusable(Reason.TOO_LARGE, f"a structure may have {MAX_TEXT_BYTES:,} bytes of text, got {len(content):,}")
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        text = content.decode("utf-16", errors="replace")
    else:
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = content.decode("latin-1")
    if not text.strip("\x00 \t\r\n\f\v"):
        raise Unusable(Reason.EMPTY_FILE, "the file has no content")
    if "\x00" in text or sum(character < " " and character not in "\t\r\n\f\v\x1a" for character in text[:2000]) > 8:
        raise Unusable(Reason.UNPARSABLE, "the content is binary, not text")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def sniff(text: str) -> Format | None:
    """The format that a text looks like, from its content alone; None if it is no structure."""
    head = text.lstrip("\ufeff \t\r\n")
    if head[:1] in ("{", "["):
        return "json" if '"lattice"' in head or '"sites"' in head else None
    if re.search(r"^\s*_cell_length_a\b", text, re.MULTILINE) or re.search(r"^\s*_atom_site_", text, re.MULTILINE):
        return "cif"
    lines = text.splitlines()
    if len(lines) >= 7 and all(_num_floats(line) >= 3 for line in lines[2:5]) and _num_floats(lines[1]) >= 1:
        return "poscar"
    return None


def parse_crystal(content: bytes, format: Format, *, keep_order: bool = False) -> Crystal:
    """Read one structure.

    Args:
        content: the file, or the cell of a table, as it is.
        format: what it claims to be.
        keep_order: give the sites in the order in which pymatgen gives them (the original CGCNN's choice of neighbors
            depends on it); costs time.

    Raises:
        Unusable: with the reason, for whatever is wrong with it.
    """
    text = decode(content)
    try:
        if format == "json":
            arrays = _read_json(text)
        else:
            plain = read_plain_cif(text) if format == "cif" and not keep_order else None
            arrays = plain if plain is not None else _read_with_pymatgen(text, format)
    except Unusable:
        raise
    except RecursionError as error:
        raise Unusable(Reason.UNPARSABLE, "nested too deeply") from error
    except MemoryError as error:
        raise Unusable(Reason.TOO_LARGE, "not enough memory to read it") from error
    except Exception as error:  # what a hostile text can raise inside of a parser has no bounds
        raise Unusable(Reason.UNPARSABLE, _one_line(error)) from error
    return _checked(*arrays)


def _read_with_pymatgen(text: str, format: Format) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        structure = _cif_structure(text) if format == "cif" else _poscar_structure(text)
        if not structure.is_ordered:
            site = next(site for site in structure if not site.is_ordered)
            place = _coordinates(site.frac_coords)
            raise Unusable(Reason.DISORDERED, f"site {site.species_string} at {place} is shared or partly empty")
        numbers = [_atomic_number(str(getattr(site.specie, "symbol", site.specie))) for site in structure]
    return np.array(numbers), np.array(structure.lattice.matrix), np.array(structure.frac_coords)


def _cif_structure(text: str) -> Any:
    from pymatgen.io.cif import CifParser

    if not re.search(r"^\s*_atom_site_fract_x\b", text, re.MULTILINE):
        if CELL_NAMES[0] not in text:
            raise Unusable(Reason.UNPARSABLE, "no crystal in this text: neither _cell_length_a nor _atom_site_fract_x")
        raise Unusable(Reason.NO_ATOMS, "no _atom_site_fract_x: the file lists no atoms")
    _check_cif_cell(text)
    if text.count("\n") > 4 * MAX_ATOMS:
        raise Unusable(
            Reason.TOO_LARGE, f"a cell may have {MAX_ATOMS:,} atoms; the file has {text.count(chr(10)):,} lines"
        )
    if re.search(r"^data_", text, re.MULTILINE | re.IGNORECASE) is None:
        raise Unusable(Reason.UNPARSABLE, "no data_ line before the first item")
    parser: Any = None
    try:
        parser = CifParser.from_str(text, check_cif=False)
        _check_type_symbols(parser)
        _check_num_positions(parser)
        structures = parser.parse_structures(primitive=False, on_error="ignore")
    except Unusable:
        raise
    except Exception as error:
        notes = " ".join([str(error), *(parser.warnings if parser else [])])
        raise _explain_cif(text, notes) from error
    if len(structures) > 1:
        raise Unusable(
            Reason.SEVERAL_STRUCTURES, f"one structure per file is expected, got {len(structures)} data blocks"
        )
    return structures[0]


def _check_cif_cell(text: str) -> None:
    """Refuse a cell that is incomplete or has no volume, before pymatgen stumbles over it."""
    found = dict(re.findall(r"^\s*(_cell_(?:length_[abc]|angle_(?:alpha|beta|gamma)))\s+([^\s(]+)", text, re.MULTILINE))
    missing = [name for name in CELL_NAMES if name not in found]
    if not found or missing and not any(name in text for name in _CRYSTAL_SYSTEM_NAMES):
        raise Unusable(Reason.NO_LATTICE, f"{missing[0]} is missing")
    try:
        values = [float(found[name]) for name in CELL_NAMES if name in found]
    except ValueError as error:
        raise Unusable(Reason.UNPARSABLE, f"cell lengths and angles must be numbers: {error}") from error
    if not (np.isfinite(values).all() and min(values) > 0):
        raise Unusable(Reason.INVALID_CELL, f"cell lengths and angles must be positive and finite, got {values}")
    if len(values) == len(CELL_NAMES):
        x, y, z = np.cos(np.radians(values[3:]))
        if 1 - x * x - y * y - z * z + 2 * x * y * z < 1e-8:
            raise Unusable(Reason.INVALID_CELL, f"the cell must have a volume, got angles {_coordinates(values[3:])}")


def _check_type_symbols(parser: Any) -> None:
    """Refuse made-up type symbols: pymatgen takes 'Uue' for U and 'Va' (a vacancy) for V."""
    for block in parser.as_dict().values():
        symbols = block.get("_atom_site_type_symbol", [])
        for symbol in {symbols} if isinstance(symbols, str) else set(symbols):
            letters = _SYMBOL.match(symbol)
            if letters is None or letters.group().lower() not in _TYPE_SYMBOL_GROUPS:
                _atomic_number(letters.group().title() if letters else symbol)


def _check_num_positions(parser: Any) -> None:
    """Refuse what symmetry would blow up beyond reason: pymatgen compares every position with every other."""
    for block in parser.as_dict().values():
        operations = next((block[name] for name in SYMMETRY_NAMES if name in block), None)
        if operations is None:
            is_p1 = str(block.get("_symmetry_space_group_name_H-M", "P 1")).replace(" ", "") == "P1"
            num_operations = 1 if is_p1 else _USUAL_OPERATIONS
        else:
            num_operations = len(operations) if isinstance(operations, list) else 1
        positions = block.get("_atom_site_fract_x", [])
        num_positions = num_operations * (len(positions) if isinstance(positions, list) else 1)
        if num_positions > _MAX_POSITIONS:
            message = f"at most {_MAX_POSITIONS:,} positions before symmetry merges them, got {num_positions:,}"
            raise Unusable(Reason.TOO_LARGE, message)


def _explain_cif(text: str, notes: str) -> Unusable:
    """What pymatgen's complaints mean."""
    if "thickness" in notes:
        return Unusable(Reason.INVALID_CELL, "the cell has no volume: a lattice plane spacing is below 0.01 Å")
    if "ccupanc" in notes:
        return Unusable(Reason.COINCIDING_ATOMS, "atoms share a place: the occupancies of a site add up to more than 1")
    if re.search(r"\b(nan|inf)\b", text, re.IGNORECASE):
        return Unusable(Reason.BAD_COORDINATES, "coordinates and cell must be finite numbers, got nan or inf")
    if "_cell_" in notes:
        return Unusable(Reason.NO_LATTICE, _one_line(notes))
    if re.search(r"^[ \t]*_atom_site_\w+\s*(?:\Z|^[ \t]*(?:loop_|data_))", text, re.MULTILINE):
        return Unusable(Reason.NO_ATOMS, "the loop of atoms is empty")
    return Unusable(Reason.UNPARSABLE, _one_line(notes))


def _poscar_structure(text: str) -> Any:
    from pymatgen.io.vasp.inputs import Poscar

    lines = text.splitlines()
    if len(lines) < 7:
        raise Unusable(Reason.UNPARSABLE, f"a POSCAR has at least 8 lines, got {len(lines)}")
    if all(word.isdigit() for word in lines[5].split()):
        raise Unusable(Reason.UNKNOWN_ELEMENT, "line 6 must name the elements (VASP 5 format), got only their counts")
    for word in lines[5].split():
        _atomic_number(re.split(r"[/_.]", word)[0])
    counts = [int(word) for word in lines[6].split() if word.isdigit()]
    if counts and sum(counts) == 0:
        raise Unusable(Reason.NO_ATOMS, "line 7 counts no atoms")
    if sum(counts) > MAX_ATOMS:
        raise Unusable(Reason.TOO_LARGE, f"a cell may have {MAX_ATOMS:,} atoms, got {sum(counts):,}")
    rows = np.array([[float(word) for word in line.split()[:3]] for line in lines[2:5]])
    _check_lattice(rows)
    return Poscar.from_str(text, read_velocities=False).structure


def _read_json(text: str) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """A pymatgen Structure written as JSON, decoded by hand: no class named in a file is ever imported."""
    try:
        entry = json.loads(text)
    except json.JSONDecodeError as error:
        raise Unusable(Reason.UNPARSABLE, f"not JSON: {error}") from error
    if not isinstance(entry, dict) or not ("lattice" in entry or "sites" in entry):
        raise Unusable(Reason.NOT_A_STRUCTURE, "a pymatgen structure has 'lattice' and 'sites', this JSON has not")
    if not isinstance(entry.get("lattice"), dict) or "matrix" not in entry["lattice"]:
        raise Unusable(Reason.NO_LATTICE, "the structure has no lattice matrix (a molecule?)")
    lattice = np.array(entry["lattice"]["matrix"], dtype=np.float64)
    _check_lattice(lattice)
    sites = entry.get("sites")
    if not sites:
        raise Unusable(Reason.NO_ATOMS, "the list of sites is empty")
    if len(sites) > MAX_ATOMS:
        raise Unusable(Reason.TOO_LARGE, f"a cell may have {MAX_ATOMS:,} atoms, got {len(sites):,}")
    numbers: list[int] = []
    fractions: list[Any] = []
    for site in sites:
        species = site["species"]
        if len(species) != 1 or abs(float(species[0].get("occu", 1)) - 1) > 1e-8:
            raise Unusable(Reason.DISORDERED, f"site {site.get('label', len(numbers))} is shared or partly empty")
        numbers.append(_atomic_number(str(species[0]["element"])))
        fractions.append(site["abc"] if "abc" in site else np.linalg.solve(lattice.T, np.asarray(site["xyz"], float)))
    return np.array(numbers), lattice, np.array(fractions, dtype=np.float64)


def _atomic_number(symbol: str) -> int:
    """Atomic number of 'Fe', 'Fe3+' or 'D'."""
    match = re.match(r"[A-Z][a-z]?(?![a-z])", symbol)
    number = ATOMIC_NUMBERS.get(match.group(), _HEAVY_HYDROGEN.get(match.group(), 0)) if match else 0
    if number == 0:
        raise Unusable(Reason.UNKNOWN_ELEMENT, f"{symbol!r} is no chemical element")
    return number


def _check_lattice(lattice: NDArray[np.float64]) -> None:
    if lattice.shape != (3, 3):
        raise Unusable(Reason.INVALID_CELL, f"the cell must have 3 vectors of 3 numbers, got shape {lattice.shape}")
    if not np.isfinite(lattice).all():
        raise Unusable(Reason.INVALID_CELL, "the cell must be finite numbers, got nan or inf")
    lengths = np.linalg.norm(lattice, axis=1)
    if lengths.max() > 1e5 or abs(np.linalg.det(lattice)) <= 1e-4 * lengths.prod() or lengths.prod() == 0:
        raise Unusable(Reason.INVALID_CELL, f"the cell must have a volume, got vectors of {_coordinates(lengths)} Å")


def _checked(numbers: NDArray[Any], lattice: NDArray[np.float64], fractions: NDArray[np.float64]) -> Crystal:
    _check_lattice(lattice)
    if len(numbers) == 0:
        raise Unusable(Reason.NO_ATOMS, "the cell has no atoms")
    if len(numbers) > MAX_ATOMS:
        raise Unusable(Reason.TOO_LARGE, f"a cell may have {MAX_ATOMS:,} atoms, got {len(numbers):,}")
    if fractions.shape != (len(numbers), 3) or not np.isfinite(fractions).all() or np.abs(fractions).max() > 1e6:
        raise Unusable(Reason.BAD_COORDINATES, "every atom needs three finite coordinates")
    if numbers.max() > MAX_ATOMIC_NUMBER:
        symbol = SYMBOLS[int(numbers.max())]
        raise Unusable(
            Reason.ELEMENT_WITHOUT_FEATURES,
            f"{symbol} has no features; elements up to {SYMBOLS[MAX_ATOMIC_NUMBER]} have",
        )
    return Crystal(numbers.astype(np.uint8), lattice, fractions - np.floor(fractions))


def _num_floats(line: str) -> int:
    """How many numbers a line begins with."""
    count = 0
    for word in line.split():
        try:
            float(word)
        except ValueError:
            break
        count += 1
    return count


def _coordinates(values: Any) -> str:
    return "(" + ", ".join(f"{value:.4g}" for value in values) + ")"


def _one_line(error: object, limit: int = 200) -> str:
    """The message of an exception on one line of bounded length."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= limit else text[: limit - 1] + "…"
