"""`python -m tuner.preflight` as a whole: the files that ship, and what is said at the end."""

from pathlib import Path

import pytest

from tests.tuner.preflight.stand_ins import Check
from tuner.preflight.__main__ import main

pytestmark = pytest.mark.ray


@pytest.mark.needs("bash")
def test_the_real_file_passes(check: Check, real: str) -> None:
    status, found = check(real)
    assert (status, found["error"], found["warning"]) == (0, [], [])


@pytest.mark.needs("bash")
def test_the_file_for_own_machines_passes_once_its_values_are_changed(
    check: Check, place: Path, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (repository / "cluster.local.yaml").read_text(encoding="utf-8")
    (place / ".ssh").mkdir()
    (place / ".ssh" / "id_ed25519").touch(0o600)
    status, found = check(text)
    left = [error for error in found["error"] if "must be changed" in error]
    assert status == 2
    assert left == found["error"]
    assert len(left) == 4
    changed = text.replace("192.0.2.", "10.0.0.").replace("ssh_user: CHANGE", "ssh_user: me")
    status, found = check(changed)
    assert (status, found["error"], found["warning"]) == (0, [], [])
    assert main(["cluster.yaml", "--offline"]) == 0
    assert capsys.readouterr().out.endswith("Next:\n  ray up cluster.yaml\n")
    (place / "cluster.yaml").write_text(changed.replace("RAY_enable_autoscaler_v2=0", ""))
    assert main(["cluster.yaml", "--offline"]) == 0
    assert capsys.readouterr().out.endswith("Next:\n  RAY_UP_enable_autoscaler_v2=0 ray up cluster.yaml\n")
    (place / "dist" / "crystune-0.1.0-py3-none-any.whl").unlink()
    assert any("needs one crystune-*.whl in dist" in error for error in check(changed)[1]["error"])


def test_a_file_that_is_no_yaml_is_a_finding_with_its_line(check: Check, real: str) -> None:
    status, found = check(real.replace("\nprovider:", "\nprovider", 1))
    (only,) = found["error"]
    assert status == 2
    assert only.startswith("cluster.yaml, line ")
    assert "must be YAML, but " in only


@pytest.mark.needs("bash")
def test_the_list_for_people_ends_with_what_to_type_next(
    place: Path, real: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "cluster.yaml").write_text(real)
    assert main(["cluster.yaml", "--offline"]) == 0
    assert capsys.readouterr().out.endswith("0 errors, 0 warnings\nNext:\n  ray up cluster.yaml\n")


def test_a_file_that_is_not_there_is_told_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nowhere.yaml", "--offline"]) == 2
    assert capsys.readouterr().err == (
        "error: the cluster file must be one such as cluster.yaml, but there is no nowhere.yaml\n"
    )
