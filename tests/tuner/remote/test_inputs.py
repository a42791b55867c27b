"""What is read on the user's machine before anything is sent."""

from pathlib import Path
from typing import Any

from tuner.remote import __main__ as remote
from tuner.remote.inputs import given_flags, read_input


def parsed(*words: str) -> Any:
    return remote._parser().parse_args(["submit", "c.yaml", *words])


def test_flags_travel_as_they_were_given_and_defaults_do_not() -> None:
    arguments = parsed("--space", "table5", "--tasks", "band gap, x", "--no-asha", "--time-budget", "1h30m", "--seed=3")
    assert given_flags(arguments) == {
        "--space": "table5",
        "--tasks": "band gap,x",
        "--no-asha": None,
        "--time-budget": "5400.0",
        "--seed": "3",
    }


def test_a_space_of_the_users_is_read_here_and_one_that_ships_is_not_sent(tmp_path: Path, small_store: Path) -> None:
    file = tmp_path / "my space.toml"
    file.write_text("[parameters]\nnum_convs = [1, 2]\n")
    given = read_input(parsed("--space", str(file), "--store", str(small_store)))
    assert given.space == {"file": "my space.toml", "text": file.read_text()}
    assert given.store == small_store
    assert given.fingerprint
    given = read_input(parsed("--space", "table5", "--store", "s3://bucket/x.lmdb"))
    assert given.space is None
    assert given.store is None
