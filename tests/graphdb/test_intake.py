"""Several texts with one id in a build: which one counts, whatever interrupts it."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from graphdb.build import build_store
from graphdb.store import Store


def poscar_folder(place: Path, texts: dict[str, str]) -> Path:
    for name, text in texts.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text)
    return place


SALT = "salt\n1\n5.6 0 0\n0 5.6 0\n0 0 5.6\nNa Cl\n1 1\nDirect\n0 0 0\n.5 .5 .5\n"


IRON = "iron\n1\n2.9 0 0\n0 2.9 0\n0 0 2.9\nFe\n1\nDirect\n0 0 0\n"


@pytest.mark.parametrize("num_workers", [1, 2])
def test_the_first_usable_text_of_an_id_counts(
    tmp_path: Path, num_workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if num_workers > 1:
        monkeypatch.setattr("graphdb.ingest._MIN_PARALLEL", 2)
    folder = poscar_folder(
        tmp_path / "vasp",
        {
            "a/CONTCAR": "",
            "a/POSCAR": SALT,
            "b/CONTCAR": IRON,
            "b/POSCAR": SALT,
            "c/CONTCAR": "",
            "c/POSCAR": "nonsense",
            "c/c.cif": "",
            "d/CONTCAR": "nonsense",
            "d/CONTCAR.vasp": "more nonsense",
            "d/POSCAR": IRON,
            "d/POSCAR.vasp": SALT,
        },
    )
    store = tmp_path / "s"
    report = build_store(folder, store, num_workers=num_workers)
    assert (report.num_built, report.num_crystals) == (3, 3)
    with Store(store) as found:
        assert list(found.material_ids) == ["a", "b", "d"]
        assert found.sizes[:, 0].tolist() == [2, 1, 1]
    notes = [(skip.where, str(skip.reason)) for skip in report.skipped]
    assert sorted(notes) == [
        ("a/CONTCAR", "empty file"),
        ("b/POSCAR", "duplicate id"),
        ("c/CONTCAR", "empty file"),
        ("c/POSCAR", "unparsable"),
        ("c/c.cif", "empty file"),
        ("d/CONTCAR", "unparsable"),
        ("d/CONTCAR.vasp", "unparsable"),
        ("d/POSCAR.vasp", "duplicate id"),
    ]
    first = next(skip for skip in report.skipped if skip.where == "a/CONTCAR")
    assert first.message == "the file has no content; a/POSCAR has the same id and counts"
    again = build_store(folder, store, num_workers=num_workers)
    assert (again.num_built, again.fingerprint) == (0, report.fingerprint)
    assert sorted((skip.where, str(skip.reason)) for skip in again.skipped) == sorted(notes)
    (folder / "a/CONTCAR").write_text(IRON)
    (folder / "d/POSCAR").unlink()
    changed = build_store(folder, store, num_workers=num_workers)
    with Store(store) as found:
        assert found.sizes[:, 0].tolist() == [1, 1, 2]
    assert changed.fingerprint == build_store(folder, tmp_path / "t").fingerprint


def test_another_crystal_of_the_same_id_is_left_out_with_what_to_do(tmp_path: Path) -> None:
    folder = poscar_folder(tmp_path / "f", {"x/run/CONTCAR": SALT, "y/run/CONTCAR": IRON, "z/run/CONTCAR": SALT})
    report = build_store(folder, tmp_path / "s")
    notes = [(skip.where, str(skip.reason)) for skip in report.skipped]
    assert notes == [("z/run/CONTCAR", "duplicate id"), ("y/run/CONTCAR", "id taken")]
    assert "if they are two crystals, rename the file or its folder" in report.skipped[1].message


STOP_AT = """
import os, signal, sys
from graphdb import intake
from graphdb.build import build_store

countdown, settle = int(sys.argv[3]), intake.Intake.settle

def settle_and_stop(self, built):
    global countdown
    settle(self, built)
    countdown -= 1
    if countdown == 0:
        self._writer.commit()
        os.kill(os.getpid(), signal.SIGKILL)

intake.Intake.settle = settle_and_stop
build_store(sys.argv[1], sys.argv[2], num_workers=1)
"""


@pytest.mark.slow
def test_killed_between_the_texts_of_an_id_the_next_run_finds_the_usable_one(tmp_path: Path, repository: Path) -> None:
    folder = poscar_folder(
        tmp_path / "vasp", {"a/CONTCAR": "", "a/CONTCAR.vasp": "x", "a/POSCAR": SALT, "b/POSCAR": IRON}
    )
    whole = build_store(folder, tmp_path / "whole")
    for count in (1, 2, 3, 4):
        store = tmp_path / f"s{count}"
        command = [sys.executable, "-c", STOP_AT, str(folder), str(store), str(count)]
        killed = subprocess.run(command, cwd=repository, capture_output=True, timeout=120)
        assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
        report = build_store(folder, store)
        assert report.fingerprint == whole.fingerprint
        assert report.skipped == whole.skipped
