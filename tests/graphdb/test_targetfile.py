"""Files of targets: encodings, headers and files without one, files that are none."""

import gzip

import pytest

from graphdb.errors import Reason, SourceError
from tests.graphdb.targettexts import GAPS, MP, csv_text, read


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


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig", "cp1252", "utf-8"])
def test_the_encoding_is_told_by_the_content(encoding: str) -> None:
    content = csv_text("id,volume [Å^3]\n", "{id},{gap}").encode(encoding)
    table, matching = read(content, MP)
    assert table.columns() == {"volume": GAPS["gap"]}
    assert table.units == {"volume": "Å^3"}
    assert len(matching.remarks) == (not encoding.startswith("utf-8"))


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
