"""Fixtures for building: twenty crystals of the sample as a table and as a folder."""

import csv
import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from graphdb.files import skipped_path


def rows_of(sample_csv: Path, count: int) -> list[list[str]]:
    with gzip.open(sample_csv, "rt", newline="") as stream:
        header, *rows = csv.reader(stream)
    return [[header[0], header[-1]], *([row[0], row[-1]] for row in rows[:count])]


def write_csv(path: Path, rows: Sequence[Sequence[Any]]) -> Path:
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)
    return path


@pytest.fixture
def source(tmp_path: Path, sample_csv: Path) -> Path:
    """Twenty crystals as a CSV without targets."""
    return write_csv(tmp_path / "twenty.csv", rows_of(sample_csv, 20))


@pytest.fixture
def folder(tmp_path: Path, sample_csv: Path) -> Path:
    """The same twenty as a folder of CIFs."""
    place = tmp_path / "cifs"
    place.mkdir()
    for name, text in rows_of(sample_csv, 20)[1:]:
        (place / f"{name}.cif").write_text(text)
    return place


def listed(store: Path) -> list[tuple[str, str]]:
    with skipped_path(store).open(newline="") as stream:
        return [(row["material_id"], row["reason"]) for row in csv.DictReader(stream)]
