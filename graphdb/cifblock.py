"""The grammar of CIF: from a text to its data blocks, each a table of the items that tell of atoms.

gemmi reads the grammar. A text that breaks it is read by pymatgen, which forgives more; the crystal gets a note then.
"""

import re
import warnings
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from graphdb.crystal import Note
from graphdb.errors import Reason, Unusable

#: What is wanted of a block, by the beginning of its (normal) name.
_WANTED = ("_atom_site_", "_atom_type_symbol", "_cell_", "_chemical_formula_sum", "_space_group", "_symmetry")
_UNWANTED = ("_atom_site_aniso",)
#: pymatgen's reader is slow and takes a text apart with regular expressions.
_MAX_IRREGULAR_BYTES = 2 * 2**20
#: Characters that CIF does not allow outside of quotes, and what is meant by them; any other becomes an x.
_PLAIN = {ord(dash): "-" for dash in "\u2010\u2011\u2012\u2013\u2212"} | {
    ord(space): " " for space in "\u00a0\u2002\u2003\u2009\u202f\u3000\x0b\x0c\x1a"
}
_PLAIN |= {ord(nothing): "" for nothing in "\ufeff\u200b\u200e\u200f\u2060"}
_NOT_PLAIN = re.compile(r"[^\t\n\r -~]")

#: Unknown or inapplicable; some programs put it in quotes.
_UNKNOWN = frozenset((".", "?", "", "'?'", '"?"', "'.'", '"."', "''", '""'))

Value = str | None


@dataclass(slots=True)
class Block:
    """One data block.

    Attributes:
        name: what stands behind ``data_``.
        values: the values of each item, None for '.' and '?'; one for an item outside of a loop. Names are `normal`.
        dots: (column, row) of the coordinates that are '.' rather than '?'.
        twice: names that stand in the block twice, with different values.
    """

    name: str
    values: dict[str, list[Value]] = field(default_factory=dict)
    dots: set[tuple[str, int]] = field(default_factory=set)
    twice: set[str] = field(default_factory=set)

    def column(self, *names: str) -> list[Value]:
        """The values of the first of these names that the block has; empty if it has none."""
        for name in names:
            if name in self.twice:
                raise Unusable(Reason.UNPARSABLE, f"{name} stands in data_{self.name} twice, with different values")
            if name in self.values:
                return self.values[name]
        return []

    def text(self, *names: str) -> str:
        """The value of the first of these names that has one; empty if none has."""
        for name in names:
            for value in self.column(name):
                if value is not None and value.strip():
                    return value.strip()
        return ""


def read_blocks(text: str) -> tuple[list[Block], tuple[Note, ...]]:
    """All data blocks of a CIF.

    Raises:
        Unusable: if the text is no CIF.
    """
    from gemmi import cif

    text = _NOT_PLAIN.sub("x", text.translate(_PLAIN)) if not text.isascii() or _NOT_PLAIN.search(text) else text
    try:
        return [_block(block) for block in cif.read_string(text, check_level=0)], ()
    except (ValueError, RuntimeError) as error:
        problem = re.sub(r"^string:", "line ", " ".join(str(error).split()))
        if len(text) > _MAX_IRREGULAR_BYTES:
            raise Unusable(Reason.UNPARSABLE, f"the text must follow the grammar of CIF: {problem}") from error
    return _irregular(text, problem)


@lru_cache(maxsize=4096)
def normal(name: str) -> str:
    """A name as all spellings of it have it: lower case, no dots or hyphens, nothing after the last letter."""
    return name.lower().replace(".", "_").replace("-", "_").rstrip("_")


def _block(block: Any) -> Block:
    from gemmi import cif

    found = Block(block.name.strip())
    for item in block:
        if pair := item.pair:
            name = normal(pair[0])
            if name.startswith(_WANTED):
                _add(found, name, [pair[1]], cif.as_string)
        elif loop := item.loop:
            names = [normal(tag) for tag in loop.tags]
            wanted = [i for i, name in enumerate(names) if name.startswith(_WANTED) and not name.startswith(_UNWANTED)]
            if wanted:
                values, width = loop.values, len(names)
                for i in wanted:
                    _add(found, names[i], values[i::width], cif.as_string)
    return found


def _add(block: Block, name: str, raw: list[str], unquoted: Any) -> None:
    values = [None if value in _UNKNOWN else unquoted(value) for value in raw]
    if name in block.values and block.values[name] != values:
        block.twice.add(name)
    block.values[name] = values
    if name.startswith("_atom_site_fract_") and None in values:
        block.dots.update((name, row) for row, value in enumerate(raw) if value == ".")


def _irregular(text: str, problem: str) -> tuple[list[Block], tuple[Note, ...]]:
    """What pymatgen can make of a text that breaks the grammar."""
    from pymatgen.io.cif import CifFile

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data = CifFile.from_str(text).data
    except Exception as error:  # what a hostile text can raise inside of a parser has no bounds
        raise Unusable(Reason.UNPARSABLE, f"the text must follow the grammar of CIF: {problem}") from error
    blocks = []
    for name, entry in data.items():
        block = Block(name)
        for tag, value in entry.data.items():
            if normal(tag).startswith(_WANTED):
                _add(block, normal(tag), value if isinstance(value, list) else [value], str)
        blocks.append(block)
    return blocks, (Note(Reason.IRREGULAR_TEXT, f"the text breaks the grammar of CIF: {problem}"),)
