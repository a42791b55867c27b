"""Building: resumable, reproducible, extendable, and plain about what it leaves out."""

import csv
import re
from pathlib import Path
from typing import Any

import pytest

from graphdb import build
from graphdb.build import build_store
from graphdb.command import split_names
from graphdb.errors import Reason, SourceError, StoreError
from graphdb.files import skipped_path
from graphdb.ingest import Built
from graphdb.intake import Intake
from graphdb.store import Store
from tests.graphdb.conftest import listed, write_csv


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


def test_the_order_of_the_source_leaves_no_trace(tmp_path: Path, source: Path) -> None:
    header, *rows = rows_of_csv(source)
    turned = write_csv(tmp_path / "turned.csv", [header, *reversed(rows)])
    assert build_store(source, tmp_path / "s").fingerprint == build_store(turned, tmp_path / "t").fingerprint


def test_the_summary_counts_graphs_built_not_crystals_skipped(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(3):
        (folder / f"bad{number}.cif").write_text("nothing")
    assert build.main([str(folder), str(tmp_path / "s")]) == 0
    assert capsys.readouterr().out.startswith("20 crystals (20 built now, 3 skipped) of ")
    assert build.main([str(folder), str(tmp_path / "s")]) == 0
    assert capsys.readouterr().out.startswith("20 crystals (0 built now, 3 skipped) of ")


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
