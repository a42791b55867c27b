"""Building: resumable, reproducible, extendable, and plain about what it leaves out."""

import csv
import gzip
import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from graphdb import build, info
from graphdb.build import build_store
from graphdb.command import split_names
from graphdb.errors import Reason, SettingsMismatch, SourceError, StoreError
from graphdb.files import partial_path, skipped_path
from graphdb.graphsettings import HardNeighbors, SoftNeighbors
from graphdb.ingest import Built, build_all, text_digest
from graphdb.intake import Intake
from graphdb.rawcrystal import RawCrystal
from graphdb.sample import sample_path
from graphdb.sample import sample_store as build_sample_store
from graphdb.store import Store
from graphdb.writer import StoreWriter


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


def test_a_target_column_is_added_without_building_graphs(tmp_path: Path, source: Path) -> None:
    store = tmp_path / "s"
    names = [row[0] for row in rows_of_csv(source)[1:]]
    first = write_csv(tmp_path / "gap.csv", [["id", "gap [eV]"], *([name, i] for i, name in enumerate(names))])
    second = write_csv(tmp_path / "more.csv", [["id", "hardness"], [names[3], 7], [names[4], ""]])
    before = build_store(source, store, targets=[first])
    graphs = Store(store).graphs_fingerprint
    after = build_store(source, store, targets=[second])
    assert (before.num_built, after.num_built) == (20, 0)
    assert list(after.properties) == ["gap", "hardness"]
    assert after.properties["hardness"].count == 1
    assert Store(store).graphs_fingerprint == graphs
    assert after.fingerprint != before.fingerprint
    once = build_store(source, tmp_path / "t", targets=[first, second])
    assert once.fingerprint == after.fingerprint


def rows_of_csv(path: Path) -> list[list[str]]:
    with path.open(newline="") as stream:
        return list(csv.reader(stream))


def test_a_new_column_replaces_the_old_one_of_its_name(tmp_path: Path, source: Path) -> None:
    name = rows_of_csv(source)[1][0]
    for value in (1, 2):
        targets = write_csv(tmp_path / "t.csv", [["id", "gap"], [name, value]])
        report = build_store(source, tmp_path / "s", targets=[targets])
    assert report.properties["gap"].mean == 2.0


