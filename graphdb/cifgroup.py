"""What a CIF block says about its symmetry: operations, names of the group, and items that are not understood.

Programs have many spellings of the few items of the dictionary; each is told by the words in its name.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

from graphdb.cifblock import Block
from graphdb.cifsites import number_of
from graphdb.symmetry import GroupNames

_MAGNETIC_OPERATIONS = "_space_group_symop_magn_operation_xyz"
_MAGNETIC_CENTERINGS = "_space_group_symop_magn_centering_xyz"
_SYSTEMS = ("_symmetry_cell_setting", "_space_group_crystal_system")
#: Kinds of items by what their (normal) names have in them, the first that fits; what fits none is "other".
_KINDS = (
    ("magnetic", re.compile(r"magn|ssg")),
    ("silent", re.compile(r"_(?:id|details|cell_setting|crystal_system|coordinate_system_code)$")),
    (
        "other",
        re.compile(
            r"patterson|point_group|laue|bravais|cent(?:ring|ering)|wyckoff|generator|transform|referen|(?:pos|symop|oper[a-z]*)_n"
        ),
    ),
    ("hall", re.compile(r"hall")),
    ("type", re.compile(r"sch(?:oe|o|x)nfl|h_?m_ref$")),
    ("operations", re.compile(r"xyz|(?:symop|operations?|equiv_pos(?:ition)?s?)$")),
    ("number", re.compile(r"_(?:number|num|nr|no)$")),
    ("symbol", re.compile(r"_h_?m(?:_|$)|_name(?:_|$)|(?:group|symbol)$")),
)
#: Values that P 1 may have, too.
_TRIVIAL = frozenset({"1", "-1", "p", "p1", "p-1", "a", "ap", "a,b,c;0,0,0", "x,y,z", "triclinic", "none"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Symmetry:
    """What a block says.

    Attributes:
        operations: as they are listed; of several lists the longest.
        centerings: of a magnetic list, which its operations have to be combined with.
        is_magnetic: whether the list is one of a magnetic group.
        names: of the group.
        system: crystal system, in lower case.
        magnetic: whether something is said of a magnetic group.
        others: 'item value' of what is said besides, and is not understood.
    """

    operations: list[str]
    centerings: list[str]
    is_magnetic: bool
    names: GroupNames
    system: str
    magnetic: bool
    others: tuple[str, ...]


def read_symmetry(block: Block) -> Symmetry:
    """Collect the items of a block.

    Raises:
        Unusable: if an item stands there twice.
    """
    found: dict[str, list[str]] = {kind: [] for kind, _ in _KINDS}
    operations: list[str] = []
    for item in block.values:
        if not item.startswith(("_symmetry", "_space_group")):
            continue
        kind = _kind(item)
        values = [value.strip() for value in dict.fromkeys(block.column(item)) if value and value.strip()]
        if kind == "operations":
            operations = values if len(values) > len(operations) else operations
        elif kind == "other":
            found[kind] += [f"{item} {value}" for value in values if re.sub(r"\s", "", value).lower() not in _TRIVIAL]
        else:
            found[kind] += values
    magnetic = [value for value in block.column(_MAGNETIC_OPERATIONS) if value and value.strip()]
    numbers = {_whole(value) for value in found["number"]}
    return Symmetry(
        operations=magnetic or operations,
        centerings=[value for value in block.column(_MAGNETIC_CENTERINGS) if value] if magnetic else [],
        is_magnetic=bool(magnetic),
        names=GroupNames(
            hall=next(iter(found["hall"]), ""),
            symbols=tuple(dict.fromkeys(found["symbol"])),
            number=", ".join(sorted(numbers)),
            code=block.text("_space_group_it_coordinate_system_code"),
            types=tuple(dict.fromkeys(found["type"])),
        ),
        system=block.text(*_SYSTEMS).lower(),
        magnetic=bool(found["magnetic"]),
        others=tuple(found["other"]),
    )


@lru_cache(maxsize=1024)
def _kind(item: str) -> str:
    return next((kind for kind, pattern in _KINDS if pattern.search(item)), "other")


def _whole(text: str) -> str:
    """'225' for '225.0', anything else as it is."""
    value = number_of(text)
    return str(int(value)) if value is not None and value.is_integer() else text
