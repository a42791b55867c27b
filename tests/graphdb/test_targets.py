"""Targets: what is a number, what is unknown, and what is told of the rest."""

import gzip
import io
import math
import re
from collections.abc import Sequence

import pytest

from graphdb.errors import Reason, SourceError
from graphdb.matching import CrystalIds, what_would_match
from graphdb.targetfile import Matching, TargetFile
from graphdb.targets import MergedTargets, TargetTable, align, read_number
from graphdb.units import split_header

KNOWN = tuple("abcd")


def read(
    text: str | bytes, known: Sequence[str] = KNOWN, *, names: Sequence[str] | None = None
) -> tuple[TargetTable, Matching]:
    """The targets of a file for the crystals of a source."""
    table = TargetTable()
    content = io.BytesIO(text if isinstance(text, bytes) else text.encode())
    return table, TargetFile(content, "targets.csv", names=names).match(CrystalIds(known), table)


def notes(table: TargetTable) -> list[tuple[str, Reason]]:
    return [(note.material_id, note.reason) for note in table.problems()]


@pytest.mark.parametrize(
    ("cell", "number"),
    [
        ("1.5", 1.5),
        (" -2e-3 ", -2e-3),
        (7, 7.0),
        ("", math.nan),
        ("NaN", math.nan),
        (None, math.nan),
        ("N/A", math.nan),
        ("null", math.nan),
        ("\u22121.5", -1.5),
        (" \u20132e\u22123", -2e-3),
        ("1.5D0", 1.5),
        ("-.5d-1", -0.05),
        ("1.5(2)", 1.5),
        ("-12(3)e2", -1200.0),
        ("(2)", None),
        ("1.5(2", None),
        ("D0", None),
        ("\u2212", None),
        ("3D", None),
        ("2\u22121", None),
        ("inf", None),
        (float("-inf"), None),
        ("1e999", None),
        ("1,5", None),
        ("1_000", None),
        ("0x10", None),
        ("metal", None),
        (True, None),
        ([1], None),
        (10**400, None),
    ],
)
def test_a_cell_is_a_number_or_unknown_or_neither(cell: object, number: float | None) -> None:
    found = read_number(cell)
    assert found == number or (found is not None and number is not None and math.isnan(found) and math.isnan(number))


def test_columns_come_with_units_and_blanks_are_unknown() -> None:
    table, _ = read("gap [eV],material_id,bulk_modulus,odd\n1,a,,3\nnan,b,5,\n")
    assert table.columns() == {"gap": {"a": 1.0}, "bulk_modulus": {"b": 5.0}, "odd": {"a": 3.0}}
    assert table.units == {"gap": "eV", "bulk_modulus": "GPa", "odd": ""}
    assert align(table.columns()["gap"], ["b", "a"]).tolist()[1] == 1.0
    assert math.isnan(align(table.columns()["gap"], ["b", "a"])[0])
    assert (table.problems(), table.left_out()) == ([], {})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("id,gap\na,1\nb,metal\nc,2\n", [("b", Reason.BAD_TARGET)]),
        ("id,gap\na,1\nb,inf\nc,2\n", [("b", Reason.BAD_TARGET)]),
        ("id,gap\na,1\n,5\n", [("", Reason.BAD_TARGET_ROW)]),
        ("id,gap\na,1,9\nb\nc,3\n", [("a", Reason.BAD_TARGET_ROW), ("b", Reason.BAD_TARGET_ROW)]),
        ("id,gap\na,1\na,2\n", [("a", Reason.DUPLICATE_TARGET)]),
        ("id,gap\na,1\na.cif,2\n", [("a", Reason.DUPLICATE_TARGET)]),
        ("id,gap\na,1\na,1.0\n", []),
        ("id,gap,\na,1,\nb,2,\n", []),
        ("id,gap\na,1,\nb,2,,\n", []),
        (",material_id,gap\n0,a,1\n1,b,2\n", []),
        ("\ufeffmaterial_id,gap\r\na,1\r\n\r\n", []),
        ("id,gap\n\n\na,1\n   \n", []),
    ],
)
def test_cells_and_rows_that_cannot_be_used_are_told(text: str, expected: list[tuple[str, Reason]]) -> None:
    table, _ = read(text)
    assert [(note.material_id, note.reason) for note in table.problems()] == expected
    assert "gap" in table.columns()


