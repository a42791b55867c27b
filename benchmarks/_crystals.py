"""The crystals of the Materials Project that the benchmarks take, from the archive beside the repository."""

import csv
from pathlib import Path

import numpy as np

from graphdb.errors import SkippedCrystal
from graphdb.parse import Crystal, parse_crystal
from graphdb.sources import open_source

TASKS = ("formation_energy_per_atom", "band_gap", "fermi_energy")


def archive(shared: Path) -> Path:
    """Where the crystals lie."""
    return shared / "data" / "mp29k" / "cifs.tar.gz"


def random_crystals(shared: Path, count: int, seed: int) -> list[tuple[str, Crystal]]:
    """Some crystals of mp29k with their ids, in random order.

    Raises:
        FileNotFoundError: says what is missing.
    """
    table = archive(shared).with_name("targets.csv")
    for path in (table, archive(shared)):
        if not path.is_file():
            raise FileNotFoundError(
                f"the Materials Project data must lie in {path.parent.parent}, {path.name} does not"
            )
    with open(table, encoding="utf-8", newline="") as file:
        known = sorted(row["material_id"] for row in csv.DictReader(file))
    chosen = np.random.default_rng(seed).permutation(known)[:count].tolist()
    found = read_crystals(archive(shared), set(chosen))
    return [(material_id, found[material_id]) for material_id in chosen]


def read_crystals(source: Path, wanted: set[str]) -> dict[str, Crystal]:
    """The crystals of these ids; reading stops when all were found."""
    found: dict[str, Crystal] = {}
    for entry in open_source(source).entries():
        if not isinstance(entry, SkippedCrystal) and entry.material_id in wanted:
            found[entry.material_id] = parse_crystal(entry.content, entry.format)
            if len(found) == len(wanted):
                break
    return found
