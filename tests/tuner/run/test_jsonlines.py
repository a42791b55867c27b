"""Lines that survive a kill in the middle of a write."""

import errno
import os
from pathlib import Path

import pytest

from tuner.run import jsonlines


def test_a_torn_last_line_is_as_if_never_written(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    jsonlines.append(path, {"a": 1})
    with open(path, "ab") as file:
        file.write(b'{"a": 2')
    assert jsonlines.read(path) == [{"a": 1}]
    jsonlines.append(path, {"a": 3})
    assert jsonlines.read(path) == [{"a": 1}, {"a": 3}]


def test_a_line_that_could_not_be_written_whole_leaves_no_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "lines"
    jsonlines.append(path, {"a": 1})

    def broken(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OSError, match="Input/output error"):
        jsonlines.append(path, {"a": 2})
    monkeypatch.undo()
    assert path.read_text() == '{"a":1}\n'


def test_a_damaged_line_in_the_middle_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_text('{"a": 1}\nrubbish\n{"a": 2}\n')
    with pytest.raises(ValueError, match=r"line 2 of .* must be a JSON object, got b'rubbish'"):
        jsonlines.read(path)


def test_numbers_that_json_lacks_become_null(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    jsonlines.append(path, {"a": float("nan"), "b": [float("inf"), 1.0]})
    assert jsonlines.read(path) == [{"a": None, "b": [None, 1.0]}]


def test_lines_appended_together_are_there_together_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "lines"
    jsonlines.append(path, {"a": 1}, {"a": 2})
    assert jsonlines.read(path) == [{"a": 1}, {"a": 2}]

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        jsonlines.append(path, {"a": 3}, {"a": 4})
    assert jsonlines.read(path) == [{"a": 1}, {"a": 2}]
