"""What the name of a file tells: the format of a structure, and the id of its crystal."""

from pathlib import PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # NumPy
    from graphdb.parse import Format

_SUFFIXES: "dict[str, Format]" = {
    ".cif": "cif",
    ".mcif": "cif",
    ".vasp": "poscar",
    ".poscar": "poscar",
    ".contcar": "poscar",
    ".json": "json",
}
_VASP_NAMES = ("POSCAR", "CONTCAR")
_COMPRESSED = (".gz", ".bz2", ".xz")


def name_format(name: str) -> "Format | None":
    """The format that a file's name promises; None if it is no structure's name."""
    base = uncompressed_name(PurePosixPath(name).name)
    suffix = PurePosixPath(base).suffix.lower()
    if base.upper().startswith(_VASP_NAMES) and suffix not in (".cif", ".mcif", ".json", ".tar", ".zip"):
        return "poscar"
    return _SUFFIXES.get(suffix)


def file_id(name: str) -> str:
    """The id of a file: its stem; of a bare POSCAR its folder's name; of POSCAR.x, POSCAR_x, POSCAR-x.vasp it is x."""
    path = PurePosixPath(name)
    base = uncompressed_name(path.name)
    for prefix in _VASP_NAMES:
        if base.upper() == prefix:
            return path.parent.name or base
        if base.upper().startswith(prefix) and base[len(prefix)] in "._-" and len(base) > len(prefix) + 1:
            rest = base[len(prefix) + 1 :]
            return _stem(rest) if rest.lower() not in ("vasp", "poscar") else path.parent.name or prefix
    return _stem(base)


def uncompressed_name(name: str) -> str:
    """A file's name without ``.gz``, ``.bz2`` or ``.xz``."""
    return name[: name.rindex(".")] if name.lower().endswith(_COMPRESSED) else name


def _stem(base: str) -> str:
    suffix = PurePosixPath(base).suffix
    return base[: -len(suffix)] if suffix.lower() in _SUFFIXES else base
