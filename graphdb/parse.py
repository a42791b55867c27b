"""From the text of one structure (CIF, POSCAR, pymatgen JSON) to atoms in a cell, or to the reason why not.

CIF is read by `cif`, POSCAR by `poscar`. pymatgen and gemmi are imported on first use only, not by `import graphdb`.
"""

import json
import re
import warnings
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from graphdb.cif import cell_vectors, read_cif
from graphdb.crystal import Crystal, atomic_number, check_lattice, check_size, checked
from graphdb.errors import Reason, Unusable
from graphdb.files import utf_16_without_mark
from graphdb.poscar import read_poscar

Format = Literal["cif", "poscar", "json"]

#: 5,000 atoms take half a megabyte; what is more is measurements that came along (reflections of 100,000s of lines).
MAX_TEXT_BYTES = 64 * 2**20

_CONTROL = re.compile(r"[\x00-\x08\x0e-\x19\x1b-\x1f]")
#: Atoms of two readers that are closer than this (Å) are the same one.
_SAME_PLACE = 0.01
_SHARE_TOLERANCE = 1e-3


def decode(content: bytes) -> str:
    """Text of a file of unknown origin: UTF-8, UTF-16 with or without mark, else Windows-1252; line ends as newlines.

    Raises:
        Unusable: empty, or binary.
    """
    if len(content) > MAX_TEXT_BYTES:
        raise Unusable(Reason.TOO_LARGE, f"a structure may have {MAX_TEXT_BYTES:,} bytes of text, got {len(content):,}")
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        text = content.decode("utf-16", errors="replace")
    elif encoding := utf_16_without_mark(content):
        text = content.decode(encoding, errors="replace")
    else:
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = content.decode("cp1252", errors="replace")
    if not text.strip("\x00 \t\r\n\f\v"):
        raise Unusable(Reason.EMPTY_FILE, "the file has no content")
    if "\x00" in text or len(_CONTROL.findall(text[:2000])) > 8:
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
            return checked(*_read_json(text))
        crystal = read_cif(text) if format == "cif" else read_poscar(text)
        return _in_order_of_pymatgen(text, format, crystal) if keep_order else crystal
    except Unusable:
        raise
    except RecursionError as error:
        raise Unusable(Reason.UNPARSABLE, "nested too deeply") from error
    except MemoryError as error:
        raise Unusable(Reason.TOO_LARGE, "not enough memory to read it") from error
    except Exception as error:  # what a hostile text can raise inside of a parser has no bounds
        raise Unusable(Reason.UNPARSABLE, _one_line(error)) from error


def _in_order_of_pymatgen(text: str, format: Format, crystal: Crystal) -> Crystal:
    """The same crystal with the sites in pymatgen's order and numbers to its last digit; as it is if pymatgen errs."""
    from pymatgen.io.cif import CifParser
    from pymatgen.io.vasp.inputs import Poscar

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if format == "cif":
                (structure,) = CifParser.from_str(text, check_cif=False).parse_structures(
                    primitive=False, on_error="ignore"
                )
            else:
                structure = Poscar.from_str(text, read_velocities=False).structure
        numbers = np.array([atomic_number(str(getattr(site.specie, "symbol", site.specie))) for site in structure])
        theirs = checked(numbers, np.array(structure.lattice.matrix), np.array(structure.frac_coords), crystal.notes)
    except Exception:  # noqa: BLE001 - what pymatgen makes of a text that it does not understand has no bounds
        return crystal
    return theirs if _are_equal(crystal, theirs) else crystal


def _are_equal(one: Crystal, other: Crystal) -> bool:
    """Whether two crystals have the same atoms at the same places of the same cell."""
    if len(one.atomic_numbers) != len(other.atomic_numbers) or not np.allclose(one.lattice, other.lattice, atol=1e-6):
        return False
    for number, place in zip(one.atomic_numbers, one.frac_coords, strict=True):
        away = other.frac_coords[other.atomic_numbers == number] - place
        away -= np.rint(away)
        if len(away) == 0 or np.linalg.norm(away @ one.lattice, axis=1).min() > _SAME_PLACE:
            return False
    return True


def _read_json(text: str) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """A pymatgen Structure written as JSON, decoded by hand: no class named in a file is ever imported."""
    try:
        entry = json.loads(text)
    except json.JSONDecodeError as error:
        raise Unusable(Reason.UNPARSABLE, f"not JSON: {error}") from error
    if not isinstance(entry, dict) or not ("lattice" in entry or "sites" in entry):
        raise Unusable(Reason.NOT_A_STRUCTURE, "a pymatgen structure has 'lattice' and 'sites', this JSON has not")
    lattice = _json_lattice(entry.get("lattice"))
    check_lattice(lattice)
    sites = entry.get("sites")
    if not sites:
        raise Unusable(Reason.NO_ATOMS, "the list of sites is empty")
    check_size(len(sites))
    numbers: list[int] = []
    fractions: list[Any] = []
    for place, site in enumerate(sites):
        if not isinstance(site, dict):
            raise Unusable(Reason.UNPARSABLE, f"site {place} must be an object, got {type(site).__name__}")
        name = site.get("label", place)
        numbers.append(_json_species(site, name))
        if "abc" not in site and "xyz" not in site:
            raise Unusable(Reason.BAD_COORDINATES, f"site {name} must have 'abc' or 'xyz', it has neither")
        fractions.append(site["abc"] if "abc" in site else np.linalg.solve(lattice.T, np.asarray(site["xyz"], float)))
    return np.array(numbers), lattice, np.array(fractions, dtype=np.float64)


def _json_lattice(lattice: object) -> NDArray[np.float64]:
    """The cell vectors as rows, Å: given themselves, or by lengths and angles."""
    if not isinstance(lattice, dict):
        raise Unusable(Reason.NO_LATTICE, "the structure has no lattice (a molecule?)")
    if "matrix" in lattice:
        return np.array(lattice["matrix"], dtype=np.float64)
    names = ("a", "b", "c", "alpha", "beta", "gamma")
    missing = [name for name in names if lattice.get(name) is None]
    if missing:
        raise Unusable(Reason.NO_LATTICE, f"the lattice must have 'matrix', or {', '.join(names)}; no {missing[0]}")
    return cell_vectors(*(float(lattice[name]) for name in names))


def _json_species(site: dict[str, Any], name: object) -> int:
    """The atomic number of a site; several species of one element, such as two charges, may share it."""
    species = site.get("species")
    if not isinstance(species, list) or not species:
        raise Unusable(Reason.UNKNOWN_ELEMENT, f"site {name} must have a list 'species', it has none")
    if not all(isinstance(item, dict) and "element" in item for item in species):
        raise Unusable(Reason.UNKNOWN_ELEMENT, f"the species of site {name} must each have an 'element'")
    symbols = [str(item["element"]) for item in species]
    share = sum(float(item.get("occu", 1)) for item in species)
    if len({symbol.rstrip("+-.0123456789") for symbol in symbols}) > 1 or abs(share - 1) > _SHARE_TOLERANCE:
        raise Unusable(Reason.DISORDERED, f"site {name} is shared or partly empty")
    return atomic_number(symbols[0])


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


def _one_line(error: object, limit: int = 200) -> str:
    """The message of an exception on one line of bounded length."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= limit else text[: limit - 1] + "…"
