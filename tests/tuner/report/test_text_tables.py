"""The tables of a search, on a terminal and in Markdown."""

import io

import pytest
from rich.console import Console

from tuner.report.live import make_console
from tuner.report.text_tables import (
    errors_text,
    finalist_rows,
    finalists_table,
    markdown_table,
    params_text,
    with_spread,
)

UNITS = {"formation_energy_per_atom": "eV/atom", "band_gap": "eV", "fermi_energy": "eV"}
SPREAD = {"mean": 0.123456, "std": 0.01}
CONTENT = {
    "units": UNITS,
    "finalists": [{"trial": 3, "validation_score": SPREAD, "test": {task: {"mae": SPREAD} for task in UNITS}}],
}


@pytest.mark.parametrize("width", [40, 60, 80])
def test_no_unit_of_the_finalists_is_lost_on_a_narrow_terminal(width: int) -> None:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(finalists_table(CONTENT))
    assert isinstance(console.file, io.StringIO)
    text = "".join(console.file.getvalue().split())
    assert console.file.getvalue().isascii(), "nothing is cut with an ellipsis"
    assert text.count("[eV") == 3
    assert max(map(len, console.file.getvalue().splitlines())) <= width


def test_without_a_terminal_nothing_of_a_table_is_cut() -> None:
    file = io.StringIO()
    make_console(file).print(finalists_table(CONTENT))
    assert all(f"test MAE {task} [{unit}]" in file.getvalue() for task, unit in UNITS.items())
    assert max(map(len, file.getvalue().splitlines())) < 200


def test_a_table_in_markdown_has_a_line_for_each_row() -> None:
    assert markdown_table(["trial", "score"], [["0001", "0.5"], ["0002", "-"]]) == [
        "| trial | score |",
        "|---|---|",
        "| 0001 | 0.5 |",
        "| 0002 | - |",
    ]


def test_what_is_not_known_is_a_dash() -> None:
    metrics = {"a": {"mae": 0.123456}, "b": {"mae": None}}
    assert errors_text(metrics, {"a": "eV", "b": "GPa", "c": ""}) == "a 0.123 eV, b - GPa, c -"
    assert errors_text(metrics, {"a": ""}, digits=4) == "a 0.1235"
    assert [with_spread(None), with_spread({"mean": 1.0, "std": None})] == ["-", "1.0000"]
    assert finalist_rows(CONTENT) == [["0003", *["0.1235 (0.0100)"] * 4]]


def test_weights_of_the_tasks_are_one_word() -> None:
    params = {"learning_rate": 1e-3, "loss_weight.a": 1, "num_convs": 2, "loss_weight.b": 3}
    assert params_text(params) == "learning_rate=0.001 num_convs=2 loss_weight=1/3"
