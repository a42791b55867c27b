"""A folder like a checkout to check cluster files in, and an imitation of an AWS account."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from moto import mock_aws

from tests.tuner.preflight.stand_ins import OWN_HOSTS, Check, CheckMistake, Cloud
from tuner.cluster.cluster_file import ClusterFile, read_cluster_file
from tuner.preflight.__main__ import main


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder like a checkout after `make wheel`, and a home with a token."""
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist" / "crystune-0.1.0-py3-none-any.whl").touch()
    (tmp_path / "dist" / "constraints.txt").touch()
    token = tmp_path / ".ray" / "auth_token"
    token.parent.mkdir()
    token.write_text("secret")
    token.chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def real(repository: Path) -> str:
    """The cluster file that ships."""
    return (repository / "cluster.yaml").read_text(encoding="utf-8")


@pytest.fixture
def check(place: Path, capsys: pytest.CaptureFixture[str]) -> Check:
    """Exit status of preflight for a file's text, and the findings by severity, each as one text."""

    def run(text: str) -> tuple[int, dict[str, list[str]]]:
        (place / "cluster.yaml").write_text(text)
        status = main(["cluster.yaml", "--offline", "--json"])
        found: dict[str, list[str]] = {"error": [], "warning": [], "ok": []}
        for finding in json.loads(capsys.readouterr().out)["findings"]:
            found[finding["severity"]].append(f"{finding['where']}: {finding['what']} -> {finding['fix']}")
        return status, found

    return run


@pytest.fixture
def check_mistake(check: Check, real: str) -> CheckMistake:
    """That the file that ships, with one change, is answered by what is expected and little more."""

    def run(old: str, new: str, expected: str) -> None:
        broken = re.sub(old, new, real, count=1)
        assert broken != real, "the change must change something"
        status, found = check(broken)
        assert status == 2
        assert any(re.search(expected, error) for error in found["error"]), found["error"]
        assert len(found["error"]) <= 4, "one mistake shall not be told many times"

    return run


@pytest.fixture
def own_hosts(tmp_path: Path) -> ClusterFile:
    """A cluster file of own machines."""
    path = tmp_path / "mine.yaml"
    path.write_text(OWN_HOSTS)
    return read_cluster_file(path)


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE"):
            patch.delenv(name, raising=False)
        with mock_aws():
            yield Cloud(tmp_path_factory.mktemp("cloud"))