def test_targets_of_several_files_and_of_the_source_are_merged(
    tmp_path: Path, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    header, *rows = rows_of_csv(source)
    names = [row[0] for row in rows]
    table = write_csv(tmp_path / "t.csv", [[*header, "gap"], *([*row, 1] for row in rows)])
    first = write_csv(tmp_path / "a.csv", [["id", "gap"], [names[0], 2], [names[1], 3]])
    second = write_csv(tmp_path / "b.csv", [["id", "gap"], [names[1], 4]])
    report = build_store(table, tmp_path / "s", targets=[first, second])
    values = dict(zip(sorted(names), Store(tmp_path / "s").targets(["gap"])[:, 0].tolist(), strict=True))
    assert values == dict.fromkeys(names, 1.0) | {names[0]: 2.0, names[1]: 4.0}
    assert sorted(note.where for note in report.target_notes) == ["a.csv, line 2", "a.csv, line 3", "b.csv, line 2"]
    for unit, path in (("eV", first), ("meV", second)):
        write_csv(path, [["id", f"gap [{unit}]"], [names[1], 4]])
    command = [str(source), str(tmp_path / "u"), "--targets", str(first), "--targets", str(second)]
    assert build.main(command) == 2
    assert "gap is in eV in a.csv and in meV in b.csv" in capsys.readouterr().err


def test_numeric_columns_of_a_csv_source_are_targets(tmp_path: Path, sample_csv: Path) -> None:
    report = build_store(sample_csv, tmp_path / "s", targets=[sample_csv])
    assert list(report.properties) == ["a", "energy", "formation_energy_per_atom", "band_gap", "fermi_energy"]
    assert report.skipped == []
    assert not skipped_path(tmp_path / "s").exists()


def test_only_changed_crystals_are_built_again(tmp_path: Path, folder: Path) -> None:
    store = tmp_path / "s"
    build_store(folder, store)
    files = sorted(folder.iterdir())
    files[0].write_text(files[1].read_text())
    (folder / "new.cif").write_text(files[2].read_text())
    report = build_store(folder, store)
    assert (report.num_built, report.num_crystals) == (2, 21)
    assert report.fingerprint == build_store(folder, tmp_path / "t").fingerprint


def test_crystals_that_the_source_lost_are_not_dropped_silently(tmp_path: Path, folder: Path) -> None:
    store = tmp_path / "s"
    build_store(folder, store)
    lost = sorted(folder.iterdir())[0]
    lost.unlink()
    with pytest.raises(StoreError, match=rf"holds 1 crystal that SOURCE lacks \({lost.stem}\).*--overwrite"):
        build_store(folder, store)
    assert len(Store(store)) == 20
    assert build_store(folder, store, overwrite=True).num_crystals == 19


def test_other_settings_for_the_same_store_are_refused(tmp_path: Path, source: Path) -> None:
    build_store(source, tmp_path / "s")
    other = HardNeighbors()
    with pytest.raises(SettingsMismatch, match=r"neighbors: cgcnn, not shell.*--overwrite"):
        build_store(source, tmp_path / "s", settings=other)
    assert build_store(source, tmp_path / "s", settings=other, overwrite=True).num_built == 20
    assert Store(tmp_path / "s").settings == other


def test_a_second_build_of_the_same_store_waits_for_nothing(tmp_path: Path, source: Path) -> None:
    with StoreWriter(tmp_path / "s", SoftNeighbors()):
        with pytest.raises(StoreError, match="another process is building"):
            build_store(source, tmp_path / "s")
    assert build_store(source, tmp_path / "s").num_crystals == 20


def test_rows_for_other_crystals_are_told_apart_from_skipped_crystals(
    tmp_path: Path, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = rows_of_csv(source)[1][0]
    rows: list[list[Any]] = [
        ["id", "gap", "hardness"],
        *([f"nowhere-{i:02}", 1, 1] for i in range(30)),
        [name, "inf", 2],
    ]
    rows.append([rows_of_csv(source)[2][0], 3, 4])
    targets = write_csv(tmp_path / "t.csv", rows)
    report = build_store(source, tmp_path / "s", targets=[targets], strict=True)
    assert (report.skipped, report.without_row) == ([], {"t.csv": 18})
    assert [note.reason for note in report.target_notes] == [Reason.BAD_TARGET]
    assert [len(matching.unmatched) for matching in report.matchings] == [30]
    assert Store(tmp_path / "s").num_skipped == {}
    rows_listed = [row for row in listed(tmp_path / "s") if row[1] == "target without crystal"]
    assert rows_listed == [*((f"nowhere-{i:02}", "target without crystal") for i in range(20)), ("", rows_listed[0][1])]
    assert build.main([str(source), str(tmp_path / "s"), "--targets", str(targets), "--strict"]) == 0
    shown = capsys.readouterr().out
    assert "20 crystals (0 built now) of " in shown
    assert (
        "30 rows of t.csv are for crystals that are not in SOURCE (nowhere-00, nowhere-01, nowhere-02, ...)\n" in shown
    )
    assert "18 crystals have no row in t.csv\n" in shown
    assert "1 note on targets; their crystals are in the store" in shown


def test_targets_of_a_crystal_that_cannot_be_used_are_not_those_of_another_source(tmp_path: Path, folder: Path) -> None:
    (folder / "bad.cif").write_text("nothing")
    targets = write_csv(tmp_path / "t.csv", [["id", "gap"], ["bad", 1], [sorted(folder.iterdir())[1].stem, 2]])
    (matching,) = build_store(folder, tmp_path / "s", targets=[targets]).matchings
    assert (matching.num_crystals, matching.unmatched) == (2, ())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("id,gap\nx,1\ny,2\nz,3\nw,4\n", "none of its 4 is: it has x, y, z, ... .column 'id'.; SOURCE has "),
        ("id,is_metal\n{0},True\n{1},False\n", "must have numbers for .*, got none: column is_metal .true/false"),
        ("id,split,gap\n{0},train,\n{1},test,nan\n", "column split .text, .*'train'.; column gap .no value in it"),
        ("id,gap\n{0},1,9\n{1},2,9\n", r"got none: the row must have 2 cells, got 3 \(t.csv, line 2\)"),
        ("id,gap\n", "must have rows with ids"),
        ("", "must begin with a header"),
    ],
)
def test_a_targets_file_that_gives_nothing_is_an_error(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str], content: str, message: str
) -> None:
    targets = tmp_path / "t.csv"
    targets.write_text(content.format(*sorted(path.stem for path in folder.iterdir())))
    assert build.main([str(folder), str(tmp_path / "s"), "--targets", str(targets)]) == 2
    first = capsys.readouterr().err.splitlines()[0]
    assert re.match(f"error: .*{message}", first), first
    assert not (tmp_path / "s").exists()


