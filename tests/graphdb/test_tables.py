"""Tables and JSON with many structures: ids, columns of targets, bad rows."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from graphdb.crystal import Crystal
from graphdb.errors import Reason, SkippedCrystal
from graphdb.rawcrystal import RawCrystal
from graphdb.sources import open_source
from tests.graphdb.sourcefiles import IRON, IRON_CIF, NACL, NACL_CIF, read_usable, skips, text, write_csv


def test_the_structure_column_is_found_by_content_among_others(tmp_path: Path) -> None:
    rows = [[f"x{i}", "data_ is here", "{}", text(IRON, "cif"), i] for i in range(3)]
    source = open_source(write_csv(tmp_path / "t.csv", [["id", "cif", "json", "misleading name", "n"], *rows]))
    assert [entry.material_id for entry in source.entries()] == ["x0", "x1", "x2"]
    assert source.targets.columns() == {"n": {"x0": 0.0, "x1": 1.0, "x2": 2.0}}


def test_each_bad_row_of_a_table_is_skipped_with_its_reason(tmp_path: Path) -> None:
    rows: list[list[Any]] = [
        ["material_id", "cif", "gap"],
        ["good", text(IRON, "cif"), 1],
        ["", text(IRON, "cif"), 1],
        ["x" * 501, text(IRON, "cif"), 1],
        ["bell\a", text(IRON, "cif"), 1],
        ["with space / and slash", text(IRON, "cif"), 1],
        ["short row", text(IRON, "cif")],
        ["empty cell", "", 1],
    ]
    found = dict(read_usable(write_csv(tmp_path / "t.csv", rows)))
    reasons = {name[:10]: found[name].reason for name in found if isinstance(found[name], SkippedCrystal)}
    assert [name for name in found if isinstance(found[name], Crystal)] == ["good", "with space / and slash"]
    assert reasons == {
        "": Reason.BAD_ID,
        "x" * 10: Reason.BAD_ID,
        "bell": Reason.BAD_ID,
        "short row": Reason.UNPARSABLE,
        "empty cell": Reason.EMPTY_FILE,
    }


def test_ids_in_decomposed_unicode_are_the_composed_ones(tmp_path: Path) -> None:
    rows = [["material_id", "cif"], ["Cafe\u0301", text(IRON, "cif")]]
    assert [name for name, _ in read_usable(write_csv(tmp_path / "t.csv", rows))] == ["Caf\u00e9"]


def test_a_json_list_without_ids_counts_them(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps([IRON.as_dict(), {"material_id": "salt", "structure": NACL.as_dict()}, 7, None]))
    found = dict(read_usable(path))
    assert list(found) == ["mine-0", "salt", "mine-2", "mine-3"]
    assert [entry.reason for entry in skips(path)] == [Reason.NOT_A_STRUCTURE] * 2


@pytest.mark.parametrize(
    "value",
    [
        [{"id": "a", "final_structure": IRON.as_dict(), "structure_initial": NACL.as_dict()}],
        {"id": "a", "final_structure": IRON.as_dict()},
        {"a": {"final_structure": IRON.as_dict()}},
        {"columns": ["id", "final_structure"], "index": ["a"], "data": [["a", IRON.as_dict()]]},
    ],
)
def test_structures_have_several_names_in_json(tmp_path: Path, value: object) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(value))
    ((name, crystal),) = read_usable(path)
    assert name == "a"
    assert isinstance(crystal, Crystal)
    assert set(crystal.atomic_numbers.tolist()) == {26}


@pytest.mark.parametrize(
    ("entry", "material_id"),
    [
        ({"entry_id": "mp-1-GGA", "data": {"material_id": "mp-1", "task_id": "mp-9"}}, "mp-1"),
        ({"entry_id": "mp-1-GGA", "data": {"task_id": "mp-9"}}, "mp-1-GGA"),
        ({"entry_id": "mp-1-GGA", "data": {}}, "mp-1-GGA"),
        ({"entry_id": None, "data": {"material_id": "mp-1"}}, "mp-1"),
        ({"entry_id": 7}, "7"),
        ({"id": "x", "properties": {"material_id": "mp-1"}}, "mp-1"),
        ({"task_id": "mp-9", "properties": {"id": "x"}}, "mp-9"),
        ({"material_id": "mp-1", "data": {"material_id": "mp-2"}}, "mp-1"),
        ({"data": {"oxide_type": "None"}}, "mine-0"),
    ],
)
def test_an_entry_keeps_its_id(tmp_path: Path, entry: dict[str, Any], material_id: str) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps([{**entry, "structure": IRON.as_dict()}]))
    assert [name for name, _ in read_usable(path)] == [material_id]


def test_one_document_and_documents_by_their_count_keep_their_ids(tmp_path: Path) -> None:
    document = {"material_id": "mp-1", "structure": IRON.as_dict(), "gap": 2.0, "is_metal": True, "name": "iron"}
    path = tmp_path / "mine.json"
    for value in (document, {"0": document}, [document], {"data": [document], "meta": {"total": 1}}):
        path.write_text(json.dumps(value))
        source = open_source(path)
        assert [entry.material_id for entry in source.entries()] == ["mp-1"]
        assert source.targets.columns() == {"gap": {"mp-1": 2.0}}
        assert source.targets.left_out() == {
            "is_metal": "true/false, no numbers",
            "name": "text, no numbers, such as 'iron'",
        }


def test_a_table_says_which_columns_it_leaves_out(tmp_path: Path) -> None:
    rows = [[i, f"x{i}", text(IRON, "cif"), "train", "True", i] for i in range(3)]
    header = ["Unnamed: 0", "jid", "structure", "split", "is_metal", "n"]
    source = open_source(write_csv(tmp_path / "t.csv", [header, *rows]))
    assert [entry.material_id for entry in source.entries()] == ["x0", "x1", "x2"]
    assert source.targets.columns() == {"n": {"x0": 0.0, "x1": 1.0, "x2": 2.0}}
    assert list(source.targets.left_out()) == ["Unnamed: 0", "split", "is_metal"]


@pytest.mark.parametrize(
    ("rows", "ids", "columns", "remark"),
    [
        ([["cif", "gap"], [NACL_CIF, 0.5], [IRON_CIF, 0.5]], ["t-0", "t-1"], {"gap": [0.5, 0.5]}, "count its rows"),
        ([["cif", "gap"], [NACL_CIF, 0.5], [IRON_CIF, 1.5]], ["t-0", "t-1"], {"gap": [0.5, 1.5]}, "count its rows"),
        ([["cif", "n"], [NACL_CIF, 7], [IRON_CIF, 7]], ["t-0", "t-1"], {"n": [7, 7]}, "count its rows"),
        ([["number", "cif", "n"], [17, NACL_CIF, 7], [3, IRON_CIF, 7]], ["17", "3"], {"n": [7, 7]}, ""),
        ([["", "name", "cif", "n"], [0, "x", NACL_CIF, 7], [1, "y", IRON_CIF, 8]], ["x", "y"], {"n": [7, 8]}, "'name'"),
        ([["", "name", "cif", "n"], [4, "x", NACL_CIF, 7], [9, "y", IRON_CIF, 8]], ["x", "y"], {"n": [7, 8]}, "'name'"),
        ([["", "cif", "n"], [0, NACL_CIF, 7.5], [1, IRON_CIF, 8]], ["t-0", "t-1"], {"n": [7.5, 8]}, "count its rows"),
        ([["n", "name", "cif"], [1.5, "x", NACL_CIF], [2, "y", IRON_CIF]], ["x", "y"], {"n": [1.5, 2]}, "'name'"),
        ([["Unnamed: 0", "id", "cif"], [5, "x", NACL_CIF], [3, "y", IRON_CIF]], ["x", "y"], {}, ""),
        ([["", "cif"], [0, NACL_CIF], [1, IRON_CIF]], ["0", "1"], {}, ""),
        (
            [["x", NACL_CIF, 1], ["y", IRON_CIF, 2]],
            ["x", "y"],
            {"target": [1, 2]},
            "without header, its columns as target",
        ),
        ([["x", NACL_CIF], ["y", IRON_CIF]], ["x", "y"], {}, "without header"),
        ([[1, "x", NACL_CIF, 5], [2, "y", IRON_CIF, 6]], ["x", "y"], {"target": [5, 6]}, "ids of column 2"),
        ([[text(NACL, "poscar"), "x"], [text(IRON, "poscar"), "y"]], ["x", "y"], {}, "without header"),
        ([["# mine"], ["id", "cif", "n"], ["x", NACL_CIF, 1], ["y", IRON_CIF, 2]], ["x", "y"], {"n": [1, 2]}, ""),
        ([["id", "cif", "n"], ["x", NACL_CIF, 1], ["x", IRON_CIF, ""]], ["x", "x"], {"n": [1]}, ""),
    ],
)
def test_ids_of_a_table_are_no_targets_and_no_crystal_is_a_header(
    tmp_path: Path, rows: list[list[Any]], ids: list[str], columns: dict[str, list[float]], remark: str
) -> None:
    source = open_source(write_csv(tmp_path / "t.csv", rows))
    found = list(source.entries())
    assert [entry.material_id for entry in found] == ids
    assert all(isinstance(entry, RawCrystal) for entry in found)
    assert {name: list(values.values()) for name, values in source.targets.columns().items()} == columns
    assert remark in " ".join(source.targets.remarks)
    assert bool(remark) == bool(source.targets.remarks)


def test_the_index_of_a_pandas_table_in_json_is_no_target(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    structures = [IRON.as_dict(), NACL.as_dict()]
    for labels, ids in (([5, 9], ["t-0", "t-1"]), (["x", "y"], ["x", "y"])):
        rows = [{"index": label, "structure": item, "n": 3} for label, item in zip(labels, structures, strict=True)]
        path.write_text(json.dumps({"schema": {"primaryKey": ["index"]}, "data": rows}))
        source = open_source(path)
        assert [entry.material_id for entry in source.entries()] == ids
        assert list(source.targets.columns()) == ["n"]


def test_a_table_of_structures_may_be_utf_16_with_tabs(tmp_path: Path) -> None:
    rows = io.StringIO()
    csv.writer(rows, delimiter="\t").writerows([["id", "cif", "n"], ["a", text(IRON, "cif"), 3]])
    (tmp_path / "t.tsv").write_bytes(rows.getvalue().encode("utf-16"))
    source = open_source(tmp_path / "t.tsv")
    assert [entry.material_id for entry in source.entries()] == ["a"]
    assert source.targets.columns() == {"n": {"a": 3.0}}
