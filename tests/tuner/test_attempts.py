"""Folders of attempts and files that survive a kill."""

import json
from pathlib import Path

import pytest

from tuner import attempts, jsonlines
from tuner.attempts import Attempt


def test_attempts_count_up_and_never_share_a_folder(tmp_path: Path) -> None:
    first, second = Attempt.begin(tmp_path), Attempt.begin(tmp_path)
    assert (first.number, second.number) == (1, 2)
    assert [attempt.number for attempt in attempts.attempts(tmp_path)] == [2, 1]


def test_the_end_of_a_job_keeps_the_best_checkpoint_alone_however_often_it_comes(tmp_path: Path) -> None:
    attempt = Attempt.begin(tmp_path)
    jsonlines.write_json(attempt.best / "config.json", {"best": 1})
    jsonlines.write_json(attempt.state / "state.json", {})
    for _ in range(2):
        attempts.conclude(tmp_path, attempt.path.name)
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.json")] == ["best/config.json"]


def test_a_process_thought_dead_cannot_spoil_what_its_successor_left(tmp_path: Path) -> None:
    stale, current = Attempt.begin(tmp_path), Attempt.begin(tmp_path)
    jsonlines.write_json(current.best / "config.json", {"from": "current"})
    attempts.conclude(tmp_path, current.path.name)
    jsonlines.write_json(stale.best / "config.json", {"from": "stale"})  # wakes up and goes on writing
    attempts.conclude(tmp_path, current.path.name)
    assert json.loads((tmp_path / "best" / "config.json").read_text()) == {"from": "current"}
    assert attempts.attempts(tmp_path) == []


def test_a_torn_last_line_is_as_if_never_written(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    jsonlines.append(path, {"a": 1})
    with open(path, "ab") as file:
        file.write(b'{"a": 2')
    assert jsonlines.read(path) == [{"a": 1}]
    jsonlines.cut_torn_tail(path)
    jsonlines.append(path, {"a": 3})
    assert jsonlines.read(path) == [{"a": 1}, {"a": 3}]


def test_a_damaged_line_in_the_middle_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_text('{"a": 1}\nrubbish\n{"a": 2}\n')
    with pytest.raises(ValueError, match="line 2 of .* must be a JSON object, got b'rubbish'"):
        jsonlines.read(path)


def test_numbers_that_json_lacks_become_null(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    jsonlines.append(path, {"a": float("nan"), "b": [float("inf"), 1.0]})
    assert jsonlines.read(path) == [{"a": None, "b": [None, 1.0]}]