def test_an_id_prop_that_matches_nothing_is_an_error(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "id_prop.csv").write_text("x1,1.0\nx2,2.0\n")
    assert build.main([str(folder), str(tmp_path / "s")]) == 2
    assert "error: the ids of id_prop.csv must be those of crystals in SOURCE" in capsys.readouterr().err


def test_names_for_files_without_header(tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = sorted(path.stem for path in folder.iterdir())
    first = write_csv(tmp_path / "a.csv", [[name, i] for i, name in enumerate(names)])
    second = write_csv(tmp_path / "b.csv", [[name, i] for i, name in enumerate(names)])
    command = [str(folder), str(tmp_path / "s"), "--targets", str(first)]
    assert build.main([*command, "--target-names", '"K, VRH"']) == 0
    shown = capsys.readouterr().out
    assert "  K, VRH: 20 known, 0 to 19" in shown
    assert "a.csv: read without header, its columns as K, VRH" in shown
    assert build.main([*command, "--targets", str(second)]) == 2
    assert "a.csv and b.csv have no header; give them one" in capsys.readouterr().err
    second.write_text("id,gap\n" + second.read_text())
    assert build.main([str(folder), str(tmp_path / "s"), "--targets", str(second), "--target-names", "gap"]) == 2
    assert "--target-names names the columns of id_prop.csv, or of a file of targets without" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("gap", ["gap"]),
        ("gap, fermi energy ,", ["gap", "fermi energy"]),
        ('gap,"K, VRH"', ["gap", "K, VRH"]),
        ('"K, VRH", log10(K)', ["K, VRH", "log10(K)"]),
        ("", []),
    ],
)
def test_names_are_split_at_commas_but_not_within_quotes(text: str, names: list[str]) -> None:
    assert split_names(text) == names


