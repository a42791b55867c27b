"""The sample: its crystals, and its store, which is built once and cached."""

import os
from pathlib import Path

import numpy as np
import pytest

from graphdb.crystal import ATOMIC_NUMBERS, Crystal
from graphdb.errors import StoreError
from graphdb.sample import sample_path
from graphdb.sample import sample_store as build_sample_store
from graphdb.sample.recompute import PROTOTYPES, indirect_gap, main, read_rows
from graphdb.store import Store
from tests.graphdb.sourcefiles import read_usable


def test_the_sample_is_built_once(tmp_path: Path, sample_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = build_sample_store(tmp_path / "cache")
    assert Store(path).fingerprint == Store(sample_store).fingerprint
    monkeypatch.setattr("graphdb.build.build_store", None)
    assert build_sample_store(tmp_path / "cache") == path
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_cached_sample_that_does_not_verify_is_built_again(tmp_path: Path, sample_store: Path) -> None:
    path = build_sample_store(tmp_path)
    whole = path.read_bytes()
    for spoiled in (whole[: len(whole) // 2], b"", whole[:-5000] + bytes(5000)):
        path.unlink()
        path.write_bytes(spoiled)
        assert build_sample_store(tmp_path) == path
        assert Store(path).fingerprint == Store(sample_store).fingerprint


def test_the_cached_sample_is_told_by_all_that_decides_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = build_sample_store(tmp_path)
    for name, value in (("graphdb.fingerprint.FORMAT_VERSION", 99), ("graphdb.sample._source_code", lambda: b"new")):
        with monkeypatch.context() as patch:
            patch.setattr(name, value)
            assert sample_path(tmp_path) != first
    assert sample_path(tmp_path) == first


def test_a_home_that_cannot_be_written_to_is_no_obstacle_to_the_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home").write_text("a file, in which no folder can be made, not even by root")
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    path = build_sample_store()
    assert path.is_relative_to(tmp_path / "temporary")
    assert build_sample_store() == path
    with pytest.raises(StoreError, match=r"cannot write the sample's store in .*home.*XDG_CACHE_HOME"):
        build_sample_store(tmp_path / "home")


def test_a_link_that_lies_where_the_sample_would_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "temporary").mkdir()
    (tmp_path / "temporary" / f"crystune-{os.getuid()}").symlink_to(elsewhere)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    assert build_sample_store().is_relative_to(tmp_path / "home")
    assert list(elsewhere.iterdir()) == []


def test_the_sample_leaves_nothing_in_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert build_sample_store().is_relative_to(tmp_path / f"crystune-{os.getuid()}")
    assert not (tmp_path / "home").exists()
    monkeypatch.setattr("os.getuid", lambda: 12345)
    (tmp_path / "crystune-12345").mkdir()
    assert build_sample_store().is_relative_to(tmp_path / "home"), "the temporary folder is somebody else's"


def test_sample_crystals_are_their_prototypes(sample_csv: Path) -> None:
    rows = read_rows()
    for name, crystal in read_usable(sample_csv):
        assert isinstance(crystal, Crystal), name
        row = rows[name]
        prototype, elements = PROTOTYPES[row["prototype"]], row["elements"].split("-")
        expected = sorted(ATOMIC_NUMBERS[elements[i]] for i in prototype.species)
        assert sorted(crystal.atomic_numbers.tolist()) == expected, name
        volume = abs(np.linalg.det(np.array(prototype.cell))) * float(row["a"]) ** 3
        assert abs(abs(np.linalg.det(crystal.lattice)) / volume - 1) < 1e-5, name


@pytest.mark.parametrize(
    ("bands", "fermi", "electrons", "gap"),
    [
        ([[-1.0, 2.0], [-0.5, 1.5]], 0.0, 2, 2.0),
        ([[-1.0, 2.0], [-0.5, -0.1]], 0.0, 2, 0.0),  # a band crosses
        ([[-1.0, 2.0], [-0.5, 1.5]], 0.0, 3, 0.0),  # half a band filled
        ([[-1.0, 0.5], [0.6 - 1, 0.1]], 0.0, 2, 0.5),
    ],
)
def test_the_gap_is_between_the_highest_filled_and_lowest_empty_level(
    bands: list[list[float]], fermi: float, electrons: float, gap: float
) -> None:
    assert abs(indirect_gap(np.array(bands), fermi, electrons) - gap) < 1e-12


def test_recomputing_an_unknown_row_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["unobtainium"]) == 2
    assert "ids must be in the sample" in capsys.readouterr().err
