"""One structure as its source has it: a text with an id, not yet read."""

import unicodedata
from dataclasses import dataclass

from graphdb.errors import Reason, SkippedCrystal
from graphdb.names import clean_id
from graphdb.parse import Format

#: Ids are keys of LMDB, which end at 511 bytes.
MAX_ID_BYTES = 500


@dataclass(frozen=True, slots=True)
class RawCrystal:
    """One structure as its source has it.

    Attributes:
        material_id: cleaned and valid; not yet known to be the only one of its name.
        format: what the text claims to be.
        content: the text, as bytes.
        where: file, archive member or row.
    """

    material_id: str
    format: Format
    content: bytes
    where: str


Entry = RawCrystal | SkippedCrystal


def raw_crystal(material_id: str, format: Format, content: bytes, where: str) -> Entry:
    """An entry for a text, provided that its id is a usable one."""
    cleaned = clean_id(material_id)
    if problem := id_problem(cleaned):
        readable = cleaned.encode("utf-8", "replace").decode()[:80]
        return SkippedCrystal("".join(filter(str.isprintable, readable)), Reason.BAD_ID, problem, where)
    return RawCrystal(cleaned, format, content, where)


def id_problem(material_id: str) -> str:
    """What is wrong with an id; empty if it is fine."""
    if not material_id:
        return "an id must not be empty"
    try:
        size = len(material_id.encode())
    except UnicodeEncodeError:
        return "an id must be valid Unicode"
    if size > MAX_ID_BYTES:
        return f"an id must have at most {MAX_ID_BYTES} bytes, got {size}"
    if any(unicodedata.category(character) in ("Cc", "Zl", "Zp") for character in material_id):
        return "an id must not have control characters or line breaks"
    return ""