def test_what_a_table_leaves_out_is_said(tmp_path: Path, source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    header, *rows = rows_of_csv(source)
    odd: list[list[Any]] = [
        [*header, "split", "is_metal", "gap"],
        *([*row, "train", "True", i] for i, row in enumerate(rows)),
    ]
    table = write_csv(tmp_path / "odd.csv", odd)
    assert build.main([str(table), str(tmp_path / "s")]) == 0
    shown = capsys.readouterr().out
    assert (
        "left out: column split (text, no numbers, such as 'train'); column is_metal (true/false, no numbers)" in shown
    )
    assert not skipped_path(tmp_path / "s").exists()


def test_a_column_without_a_value_for_any_usable_crystal_is_left_out(tmp_path: Path, source: Path) -> None:
    header, *given = rows_of_csv(source)
    rows: list[list[Any]] = [[*row, 1, ""] for row in given]
    rows.append(["bad", "data_x\n_cell_length_a 1", "", 5])
    report = build_store(write_csv(tmp_path / "t.csv", [[*header, "gap", "later"], *rows]), tmp_path / "s")
    assert list(report.properties) == ["gap"]
    assert report.left_out == {"later": "no value for a crystal that can be used"}


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


def test_strict_keeps_the_work_but_makes_no_store(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "s"
    (folder / "bad.cif").write_text("nothing")
    assert build.main([str(folder), str(store), "--strict"]) == 2
    assert "error: --strict allows nothing to be skipped or noted, got 1 unparsable" in capsys.readouterr().err
    assert listed(store) == [("bad", "unparsable")]
    assert not store.exists()
    (folder / "bad.cif").unlink()
    report = build_store(folder, store, strict=True)
    assert (report.num_built, report.num_crystals) == (0, 20)
    assert not skipped_path(store).exists()


def test_a_source_without_any_usable_crystal_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "bad"
    place.mkdir()
    assert build.main([str(place), str(tmp_path / "s")]) == 2
    (place / "a.cif").write_text("")
    assert build.main([str(place), str(tmp_path / "s")]) == 2
    assert "holds none: 1 empty file, e.g. a: the file has no content; " in capsys.readouterr().err
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere", "s"], "error: nowhere must be a file or a folder, but there is none"),
        (["{source}", "no/such/s"], "the folder of STORE must exist"),
        (["{source}", "."], "STORE must be a file"),
        (
            ["{source}", "s", "--targets", "nowhere.csv"],
            "--targets must name a CSV file, got nowhere.csv: there is none",
        ),
        (["{source}", "s", "--targets", "."], "--targets must name a CSV file, got .: is a directory"),
        (["{source}", "s", "--neighbors", "cgcn"], "must be one of shell, cgcnn, got 'cgcn'; did you mean 'cgcnn'?"),
        (["{source}", "s", "--strikt"], "there is no option --strikt; did you mean '--strict'?"),
        (["{source}", "s", "more"], "there is one argument too many: 'more'"),
        (["{source}"], "the following arguments are required: STORE"),
        (["{source}", "s", "--workers", "many"], "argument --workers: invalid int value"),
        ([".", "s"], "SOURCE must hold at least one usable crystal"),
        (["{source}", "s", "--workers", "0"], "--workers must be in 1 to 1024, got 0"),
        (["{source}", "s", "--num-neighbors", "0"], "num_neighbors must be"),
        (["{source}", "s", "--cutoff", "nan"], "cutoff must be"),
        (["{source}", "{source}"], "give another STORE"),
    ],
)
def test_a_wrong_request_is_told_in_a_sentence(
    tmp_path: Path,
    source: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    before = source.read_bytes()
    try:
        status: object = build.main([word.format(source=source) for word in arguments])
    except SystemExit as stop:
        status = stop.code
    shown = capsys.readouterr().err
    assert status == 2
    assert shown.startswith("error: ")
    assert len(shown.splitlines()) == 1
    assert message in shown
    assert source.read_bytes() == before


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", [2, 3])
def test_the_number_of_workers_leaves_no_trace(
    tmp_path: Path, sample_csv: Path, sample_store: Path, num_workers: int
) -> None:
    report = build_store(sample_csv, tmp_path / "s", num_workers=num_workers)
    assert report.fingerprint == Store(sample_store).fingerprint


def test_the_order_of_the_source_leaves_no_trace(tmp_path: Path, source: Path) -> None:
    header, *rows = rows_of_csv(source)
    turned = write_csv(tmp_path / "turned.csv", [header, *reversed(rows)])
    assert build_store(source, tmp_path / "s").fingerprint == build_store(turned, tmp_path / "t").fingerprint


KILL_AT = """
import os, signal, sys
from graphdb import layout, writer
from graphdb.build import build_store

kind, countdown = sys.argv[3], int(sys.argv[4])
write_items, replace = writer.write_items, os.replace

def count(happened):
    global countdown
    countdown -= happened == kind
    if countdown == 0:
        os.kill(os.getpid(), signal.SIGKILL)

def counted_write(env, items, append=False):
    count("before layout" if append else "before commit")
    write_items(env, items, append=append)
    count("after layout" if append else "after commit")

def counted_replace(*names):
    replace(*names)
    count("after rename")

writer.write_items = layout.write_items = counted_write
os.replace, writer._COMMIT_BYTES = counted_replace, 4_000
build_store(sys.argv[1], sys.argv[2], num_workers=1)
"""


@pytest.mark.slow
def test_killed_at_any_moment_the_next_run_yields_the_same_store(
    tmp_path: Path, sample_csv: Path, sample_store: Path, repository: Path
) -> None:
    store = tmp_path / "s"
    num_found = 0
    moments = [
        ("before commit", 1),
        ("after commit", 1),
        ("before commit", 4),
        ("after commit", 2),
        ("before layout", 1),
        ("after layout", 1),
        ("after rename", 1),
    ]
    for kind, count in moments:
        command = [sys.executable, "-c", KILL_AT, str(sample_csv), str(store), kind, str(count)]
        killed = subprocess.run(command, cwd=repository, capture_output=True, timeout=120)
        assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
        assert store.exists() == (kind == "after rename")
        with StoreWriter(store, SoftNeighbors()) as writer:
            assert writer.num_found >= num_found
            num_found = writer.num_found
        assert num_found == 715 or kind.endswith("commit")
    report = build_store(sample_csv, store, num_workers=1)
    assert report.num_built == 0
    assert report.fingerprint == Store(sample_store).fingerprint
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def poison(name: str) -> RawCrystal:
    return RawCrystal(name, "cif", b"poison", name)


@pytest.mark.slow
def test_workers_follow_a_killed_parent_into_death(tmp_path: Path, repository: Path) -> None:
    script = (
        "import os, signal, sys, time\n"
        "from graphdb import ingest\n"
        "if __name__ == '__main__':\n"
        "    with ingest._pool(2) as pool:\n"
        "        pids = [pool.submit(os.getpid).result() for _ in range(2)]\n"
        "        print(*[p.pid for p in pool._processes.values()], flush=True)\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    path = tmp_path / "parent.py"
    path.write_text(script)
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    parent = subprocess.Popen([sys.executable, str(path)], stdout=subprocess.PIPE, env=environment)
    assert parent.stdout is not None
    children = [int(word) for word in parent.stdout.readline().split()]
    assert children
    parent.stdout.read()  # ends when the last process that holds the pipe has ended
    assert parent.wait(timeout=60) == -signal.SIGKILL
    parent.stdout.close()
    assert not any(Path(f"/proc/{pid}/cmdline").exists() and is_alive(pid) for pid in children)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def test_few_crystals_are_built_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graphdb.ingest._pool", None)
    raw = poison("a")
    (built,) = build_all([(raw, text_digest(raw))], SoftNeighbors(), num_workers=8)
    assert not isinstance(built.outcome, bytes)
    assert built.outcome.reason == Reason.UNPARSABLE


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


def test_a_full_disk_ends_in_a_sentence(tmp_path: Path, sample_csv: Path, capsys: pytest.CaptureFixture[str]) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, limits[1]))
    try:
        assert build.main([str(sample_csv), str(tmp_path / "s"), "--quiet", "--workers", "1"]) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert capsys.readouterr().err.startswith(f"error: cannot write {tmp_path / 's'}")


