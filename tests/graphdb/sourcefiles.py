"""Sources for tests: two crystals as folders, archives and tables."""

import bz2
import csv
import gzip
import io
import json
import lzma
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure
from pymatgen.io.cif import CifWriter
from pymatgen.io.vasp.inputs import Poscar

from graphdb.convert import to_crystal
from graphdb.crystal import Crystal
from graphdb.errors import SkippedCrystal, SourceError
from graphdb.matching import CrystalIds
from graphdb.rawcrystal import Entry, RawCrystal
from graphdb.sources import Source, open_source
from graphdb.targets import TargetTable
from graphdb.usable import iter_usable

NACL = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])


IRON = Structure.from_spacegroup("Im-3m", Lattice.cubic(2.87), ["Fe"], [[0, 0, 0]])


CRYSTALS = {"salt": NACL, "iron": IRON}


def read_usable(path: Path, convert: Callable[[RawCrystal], Any] = to_crystal) -> list[tuple[str, Any]]:
    """Id and result of everything in a source."""
    found = []
    for item in iter_usable([path], lambda texts: (convert(raw) for raw, _ in texts)):
        if isinstance(item.result, SourceError):
            raise item.result
        if not item.is_deferred:
            found.append((item.material_id, item.result))
    return found


def text(structure: Structure, kind: str) -> str:
    if kind == "cif":
        return str(CifWriter(structure))
    return Poscar(structure).get_str() if kind == "poscar" else json.dumps(structure.as_dict())


def add_member(archive: tarfile.TarFile, name: str, content: bytes = b"", **fields: Any) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    for field, value in fields.items():
        setattr(member, field, value)
    archive.addfile(member, io.BytesIO(content))


def write_tar(path: Path, names: dict[str, str]) -> Path:
    openers: dict[str, Callable[..., Any]] = {".tar": open, ".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
    with openers[path.suffix](path, "wb") as stream, tarfile.open(fileobj=stream, mode="w|") as archive:
        for name, content in names.items():
            add_member(archive, name, content.encode())
    return path


def write_csv(path: Path, rows: list[list[Any]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows(rows)
    return path


def sources(folder: Path) -> Iterator[Path]:
    """The two crystals as each kind of source."""
    for kind, suffix in (("cif", "cif"), ("poscar", "vasp"), ("json", "json")):
        place = folder / kind
        place.mkdir()
        for name, structure in CRYSTALS.items():
            (place / f"{name}.{suffix}").write_text(text(structure, kind))
        yield place
        rows = [[name, text(structure, kind), 1.5] for name, structure in CRYSTALS.items()]
        yield write_csv(folder / f"{kind}.csv", [["material_id", "crystal", "gap"], *rows])
    nested = folder / "vasp"
    for name, structure in CRYSTALS.items():
        (nested / name).mkdir(parents=True)
        (nested / name / "POSCAR").write_text(text(structure, "poscar"))
    yield nested
    files = {f"data/{name}.cif": text(structure, "cif") for name, structure in CRYSTALS.items()}
    for suffix in ("tar", "tar.gz", "tar.bz2", "tar.xz"):
        yield write_tar(folder / f"archive.{suffix}", files)
    listed = [{"material_id": name, "structure": structure.as_dict(), "gap": 2} for name, structure in CRYSTALS.items()]
    by_id = {name: structure.as_dict() for name, structure in CRYSTALS.items()}
    matbench = {
        "index": list(CRYSTALS),
        "columns": ["structure", "gap"],
        "data": [[structure.as_dict(), 2.0] for structure in CRYSTALS.values()],
    }
    for name, value in (("list", listed), ("by_id", by_id), ("matbench", matbench)):
        path = folder / f"{name}.json.gz"
        path.write_bytes(gzip.compress(json.dumps(value).encode()))
        yield path


def entries(path: Path) -> list[Entry]:
    return list(open_source(path).entries())


def skips(path: Path) -> list[SkippedCrystal]:
    return [entry for entry in entries(path) if isinstance(entry, SkippedCrystal)]


def targets_of(source: Source) -> tuple[list[str], dict[str, dict[str, float]]]:
    """The ids of a source's crystals, and the targets of the files of targets in it."""
    ids = [entry.material_id for entry in source.entries()]
    table = TargetTable()
    for file in source.target_files:
        file.match(CrystalIds(ids), table)
    return ids, table.columns()


NACL_CIF, IRON_CIF = text(NACL, "cif"), text(IRON, "cif")


def volume(crystal: Crystal) -> float:
    return float(abs(np.linalg.det(crystal.lattice)))
