"""Targets: what is a number, what is unknown, and what is told of the rest."""

import math
from pathlib import Path

import pytest

from graphdb.errors import Reason, SourceError
from graphdb.targets import TargetTable, align, read_id_prop, read_number, read_targets
from graphdb.units import split_header


def read(tmp_path: Path, text: str | bytes) -> TargetTable:
    path = tmp_path / "targets.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    table = TargetTable()
    read_targets(path, table)
    return table


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


def test_columns_come_with_units_and_blanks_are_unknown(tmp_path: Path) -> None:
    table = read(tmp_path, "gap [eV],material_id,bulk_modulus,odd\n1,a,,3\nnan,b,5,\n")
    assert table.columns() == {"gap": {"a": 1.0}, "bulk_modulus": {"b": 5.0}, "odd": {"a": 3.0}}
    assert table.units == {"gap": "eV", "bulk_modulus": "GPa", "odd": ""}
    assert align(table.columns()["gap"], ["b", "a"]).tolist()[1] == 1.0
    assert math.isnan(align(table.columns()["gap"], ["b", "a"])[0])
    assert table.problems() == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("id,gap\na,1\nb,metal\nc,2\n", [("b", Reason.BAD_TARGET)]),
        ("id,gap\na,1\nb,inf\nc,2\n", [("b", Reason.BAD_TARGET)]),
        ("id,gap,formula\na,1,NaCl\nb,2,Fe\n", [("", Reason.TEXT_COLUMN)]),
        ("id,gap\na,1\n,5\n", [("", Reason.BAD_TARGET_ROW)]),
        ("id,gap\na,1,9\nb\nc,3\n", [("a", Reason.BAD_TARGET_ROW), ("b", Reason.BAD_TARGET_ROW)]),
        ("id,gap\na,1\na,2\n", [("a", Reason.DUPLICATE_TARGET)]),
        ("id,gap\na,1\na,1.0\n", []),
        ("id,gap,\na,1,\nb,2,\n", []),
        ("id,gap,\na,1,7\nb,2,8\n", [("", Reason.TEXT_COLUMN)]),
        (",material_id,gap\n0,a,1\n1,b,2\n", []),
        ("\ufeffmaterial_id,gap\r\na,1\r\n\r\n", []),
        ("id,gap\n\n\na,1\n   \n", []),
    ],
)
def test_what_cannot_be_used_is_told(tmp_path: Path, text: str, expected: list[tuple[str, Reason]]) -> None:
    table = read(tmp_path, text)
    assert notes(table) == expected
    assert "gap" in table.columns()


def test_the_first_of_two_rows_counts(tmp_path: Path) -> None:
    table = read(tmp_path, "id,gap\na,1\na,2\n")
    assert table.columns()["gap"] == {"a": 1.0}
    assert "gap is 1 in targets.csv, line 2 and 2 here" in table.problems()[0].message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must begin with a header"),
        ("id\na\n", "at least one target column"),
        ("id;gap\na;1\n", "separated by commas"),
        ("id,gap,gap [eV]\na,1,2\n", r"distinct names, got \['gap'\]"),
        (b"\x1f\x8bnot really", "cannot be read to its end"),
    ],
)
def test_a_file_that_cannot_be_used_is_an_error(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        read(tmp_path, text)


def test_thousands_of_bad_cells_are_summed_up(tmp_path: Path) -> None:
    rows = "".join(f"{i},{'inf' if i % 3 == 0 else i}\n" for i in range(6000))
    table = read(tmp_path, "id,gap\n" + rows)
    assert len(table.problems()) == 1001
    assert "1,000 more cells" in table.problems()[-1].message


@pytest.mark.parametrize(
    ("text", "names", "expected"),
    [
        ("a,1\nb,2\n", None, {"target": {"a": 1.0, "b": 2.0}}),
        ("a,1,\nb,2,3\n", None, {"target_1": {"a": 1.0, "b": 2.0}, "target_2": {"b": 3.0}}),
        ("a,1,4\n", ["gap", "fermi_energy"], {"gap": {"a": 1.0}, "fermi_energy": {"a": 4.0}}),
        ("id,gap\na,1\n", None, {"gap": {"a": 1.0}}),
        ("", None, {}),
    ],
)
def test_id_prop_of_cgcnn_has_no_header(
    text: str, names: list[str] | None, expected: dict[str, dict[str, float]]
) -> None:
    table = TargetTable()
    read_id_prop(text, table, names)
    assert table.columns() == expected


def test_id_prop_with_odd_rows_tells_of_them() -> None:
    table = TargetTable()
    read_id_prop("a,1,2\nb,3\nc,4,x\nd,5,6\n,7,8\n", table, None)
    assert table.columns() == {"target_1": {"a": 1.0, "c": 4.0, "d": 5.0}, "target_2": {"a": 2.0, "d": 6.0}}
    assert notes(table) == [("b", Reason.BAD_TARGET_ROW), ("", Reason.BAD_TARGET_ROW), ("c", Reason.BAD_TARGET)]


def test_id_prop_with_the_wrong_number_of_names_is_an_error() -> None:
    with pytest.raises(SourceError, match="has 2 target columns, got 1 names: gap"):
        read_id_prop("a,1,2\n", TargetTable(), ["gap"])


@pytest.mark.parametrize(
    ("header", "name", "unit"),
    [
        ("band_gap", "band_gap", "eV"),
        ("band_gap_hse", "band_gap_hse", "eV"),
        ("Band Gap", "Band Gap", "eV"),
        ("band_gap [meV]", "band_gap", "meV"),
        ("K (GPa)", "K", "GPa"),
        ("log10(K) [log10(GPa)]", "log10(K)", "log10(GPa)"),
        ("formation_energy_per_atom", "formation_energy_per_atom", "eV/atom"),
        ("color", "color", ""),
        ("a_priori", "a_priori", ""),
        ("[eV]", "[eV]", ""),
    ],
)
def test_a_header_tells_name_and_unit(header: str, name: str, unit: str) -> None:
    assert split_header(header) == (name, unit)