def test_the_summary_counts_graphs_built_not_crystals_skipped(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(3):
        (folder / f"bad{number}.cif").write_text("nothing")
    assert build.main([str(folder), str(tmp_path / "s")]) == 0
    assert capsys.readouterr().out.startswith("20 crystals (20 built now, 3 skipped) of ")
    assert build.main([str(folder), str(tmp_path / "s")]) == 0
    assert capsys.readouterr().out.startswith("20 crystals (0 built now, 3 skipped) of ")


def test_a_failed_build_that_built_nothing_leaves_nothing(tmp_path: Path, folder: Path, source: Path) -> None:
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "a.cif").write_text("nothing")
    store = tmp_path / "s"
    assert build.main([str(bad), str(store)]) == 2
    assert not partial_path(store).exists()
    build_store(folder, store)
    before = store.read_bytes()
    for arguments in ([str(bad), str(store)], [str(source), str(store), "--num-neighbors", "8"]):
        assert build.main(arguments) == 2
        assert not partial_path(store).exists()
    assert store.read_bytes() == before


def test_a_failed_build_that_built_something_says_how_to_go_on(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "bad.cif").write_text("nothing")
    store = tmp_path / "s"
    for _ in range(2):
        assert build.main([str(folder), str(store), "--strict"]) == 2
        note = capsys.readouterr().err.splitlines()[-1]
        assert note.startswith(f"20 graphs are kept in {partial_path(store)}: run the command again to go on from")


