"""What is not on this machine as `ray up` needs it."""

import os
from pathlib import Path

import pytest

from tests.tuner.preflight.stand_ins import Check, CheckMistake

pytestmark = pytest.mark.ray


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (r": dist\b", ": distt", r"file_mounts./home/ubuntu/crystune .*distt is none"),
        (r"(?m)^ +/home/ubuntu/.ray/auth_token: .*$", "", r"must copy the token to every node"),
    ],
)
def test_a_mistake_is_found_with_its_fix(old: str, new: str, expected: str, check_mistake: CheckMistake) -> None:
    check_mistake(old, new, expected)


def test_a_missing_or_open_token_and_a_missing_wheel_are_found(check: Check, place: Path, real: str) -> None:
    (place / ".ray" / "auth_token").chmod(0o644)
    assert any("chmod 600" in error for error in check(real)[1]["error"])
    (place / ".ray" / "auth_token").unlink()
    assert any("ray get-auth-token --generate" in error for error in check(real)[1]["error"])
    (place / "dist" / "crystune-0.2.0-py3-none-any.whl").touch()
    errors = check(real.replace("ls -t ", "ls "))[1]["error"]
    assert any("needs one crystune-*.whl in dist, got crystune-0." in error for error in errors)
    for wheel in (place / "dist").glob("*.whl"):
        wheel.unlink()
    assert any("needs one crystune-*.whl in dist, got none" in error for error in check(real)[1]["error"])


def test_a_wheel_older_than_the_code_beside_it_is_found(check: Check, place: Path, real: str) -> None:
    (place / "tuner").mkdir()
    (place / "tuner" / "new.py").touch()
    os.utime(place / "dist" / "crystune-0.1.0-py3-none-any.whl", (1e9, 1e9))
    status, found = check(real)
    assert status == 0
    assert any("tuner/new.py is newer" in warning for warning in found["warning"])


def test_a_private_key_that_others_can_read_is_found(check: Check, place: Path, real: str) -> None:
    text = real.replace("ssh_user: ubuntu", "ssh_user: ubuntu\n    ssh_private_key: ~/key")
    errors = check(text)[1]["error"]
    assert any("ssh-keygen" in error for error in errors)
    assert any("must have KeyName" in error for error in errors)
    (place / "key").touch(0o644)
    assert any("chmod 600 ~/key" in error for error in check(text)[1]["error"])