@pytest.mark.parametrize(
    ("text", "name", "why"),
    [
        ("id,gap,formula\na,1,NaCl\nb,2,Fe\n", "formula", "text, no numbers, such as 'NaCl'"),
        ("id,gap,is_metal\na,1,True\nb,2,False\n", "is_metal", "true/false, no numbers"),
        ("id,gap,is_metal\na,1,TRUE\nb,2,\n", "is_metal", "true/false, no numbers"),
        ("id,gap,later\na,1,\nb,2,nan\n", "later", "no value in it"),
        ("id;gap;hardness\na;1;1,5\nb;2;2,5\n", "hardness", "text.*'1,5' .write a decimal point."),
        ("id,gap,\na,1,7\nb,2,8\n", "column 3", "no name in the header"),
        ("id,gap,mixed\na,1,True\nb,2,no idea\n", "mixed", "text, no numbers"),
    ],
)
def test_a_column_that_is_left_out_is_named_with_what_it_holds(text: str, name: str, why: str) -> None:
    table, _ = read(text)
    assert list(table.columns()) == ["gap"]
    assert list(table.left_out()) == [name]
    assert re.match(why, table.left_out()[name])


def test_a_column_that_is_mostly_negative_keeps_its_negative_values() -> None:
    table, _ = read("id,e\na,\u22121\nb,\u22122\nc,3\n")
    assert (table.columns(), table.problems()) == ({"e": {"a": -1.0, "b": -2.0, "c": 3.0}}, [])


def test_several_rows_of_a_crystal_fill_each_other_in() -> None:
    table, _ = read("id,x,y,z\na,1,,\na,,3,oh\na,,,5\na,2,4,5\nb,7,8,9\n")
    assert table.columns() == {"x": {"a": 1.0, "b": 7.0}, "y": {"a": 3.0, "b": 8.0}, "z": {"a": 5.0, "b": 9.0}}
    assert [(note.reason, note.message) for note in table.problems()] == [
        (Reason.DUPLICATE_TARGET, "x is 1 in targets.csv, line 2 and 2 here; the first row counts"),
        (Reason.BAD_TARGET, "z must be a finite number, got 'oh'; taken as unknown"),
    ]
    table, _ = read("id,x\na,\na,3\na,4\n")
    assert "x is 3 in targets.csv, line 3 and 4 here" in table.problems()[0].message


def test_the_row_of_another_structure_fills_nothing_in() -> None:
    table = TargetTable()
    table.add("a", {"x": 1, "y": None}, "t.csv, line 2", content=1)
    table.add("a", {"x": 1, "y": 2}, "t.csv, line 3", content=2)
    assert (table.columns(), len(table.problems())) == ({"x": {"a": 1.0}}, 1)


def test_tables_are_merged_by_crystal_and_the_later_value_counts() -> None:
    merged = MergedTargets(["a", "b", "c", "d"])
    for name, text in (("one.csv", "id,x,only\na,1,5\nb,2,\nc,3,\nz,9,9\n"), ("two.csv", "id,x [eV]\nb,2\nc,4\nd,5\n")):
        table = TargetTable()
        TargetFile(io.BytesIO(text.encode()), name).match(CrystalIds(["a", "b", "c", "d", "z"]), table)
        assert merged.add(table, name)[0] == "x"
    assert merged.columns == {"x": {"a": 1.0, "b": 2.0, "c": 4.0, "d": 5.0}, "only": {"a": 5.0}}
    assert merged.units == {"x": "eV", "only": ""}
    (note,) = merged.notes
    assert (note.material_id, note.reason, note.where) == ("c", Reason.DUPLICATE_TARGET, "two.csv, line 3")
    assert note.message == "x is 3 in one.csv, line 4 and 4 here; the later file counts"


def test_columns_of_one_name_in_two_units_are_refused() -> None:
    merged = MergedTargets(["a"])
    for name, unit in (("one.csv", "eV"), ("two.csv", "meV")):
        table, _ = read(f"id,gap [{unit}]\na,1\n")
        if unit == "eV":
            merged.add(table, name)
            continue
        with pytest.raises(SourceError, match=r"gap is in eV in one.csv and in meV in two.csv; convert"):
            merged.add(table, name)


