"""The log: what is written, and what follows from it."""

from pathlib import Path

import pytest

from tuner.run.log import Log, Training, in_order, key_of, trainings_of


def epoch(log: Log, key: str, number: int, decision: str, score: float | None) -> None:
    body = {"score": score, "diverged": score is None, "seconds": 2.0, "metrics": {"gap": {"mae": score}}}
    log.add_epoch(key, number, decision, body)  # type: ignore[arg-type]


def test_what_was_written_is_what_is_known(tmp_path: Path) -> None:
    log = Log(tmp_path / "epochs.jsonl")
    log.begin({"0000": {"num_convs": 2}, "0001": {"num_convs": 3}})
    epoch(log, "0000", 1, "continue", 0.5)
    epoch(log, "0001", 1, "stopped", 0.9)
    epoch(log, "0000", 2, "continue", 0.4)
    epoch(log, "0000", 3, "finished", 0.6)
    log.begin({"0002": {"num_convs": 1}, "0003": {"num_convs": 4}})
    epoch(log, "0002", 1, "diverged", None)
    log.fail("0003", "OSError: no luck")
    first, second, third, fourth = trainings_of(Log(tmp_path / "epochs.jsonl").lines()).values()
    assert (first.state, first.epoch, first.curve) == ("finished", 3, {1: 0.5, 2: 0.4, 3: 0.6})
    assert (first.best_epoch, first.best_score, first.best_metrics) == (2, 0.4, {"gap": {"mae": 0.4}})
    assert (first.params, first.seconds, first.number) == ({"num_convs": 2}, 6.0, 0)
    assert (second.state, third.state) == ("stopped", "diverged")
    assert third.curve == {}
    assert (fourth.state, fourth.reason, fourth.epoch) == ("failed", "OSError: no luck", 0)
    assert all(each.has_ended and each.started <= each.updated for each in (first, second, third, fourth))


def test_a_trial_that_was_begun_waits_and_one_that_got_on_runs(tmp_path: Path) -> None:
    log = Log(tmp_path / "epochs.jsonl")
    log.begin({"0000": {}, "0001": {}})
    epoch(log, "0001", 1, "continue", 0.5)
    waiting, running = trainings_of(log.lines()).values()
    assert (waiting.state, running.state) == ("waiting", "running")
    assert not waiting.has_ended
    assert not running.has_ended


def test_a_torn_line_is_cut_before_the_next_one(tmp_path: Path) -> None:
    path = tmp_path / "epochs.jsonl"
    Log(path).begin({"0000": {}})
    path.write_bytes(path.read_bytes() + b'{"key": "0001", "par')
    log = Log(path)
    log.begin({"0001": {}})
    assert [line["key"] for line in log.lines()] == ["0000", "0001"]


def test_a_log_whose_file_is_gone_is_not_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "run" / "epochs.jsonl"
    log = Log(path)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"epochs\.jsonl"):
        log.begin({"0000": {}})
    assert not path.exists()


def test_trials_are_in_the_order_of_their_numbers_beyond_ten_thousand() -> None:
    keys = [key_of(number) for number in (10_000, 9_999, 2, 10_001)]
    found = in_order({key: Training(key=key) for key in keys})
    assert list(found) == ["0002", "9999", "10000", "10001"]
