"""The flags of a search."""

import argparse
from dataclasses import fields

import pytest

from tuner.flags import DEFAULTS, add_flags
from tuner.run.settings import SearchSettings


@pytest.fixture
def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(add_help=False, exit_on_error=False)
    add_flags(made)
    return made


def test_what_a_resumed_search_keeps_is_a_setting_whose_flag_has_no_default(parser: argparse.ArgumentParser) -> None:
    given = vars(parser.parse_args([]))
    assert set(DEFAULTS) <= {field.name for field in fields(SearchSettings)}
    assert all(given[name] is None for name in DEFAULTS)


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        ("--cpus-per-trial 0.5", "cpus_per_trial", 0.5),
        ("--gpus-per-trial 0", "gpus_per_trial", 0.0),
        ("--time-budget 1h30m", "time_budget", 5400.0),
        ("--tasks a,b", "tasks", ["a", "b"]),
        ("--resume", "resume", True),
        ("--runs s3://bucket/runs", "runs", "s3://bucket/runs"),
    ],
)
def test_a_flag_is_read(parser: argparse.ArgumentParser, words: str, name: str, value: object) -> None:
    assert getattr(parser.parse_args(words.split()), name) == value


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--cpus-per-trial 0", "must be a number above 0, got '0'"),
        ("--gpus-per-trial -1", "must be a number of at least 0, got '-1'"),
        ("--gpus-per-trial nan", "must be a number of at least 0, got 'nan'"),
        ("--epoch-timeout soon", "a duration must look like 2h, 30m, 90s or 1h30m, got 'soon'"),
        ("--trials 0", "must be an integer of at least 1, got '0'"),
    ],
)
def test_a_value_out_of_range_is_refused_with_the_rule(
    parser: argparse.ArgumentParser, words: str, message: str
) -> None:
    with pytest.raises(argparse.ArgumentError, match=message):
        parser.parse_args(words.split())