def test_the_first_of_two_rows_counts() -> None:
    table, _ = read("id,gap\na,1\na,2\n")
    assert table.columns()["gap"] == {"a": 1.0}
    assert "gap is 1 in targets.csv, line 2 and 2 here" in table.problems()[0].message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must begin with a header, but it is empty"),
        ("  \n\n", "must begin with a header, but it is empty"),
        ("id\na\n", "at least one target column"),
        ("id gap\na 1\n", "separate its cells by commas"),
        ("id,gap\n", "must have rows with ids below its header, got none"),
        ("id,gap,gap [eV]\na,1,2\n", r"distinct names, got \['gap'\]"),
        (b"\x1f\x8bnot really", "cannot be read to its end"),
        (gzip.compress(b"id,gap\na,1\n" * 99, mtime=0)[:-12], "cannot be read to its end"),
        (bytes(range(256)), "it is binary, not text: save it as CSV"),
        (b"PK\x03\x04" + b"\x14\x00" * 13 + b"[Content_Types].xml", "it is an Excel workbook: save it as CSV"),
        (b"PAR1\x15\x04", "it is a Parquet table: write it as CSV"),
        (b"\x89HDF\r\n\x1a\n", "it is an HDF5 file"),
        ("<!DOCTYPE html>\n<html>", "it is a web page.*download it again"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 4", "a pointer of Git LFS.*git lfs pull"),
    ],
)
def test_a_file_that_cannot_be_used_is_an_error(text: str | bytes, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        read(text)


def test_thousands_of_bad_cells_are_summed_up() -> None:
    rows = "".join(f"{i},{'inf' if i % 3 == 0 else i}\n" for i in range(6000))
    table, _ = read("id,gap\n" + rows, [str(i) for i in range(6000)])
    assert len(table.problems()) == 1001
    assert "1,000 more cells" in table.problems()[-1].message


def test_thousands_of_bad_rows_are_summed_up() -> None:
    rows = "".join(f"{i},{i},7\n" if i % 3 == 0 else f"{i},{i}\n" for i in range(6000))
    table, _ = read("id,gap\n" + rows, [str(i) for i in range(6000)])
    assert len(table.problems()) == 1001
    assert "1,000 more rows" in table.problems()[-1].message


ROWS = [("mp-1", "1"), ("mp-2", "2"), ("mp-3", "3")]
MP = ("mp-1", "mp-2", "mp-3", "mp-10")
GAPS = {"gap": {"mp-1": 1.0, "mp-2": 2.0, "mp-3": 3.0}}


def csv_text(header: str, row: str) -> str:
    return header + "".join(row.format(i=i, id=name, gap=gap) + "\n" for i, (name, gap) in enumerate(ROWS))


@pytest.mark.parametrize(
    ("header", "row", "remarks"),
    [
        ("id,gap\n", "{id}.cif,{gap}", ["file names as ids"]),
        ("id,gap\n", "{id}.cif.gz,{gap}", ["file names as ids"]),
        ("file,gap\n", "data/cifs/{id}.vasp,{gap}", ["file names as ids"]),
        ("file,gap\n", "C:\\data\\{id}.cif,{gap}", ["file names as ids"]),
        ("file,gap\n", "{id}/POSCAR,{gap}", ["file names as ids"]),
        ("file,gap\n", "POSCAR-{id}.vasp,{gap}", ["file names as ids"]),
        (",material_id,gap\n", "{i},{id},{gap}", []),
        (",jid,gap\n", "{i},{id},{gap}", []),
        ("gap,ID\n", "{gap},{id}", []),
        ("gap,#,Material ID\n", "{gap},,{id}", []),
        ("gap,path\n", "{gap},/x/{id}.cif", ["file names as ids"]),
        (",compound,gap\n", "{i},{id},{gap}", ["the ids of column 'compound'"]),
        ("index,compound,gap\n", "{i},{id},{gap}", ["the ids of column 'compound'", "without column 'index'"]),
        ("Unnamed: 0,compound,gap\n", "{i},{id},{gap}", ["column 'compound'", "without column 'Unnamed: 0'"]),
        ("id\tgap\n", "{id}\t{gap}", ["with tabs between its cells"]),
        ("id;gap\n", "{id};{gap}", ["with semicolons between its cells"]),
        ("id|gap\n", "{id}|{gap}", ["with bars between its cells"]),
        ("gap\n", "{id},{gap}", []),
        ('"id","gap"\n', '"{id}","{gap}"', []),
    ],
)
def test_ids_are_found_where_they_are_and_what_was_unusual_is_said(header: str, row: str, remarks: list[str]) -> None:
    table, matching = read(csv_text(header, row), MP)
    assert table.columns() == GAPS
    assert len(matching.remarks) == len(remarks)
    for remark, expected in zip(matching.remarks, remarks, strict=True):
        assert remark.startswith("read ")
        assert expected in remark
    assert (matching.num_rows, matching.num_crystals, matching.unmatched) == (3, 3, ())


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig", "cp1252", "utf-8"])
def test_the_encoding_is_told_by_the_content(encoding: str) -> None:
    content = csv_text("id,volume [Å^3]\n", "{id},{gap}").encode(encoding)
    table, matching = read(content, MP)
    assert table.columns() == {"volume": GAPS["gap"]}
    assert table.units == {"volume": "Å^3"}
    assert len(matching.remarks) == (not encoding.startswith("utf-8"))


def test_a_file_name_in_the_source_is_found_by_the_id_without_suffix() -> None:
    table, _ = read("id,gap\nx,1\ny.cif,2\n", ["x.cif", "y.cif"])
    assert table.columns() == {"gap": {"x.cif": 1.0, "y.cif": 2.0}}
    with pytest.raises(SourceError, match="none of its 1 is"):
        read("id,gap\nx,1\n", ["x.cif", "x.vasp"])  # which of the two is meant cannot be told


@pytest.mark.parametrize(
    ("ids", "known", "advice"),
    [
        (["MP-1", "MP-2"], MP, "in lower case 2 of 2 would match"),
        (["1", "2", "7"], MP, "with 'mp-' before them 2 of 3 would match"),
        (["mp-1.xyz", "mp-2.xyz"], MP, "without '.xyz' 2 of 2 would match"),
        (["mp_1", "mp_2"], MP, "with the same hyphens or underscores 2 of 2 would match"),
        (["1.0", "2.0"], ("1", "2"), "without the decimals '.0' 2 of 2 would match"),
        (["007", "008"], ("7", "8"), "without leading zeros 2 of 2 would match"),
        (["'mp-1'", "'mp-2'"], MP, "without quotation marks 2 of 2 would match"),
        (["oqmd-mp-1", "oqmd-mp-2"], MP, "without 'oqmd-' 2 of 2 would match"),
        (["mp-1", "mp-2"], ("mp-1-GGA", "mp-2-GGA"), "with '-GGA' after them 2 of 2 would match"),
        (["x", "y", "z", "w"], MP, "is it the file of another source"),
        (["mp-11", "mp-12", "mp-31"], ("mp-1", "mp-3", "mp-311"), "is it the file of another source"),
    ],
)
def test_ids_that_match_nothing_are_an_error_that_says_what_would(
    ids: list[str], known: Sequence[str], advice: str
) -> None:
    with pytest.raises(SourceError, match=advice) as caught:
        read("name,gap\n" + "".join(f"{name},{i}\n" for i, name in enumerate(ids)), known)
    text = str(caught.value)
    assert f"none of its {len(ids)} is: it has {', '.join(ids[:3])}" in text
    assert f"SOURCE has {', '.join(sorted(known)[:3])}" in text


def test_of_many_crystals_only_those_are_looked_at_whose_ids_begin_or_end_alike(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked_at: list[str] = []

    def affixes(text: str, name: str) -> list[object]:
        looked_at.append(name)
        return []

    monkeypatch.setattr("graphdb.matching._affixes", affixes)
    what_would_match(["mp-17"], CrystalIds([*(f"oqmd-{i}" for i in range(5000)), "mp-17-GGA", "x-mp-17", "17", "7-mp"]))
    assert sorted(looked_at) == ["17", "mp-17-GGA", "x-mp-17"]


def test_a_column_of_numbers_is_no_id_column_by_chance() -> None:
    with pytest.raises(SourceError, match="column 'num_sites' would match 2 of 3: name it material_id"):
        read("name,num_sites\nx,2\ny,4\nz,9\n", ["1", "2", "3", "4"])


def test_rows_for_other_crystals_are_counted_apart() -> None:
    table, matching = read("id,gap\na,1\nx,2\ny,3\nz.cif,inf\n")
    assert table.columns() == {"gap": {"a": 1.0}}
    assert (matching.num_rows, matching.num_crystals, matching.unmatched) == (4, 1, ("x", "y", "z.cif"))
    assert table.problems() == []


@pytest.mark.parametrize(
    ("text", "names", "expected"),
    [
        ("a,1\nb,2\n", None, {"target": {"a": 1.0, "b": 2.0}}),
        ("a,1,\nb,2,3\n", None, {"target_1": {"a": 1.0, "b": 2.0}, "target_2": {"b": 3.0}}),
        ("a,1,4\n", ["gap", "fermi_energy"], {"gap": {"a": 1.0}, "fermi_energy": {"a": 4.0}}),
        ("id,gap\na,1\n", None, {"gap": {"a": 1.0}}),
        ("a.cif,1\nb.cif,2\n", None, {"target": {"a": 1.0, "b": 2.0}}),
        ("a\t1\nb\t2\n", None, {"target": {"a": 1.0, "b": 2.0}}),
        ("a,metal,1\nb,metal,2\n", None, {"target_2": {"a": 1.0, "b": 2.0}}),
        ("a,unclear\nb,1\nc,2\n", None, {"target": {"b": 1.0, "c": 2.0}}),
        ("nowhere,1.23\nb,2\n", None, {"target": {"b": 2.0}}),
        ("a,,nan\nb,2,1\n", None, {"target_1": {"b": 2.0}, "target_2": {"b": 1.0}}),
        (",0\na,1\nb,2\n", None, {"0": {"a": 1.0, "b": 2.0}}),
        ("id,300,400\na,1,3\nb,2,4\n", None, {"300": {"a": 1.0, "b": 2.0}, "400": {"a": 3.0, "b": 4.0}}),
    ],
)
def test_a_file_without_header_keeps_its_first_row(
    text: str, names: list[str] | None, expected: dict[str, dict[str, float]]
) -> None:
    assert read(text, names=names)[0].columns() == expected


@pytest.mark.parametrize(
    ("text", "expected", "num_remarks"),
    [
        ("# my data\nid,gap\na,1\nb,2\n", {"gap": {"a": 1.0, "b": 2.0}}, 0),
        ("# by me, 2020\n\n# more\nid,gap\na,1\n", {"gap": {"a": 1.0}}, 0),
        ("# my data\na,1\nb,2\n", {"target": {"a": 1.0, "b": 2.0}}, 1),
        ("# my data\nid;gap\na;1\nb;2\n", {"gap": {"a": 1.0, "b": 2.0}}, 1),
        ("#id,gap\na,1\n", {"gap": {"a": 1.0}}, 0),
        ("# my data\n# name,gap\na,1\n", {"gap": {"a": 1.0}}, 0),
        ("sep=;\nid;gap\na;1.5\nb;2\n", {"gap": {"a": 1.5, "b": 2.0}}, 1),
        ('"sep=,"\nid,gap\na,1\n', {"gap": {"a": 1.0}}, 0),
        ("sep=\t\r\nid\tgap\r\na\t1\r\n", {"gap": {"a": 1.0}}, 1),
        ("compound,0\na,1\nb,2\n", {"0": {"a": 1.0, "b": 2.0}}, 1),
        ("compound,2019,2020\na,1,3\nb,2,4\n", {"2019": {"a": 1.0, "b": 2.0}, "2020": {"a": 3.0, "b": 4.0}}, 1),
        ("mp-9,0\na,1\n", {"target": {"a": 1.0}}, 1),
        ("compound,0\na,1\nz,2\n", {"target": {"a": 1.0}}, 1),
        ("Unnamed: 0,id,gap\n9,a,1\n5,b,2\n", {"gap": {"a": 1.0, "b": 2.0}}, 1),
        ("index,id,gap\n5,a,1\n9,b,2\n", {"gap": {"a": 1.0, "b": 2.0}}, 1),
        (",index,id,gap\n0,5,a,1\n1,9,b,2\n", {"gap": {"a": 1.0, "b": 2.0}}, 1),
        ("index,id\n9,a\n5,b\n", {"index": {"a": 9.0, "b": 5.0}}, 0),
    ],
)
def test_the_header_is_found_below_comments_and_beside_an_index(
    text: str, expected: dict[str, dict[str, float]], num_remarks: int
) -> None:
    table, matching = read(text)
    assert (table.columns(), table.left_out()) == (expected, {})
    assert len(matching.remarks) == num_remarks, matching.remarks


def test_ids_may_begin_with_a_hash() -> None:
    known = [f"#{i}" for i in range(80)]
    table, _ = read("".join(f"{name},{i}\n" for i, name in enumerate(known)), known)
    assert len(table.columns()["target"]) == 80


def test_a_file_without_header_tells_of_odd_rows() -> None:
    table, _ = read("a,1,2\nb,3\nc,4,x\nd,5,6\n,7,8\n")
    assert table.columns() == {"target_1": {"a": 1.0, "c": 4.0, "d": 5.0}, "target_2": {"a": 2.0, "d": 6.0}}
    found = [(note.material_id, note.reason) for note in table.problems()]
    assert found == [("b", Reason.BAD_TARGET_ROW), ("", Reason.BAD_TARGET_ROW), ("c", Reason.BAD_TARGET)]


@pytest.mark.parametrize(
    "text",
    ["a,1,2\n", "a,unclear,none\nb,1,2\n", "a,metal,oxide\nb,metal,oxide\n"],
    ids=["by its numbers", "by a crystal with unknown targets", "by a crystal with text"],
)
def test_the_wrong_number_of_names_is_an_error_however_the_missing_header_is_told(text: str) -> None:
    with pytest.raises(SourceError, match="has 2 target columns, but --target-names gives 1 name: gap"):
        read(text, names=["gap"])


@pytest.mark.parametrize(
    ("header", "name", "unit"),
    [
        ("band_gap", "band_gap", "eV"),
        ("band_gap_hse", "band_gap_hse", "eV"),
        ("Band Gap", "Band Gap", "eV"),
        ("band_gap [meV]", "band_gap", "meV"),
        ("K (GPa)", "K", "GPa"),
        ("K_VRH(GPa)", "K_VRH", "GPa"),
        ("log10(K) [log10(GPa)]", "log10(K)", "log10(GPa)"),
        ("log10(K) (log10(GPa))", "log10(K)", "log10(GPa)"),
        ("log10(K_VRH)", "log10(K_VRH)", ""),
        ("ln(K) (GPa)", "ln(K)", "GPa"),
        ("log(K)", "log(K)", ""),
        ("sqrt(E)", "sqrt(E)", ""),
        ("1/(K)", "1/(K)", ""),
        ("max(K)", "max(K)", ""),
        ("band gap (HSE)", "band gap (HSE)", "eV"),
        ("band gap (PBE) [eV]", "band gap (PBE)", "eV"),
        ("C(11)", "C(11)", ""),
        ("n (direct)", "n (direct)", ""),
        ("Tc (K)", "Tc", "K"),
        ("gap (ev)", "gap", "ev"),
        ("Ref(eV)", "Ref", "eV"),
        ("kappa (W m^-1 K^-1)", "kappa", "W m^-1 K^-1"),
        ("kappa (W/m/K)", "kappa", "W/m/K"),
        ("rho (g cm-3)", "rho", "g cm-3"),
        ("V (Å³)", "V", "Å³"),
        ("V (Angstrom^3/atom)", "V", "Angstrom^3/atom"),
        ("M (μB/f.u.)", "M", "μB/f.u."),
        ("alpha (10^-6 K^-1)", "alpha", "10^-6 K^-1"),
        ("E (J/(mol K))", "E", "J/(mol K)"),
        ("E (eV per atom)", "E", "eV per atom"),
        ("angle (°)", "angle", "°"),
        ("K, VRH", "K, VRH", ""),
        ("f(x)", "f(x)", ""),
        ("formation_energy_per_atom", "formation_energy_per_atom", "eV/atom"),
        ("log10_band_gap", "log10_band_gap", ""),
        ("band_gap_is_direct", "band_gap_is_direct", ""),
        ("log10_bulk_modulus", "log10_bulk_modulus", "log10(GPa)"),
        ("color", "color", ""),
        ("a_priori", "a_priori", ""),
        ("[eV]", "[eV]", ""),
        ("(eV)", "(eV)", ""),
        ("odd)", "odd)", ""),
        ("rank [1]", "rank", "1"),
    ],
)
def test_a_header_tells_name_and_unit(header: str, name: str, unit: str) -> None:
    assert split_header(header) == (name, unit)
