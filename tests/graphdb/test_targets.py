"""Targets: what is a number, what is unknown, and what is told of the rest."""

import io
import math
import re

import pytest

from graphdb.errors import Reason, SourceError
from graphdb.matching import CrystalIds
from graphdb.targetfile import TargetFile
from graphdb.targets import MergedTargets, TargetTable, align, read_number
from tests.graphdb.targettexts import read


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