def test_a_running_build_is_told_from_an_interrupted_one(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "s"
    for is_built in (False, True):
        with StoreWriter(store, SoftNeighbors()):
            assert info.main([str(store)]) == (0 if is_built else 2)
            shown = capsys.readouterr()
            assert "build of this store is running" in shown.out or "its build is running; wait for it" in shown.err
            whole = partial_path(store).read_bytes()
        partial_path(store).write_bytes(whole)
        assert info.main([str(store)]) == (0 if is_built else 2)
        shown = capsys.readouterr()
        assert "was interrupted" in shown.out + shown.err
        assert "is running" not in shown.out + shown.err
        build_store(folder, store)


def test_an_interrupted_build_says_how_far_it_is_and_how_to_go_on(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settle = Intake.settle

    def settle_and_stop(self: Intake, built: Built) -> None:
        settle(self, built)
        if built.material_id == sorted(path.stem for path in folder.iterdir())[9]:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Intake, "settle", settle_and_stop)
        assert build.main([str(folder), str(tmp_path / "s"), "--workers", "1"]) == 130
    shown = capsys.readouterr().err
    assert shown.startswith(f"interrupted: at 40 % of SOURCE; 10 graphs are kept in {tmp_path / 's'}.partial: run the")
    assert build.main([str(folder), str(tmp_path / "s"), "--workers", "1"]) == 0
    assert capsys.readouterr().out.startswith("20 crystals (10 built now) of ")


def test_what_is_pasted_is_quoted_and_one_is_no_plural(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in sorted(folder.iterdir())[1:]:
        path.unlink()
    place = tmp_path / "my crystals"
    folder.rename(place)
    assert build.main([str(place), str(tmp_path / "my store")]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("1 crystal (1 built now) of ")
    assert f"Next: python -m graphdb.build '{place}' '{tmp_path / 'my store'}' --targets CSV adds targets" in shown
    (tmp_path / "t.csv").write_text(f"id,gap\n{next(place.iterdir()).name},1\n")
    assert build.main([str(place), str(tmp_path / "my store"), "--targets", str(tmp_path / "t.csv")]) == 0
    assert f"Next: python -m tuner.search --space table5 --store '{tmp_path / 'my store'}'" in capsys.readouterr().out


def test_a_broken_archive_keeps_what_was_read(tmp_path: Path, folder: Path) -> None:
    import tarfile

    archive = tmp_path / "a.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for path in sorted(folder.iterdir()):
            tar.add(path, path.name)
    whole = archive.read_bytes()
    archive.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SourceError, match="complete tar archive, but after"):
        build_store(archive, tmp_path / "s")
    archive.write_bytes(whole)
    report = build_store(archive, tmp_path / "s")
    assert 0 < report.num_built < 20
    assert report.fingerprint == build_store(folder, tmp_path / "t").fingerprint
