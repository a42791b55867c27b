"""A table that grows: whole at the end, gone on with after any end, and never mixed with another one."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from graphdb.errors import Reason, SkippedCrystal
from model.errors import OutputError
from model.growing_table import FileTable, StreamTable, Texts

COLUMNS = ["gap", "warning", "error"]
ORIGIN = {"model": "m", "set of crystals": ["a.cif"]}
REFUSED = SkippedCrystal("b", Reason.UNPARSABLE, "not, at all", "b.cif")
PORTIONS: list[tuple[str, int, tuple[int, ...], int, Texts]] = [
    ("a,1,,\n", 1, (1, 0), 0, [(b"a" * 16, None)]),
    ('b,,,"no, no"\nc,2,,\n', 2, (3, 1), 0, [(b"b" * 16, REFUSED), (b"c" * 16, None)]),
    ("d,3,,\n", 1, (4, 1), 2, [(b"d" * 16, None)]),
]
WHOLE = "material_id,gap,warning,error\n" + "".join(text for text, *_ in PORTIONS)


class Killed(BaseException):
    """In place of SIGKILL."""


def write(output: Path, portions: list[tuple[str, int, tuple[int, ...], int, Texts]]) -> None:
    """Add portions, and end as a process does that is killed."""
    with pytest.raises(Killed), FileTable(str(output), COLUMNS, ORIGIN) as table:
        for portion in portions:
            table.add(*portion)
        raise Killed


def test_a_table_that_was_not_interrupted_is_whole(tmp_path: Path) -> None:
    with FileTable(str(tmp_path / "t.csv"), COLUMNS, ORIGIN) as table:
        for portion in PORTIONS:
            table.add(*portion)
        assert not (tmp_path / "t.csv").exists()
    assert (tmp_path / "t.csv").read_text() == WHOLE
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]


def test_a_table_without_rows_has_its_header(tmp_path: Path) -> None:
    with FileTable(str(tmp_path / "t.csv"), COLUMNS, ORIGIN):
        pass
    assert (tmp_path / "t.csv").read_text() == WHOLE.splitlines(keepends=True)[0]


def tear_row(partial: Path, journal: Path) -> None:
    partial.write_bytes(partial.read_bytes() + b"d,3")


def add_row(partial: Path, journal: Path) -> None:
    partial.write_bytes(partial.read_bytes() + b"d,3,,\n")


def tear_line(partial: Path, journal: Path) -> None:
    journal.write_bytes(journal.read_bytes() + b'{"size": 7')


def lose_row(partial: Path, journal: Path) -> None:
    partial.write_bytes(partial.read_bytes()[:-3])


def change_row(partial: Path, journal: Path) -> None:
    partial.write_bytes(partial.read_bytes().replace(b"c,2", b"c,3"))


@pytest.mark.parametrize(
    ("damage", "num_rows"), [(tear_row, 3), (add_row, 3), (tear_line, 3), (lose_row, 1), (change_row, 1)]
)
def test_it_goes_on_from_the_last_portion_that_is_whole(
    tmp_path: Path, damage: Callable[[Path, Path], None], num_rows: int
) -> None:
    output = tmp_path / "t.csv"
    write(output, PORTIONS[:2])
    damage(tmp_path / "t.csv.partial", tmp_path / "t.csv.partial.journal")
    num_portions = {1: 1, 3: 2}[num_rows]
    with FileTable(str(output), COLUMNS, ORIGIN) as table:
        assert (table.num_rows, tuple(table.tally)) == (num_rows, PORTIONS[num_portions - 1][2])
        assert table.remark == f"going on from {output}.partial, which has {num_rows} row{'s' * (num_rows > 1)}"
        assert list(table.material_ids) == ["a", "b", "c"][:num_rows]
        known = [(digest[:8], refusal) for _, _, _, _, texts in PORTIONS[:num_portions] for digest, refusal in texts]
        assert list(table.texts(0)) == known
        assert list(table.texts(2)) == []
        for portion in PORTIONS[num_portions:]:
            table.add(*portion)
    assert output.read_text() == WHOLE
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]


def test_interrupted_again_it_still_goes_on(tmp_path: Path) -> None:
    for number in range(3):
        with pytest.raises(Killed), FileTable(str(tmp_path / "t.csv"), COLUMNS, ORIGIN) as table:
            assert len(list(table.material_ids)) == (0, 1, 3)[number]
            table.add(*PORTIONS[number])
            raise Killed
    with FileTable(str(tmp_path / "t.csv"), COLUMNS, ORIGIN) as table:
        assert [list(table.texts(group))[-1][0] for group in (0, 2)] == [b"c" * 8, b"d" * 8]
    assert (tmp_path / "t.csv").read_text() == WHOLE


@pytest.mark.parametrize(
    ("origin", "columns", "says"),
    [
        ({**ORIGIN, "model": "n"}, COLUMNS, "is of another model: starting anew"),
        ({"model": "n", "set of crystals": []}, COLUMNS, "is of another model and set of crystals: starting anew"),
        (ORIGIN, ["energy", *COLUMNS], ""),
    ],
)
def test_of_something_else_it_starts_anew(
    tmp_path: Path, origin: dict[str, object], columns: list[str], says: str
) -> None:
    write(tmp_path / "t.csv", PORTIONS[:2])
    with FileTable(str(tmp_path / "t.csv"), columns, origin) as table:
        assert says in table.remark
        assert table.num_rows == 0
        table.add(*PORTIONS[2])
    assert (tmp_path / "t.csv").read_text().splitlines()[1:] == ["d,3,,"]


def test_a_part_without_journal_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "t.csv.partial").write_text("of an earlier version\n")
    with FileTable(str(tmp_path / "t.csv"), COLUMNS, ORIGIN) as table:
        assert table.remark == ""
        table.add(*PORTIONS[0])
    assert (tmp_path / "t.csv").read_text().splitlines()[1:] == ["a,1,,"]


def test_told_that_the_crystals_changed_it_starts_anew(tmp_path: Path) -> None:
    write(tmp_path / "t.csv", PORTIONS[:2])
    with FileTable(str(tmp_path / "t.csv"), COLUMNS, ORIGIN) as table:
        table.start_anew("set of crystals")
        assert f"{tmp_path}/t.csv.partial is of another set of crystals: starting anew" in table.remark
        assert table.remark.endswith(f"to keep such rows, predict into another file than -o {tmp_path}/t.csv")
        for portion in PORTIONS:
            table.add(*portion)
    assert (tmp_path / "t.csv").read_text() == WHOLE


def test_an_interrupt_says_where_the_rows_are_and_that_the_same_command_goes_on(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("mine")
    with pytest.raises(KeyboardInterrupt) as stop, FileTable(str(tmp_path / "t.csv"), COLUMNS, ORIGIN) as table:
        table.add(*PORTIONS[0])
        raise KeyboardInterrupt
    goes_on = f"the predictions so far are in {tmp_path}/t.csv.partial, the same command goes on from there"
    says = f"{goes_on}; {tmp_path}/t.csv is as it was"
    assert stop.value.args == (says,)
    with pytest.raises(ValueError, match="broken") as failure, FileTable(str(tmp_path / "t.csv"), COLUMNS, ORIGIN):
        raise ValueError("broken")
    assert failure.value.__notes__ == [says]
    assert (tmp_path / "t.csv").read_text() == "mine"


def test_before_the_first_row_nothing_is_left(tmp_path: Path) -> None:
    for error in (KeyboardInterrupt, ValueError):
        with pytest.raises(error) as stop, FileTable(str(tmp_path / "t.csv"), COLUMNS, ORIGIN):
            raise error
        assert stop.value.args == ()
        assert list(tmp_path.iterdir()) == []


def test_a_mistake_before_the_first_row_leaves_the_part_of_another_run(tmp_path: Path) -> None:
    write(tmp_path / "t.csv", PORTIONS[:2])
    with pytest.raises(ValueError, match="device"), FileTable(str(tmp_path / "t.csv"), COLUMNS, {"model": "n"}):
        raise ValueError("no such device")
    with FileTable(str(tmp_path / "t.csv"), COLUMNS, ORIGIN) as table:
        assert table.num_rows == 3


def test_two_processes_cannot_write_one_table(tmp_path: Path) -> None:
    with FileTable(str(tmp_path / "t.csv"), COLUMNS, ORIGIN) as table:
        with pytest.raises(OutputError, match=r"one is writing .*t\.csv now; wait for it, or choose another name"):
            with FileTable(str(tmp_path / "t.csv"), COLUMNS, ORIGIN):
                pass
        table.add(*PORTIONS[0])
    assert (tmp_path / "t.csv").read_text().endswith("a,1,,\n")


def test_the_journal_is_lines_of_json_that_take_little_room(tmp_path: Path) -> None:
    texts = [(bytes([number]) * 16, None) for number in range(256)]
    write(tmp_path / "t.csv", [("".join(f"{i},1,,\n" for i in range(256)), 256, (256,), 0, texts)])
    origin, line = map(json.loads, (tmp_path / "t.csv.partial.journal").read_text().splitlines())
    assert origin == ORIGIN
    assert line["rows"] == 256
    assert (tmp_path / "t.csv.partial.journal").stat().st_size < 256 * 18


def test_on_the_screen_the_header_comes_with_the_first_rows() -> None:
    file = io.StringIO()
    table = StreamTable(file, COLUMNS)
    assert file.getvalue() == ""
    for portion in PORTIONS:
        table.add(*portion)
    assert file.getvalue() == WHOLE


@pytest.mark.parametrize(
    ("num_whole", "num_bytes", "written"),
    [(2, 99, "3 rows"), (1, 3, "1 row and a part of the next"), (0, 3, "0 rows and a part of the next")],
)
def test_an_interrupt_tells_how_many_rows_went_to_the_screen(num_whole: int, num_bytes: int, written: str) -> None:
    class Blocked(io.StringIO):
        """The next portion gets as far as that."""

        def write(self, text: str) -> int:
            if is_blocked:
                super().write(text[:num_bytes])
                raise KeyboardInterrupt
            return super().write(text)

    is_blocked = False
    with pytest.raises(KeyboardInterrupt) as stop, StreamTable(Blocked(), COLUMNS) as table:
        for portion in PORTIONS[:num_whole]:
            table.add(*portion)
        if num_bytes == 99:
            raise KeyboardInterrupt
        is_blocked = True
        table.add(*PORTIONS[num_whole])
    says = f"the output ends after {written}; with -o FILE the same command would go on from there"
    assert stop.value.args == (says,)


def test_an_interrupt_before_the_first_row_on_the_screen_says_nothing_of_rows() -> None:
    with pytest.raises(KeyboardInterrupt) as stop, StreamTable(io.StringIO(), COLUMNS):
        raise KeyboardInterrupt
    assert stop.value.args == ()
