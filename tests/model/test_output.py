"""Where results may go: told before any work, as it will be when they are written."""

import io
import os
from pathlib import Path

import pytest

from graphdb.files import write_atomically
from model.errors import OutputError
from model.output import PredictionTable, check_folder, check_table, known_values, open_table, written_with
from model.shipped import CONFIG, STATE, WEIGHTS


def refuse_writing_to(monkeypatch: pytest.MonkeyPatch, *places: Path) -> None:
    """As for a user without these rights; root has all."""
    monkeypatch.setattr("os.access", lambda path, mode: Path(path).resolve() not in places)


def test_a_table_needs_a_folder_that_can_be_written_to_even_where_it_is_there_already(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "old.csv").write_text("mine\n")
    refuse_writing_to(monkeypatch, tmp_path)
    for name in ("old.csv", "new.csv"):
        with pytest.raises(OutputError, match=f"{tmp_path} cannot; choose another place"):
            check_table(str(tmp_path / name), [])


def test_a_table_that_is_protected_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "old.csv").write_text("mine\n")
    refuse_writing_to(monkeypatch, tmp_path / "old.csv")
    with pytest.raises(OutputError, match=r"old\.csv cannot; choose another place"):
        check_table(str(tmp_path / "old.csv"), [])


def test_a_table_through_a_link_needs_the_folder_that_the_link_leads_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "link.csv").symlink_to(tmp_path / "there" / "table.csv")
    (tmp_path / "nowhere.csv").symlink_to(tmp_path / "gone" / "table.csv")
    check_table(str(tmp_path / "link.csv"), [])
    with pytest.raises(OutputError, match=f"there is no folder {tmp_path / 'gone'}"):
        check_table(str(tmp_path / "nowhere.csv"), [])
    refuse_writing_to(monkeypatch, tmp_path / "there")
    with pytest.raises(OutputError, match=f"{tmp_path / 'there'} cannot; choose another place"):
        check_table(str(tmp_path / "link.csv"), [])


def test_a_device_needs_no_folder_that_can_be_written_to(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_writing_to(monkeypatch, Path("/dev"))
    check_table("/dev/null", [])


def test_a_table_may_go_to_a_pipe_by_its_name_among_the_open_files(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    name = f"/dev/fd/{writer}"
    check_table(name, [])
    with open_table(name) as file:
        file.write("a,b\n")
    os.close(writer)
    with os.fdopen(reader) as pipe:
        assert pipe.read() == "a,b\n"


@pytest.mark.parametrize(("output", "says"), [("", "got ''; leave it out for the screen"), (".", "got '.', a folder")])
def test_a_table_needs_the_name_of_a_file(output: str, says: str) -> None:
    with pytest.raises(OutputError, match=says):
        check_table(output, [])


class Killed(BaseException):
    """In place of SIGKILL, which leaves what is on disk as it is."""


def kill_write(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a file and be killed before it has its name."""
    with monkeypatch.context() as patch:
        patch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(Killed()))
        patch.setattr(Path, "unlink", lambda *_, **__: None)
        with pytest.raises(Killed):
            write_atomically(path, b"half")


@pytest.mark.parametrize("name", [STATE, WEIGHTS, CONFIG, f"{CONFIG}.next"])
def test_what_a_killed_run_left_in_its_new_folder_does_not_stop_the_next_one(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill_write(tmp_path / name, monkeypatch)
    assert any(tmp_path.iterdir())
    check_folder(tmp_path, lambda folder: False, "an earlier export")
    assert not any(tmp_path.iterdir())


def test_what_a_killed_run_left_among_other_files_is_not_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill_write(tmp_path / STATE, monkeypatch)
    (tmp_path / "mine.cif").write_text("")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(OutputError, match="holds other files"):
        check_folder(tmp_path, lambda folder: False, "an earlier export")
    assert sorted(tmp_path.iterdir()) == before


def test_a_checkpoint_killed_before_its_configuration_had_its_name_is_known_by_it(tmp_path: Path) -> None:
    (tmp_path / WEIGHTS).write_bytes(b"")
    (tmp_path / f"{CONFIG}.next").write_text('{"search": {}}')
    assert written_with(tmp_path, "search")
    assert not written_with(tmp_path, "imported")


def test_a_row_of_predictions_has_six_digits_and_nothing_for_what_is_unknown() -> None:
    file = io.StringIO()
    table = PredictionTable(file, ["gap [eV]", "predicted, gap", "error"])
    table.add("mp-1", [*known_values([float("nan")]), 1.23456789, ""])
    table.add("mp-2", [*known_values([2.0]), float("nan"), "no, never"])
    assert file.getvalue() == ('material_id,gap [eV],"predicted, gap",error\nmp-1,,1.23457,\nmp-2,2,nan,"no, never"\n')
