"""Ray's token: private to a search's own Ray, never in HOME; the file of clusters, which only its owner may read."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tuner.cluster import ray_token
from tuner.errors import SearchError

PROGRAM = """
import json, os, subprocess, sys
from pathlib import Path
import ray
from tuner.cluster.session import Cluster

def token_of_a_worker():
    return os.environ.get("RAY_AUTH_TOKEN")

with Cluster(None) as cluster:
    token = os.environ["RAY_AUTH_TOKEN"]
    worker = ray.get(ray.remote(num_cpus=0)(token_of_a_worker).remote())
    address = ray.get_runtime_context().gcs_address
    folder = Path(cluster._temp)  # Ray's own, in it, is open to everyone
    mode = folder.stat().st_mode & 0o777
    holding = [str(file) for file in folder.rglob("*") if file.is_file() and token.encode() in file.read_bytes()]
    theirs = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
    answers = [
        subprocess.run([sys.executable, "-c", sys.argv[1], where], env=theirs | more, capture_output=True, text=True)
        for where, more in ((address, {}), (address, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "f" * 64}))
    ]
print(json.dumps({
    "worker": worker == token and len(token) == 64, "mode": mode, "holding": holding,
    "answers": [answer.stdout + answer.stderr for answer in answers],
    "after": os.environ.get("RAY_AUTH_TOKEN"),
    "left": folder.exists() or [path.name for path in Path(os.environ["TMPDIR"]).iterdir()],
}))
"""
JOIN = """
import sys
from tuner.cluster.session import Cluster
from tuner.errors import SearchError
try:
    Cluster(sys.argv[1]).__enter__()
except SearchError as error:
    print(error)
"""


@pytest.mark.ray
@pytest.mark.parametrize("home", ["empty", "not there"])
def test_the_ray_of_a_search_has_a_token_of_its_own_and_writes_nothing_into_home(
    home: str, tmp_path: Path, repository: Path
) -> None:
    (tmp_path / "empty").mkdir()
    temporary = tmp_path / ("too long for the sockets in it " * 4)
    temporary.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
    environment |= {"TMPDIR": str(temporary), "PYTHONPATH": str(repository)}
    environment["HOME"] = str(tmp_path / "empty") if home == "empty" else "/dev/null/home"
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM, JOIN]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["worker"], "the nodes' processes inherit it"
    assert seen["mode"] == 0o700, "no file has it"
    assert seen["holding"] == [], "no file has it"
    assert len(seen["answers"]) == 2
    for answer in seen["answers"]:
        assert "takes another token than ours" in answer, "no lines of Ray around it"
        assert len(answer.splitlines()) == 1, "no lines of Ray around it"
    assert seen["after"] is None, "nothing stays behind"
    assert not seen["left"], "nothing stays behind"
    assert list((tmp_path / "empty").rglob("*")) == []


@pytest.fixture
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """~/.ray/auth_token, as it should be."""
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.setenv(name, "")  # restored afterwards, whatever is set meanwhile
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    file = tmp_path / ".ray" / "auth_token"
    file.parent.mkdir()
    file.touch(0o600)
    file.write_text("secret")
    return file


def test_a_token_of_ones_own_is_shown(token: Path) -> None:
    ray_token.show_token()
    assert os.environ["RAY_AUTH_MODE"] == "token"


def test_without_a_token_none_is_shown(token: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/dev/null/home")
    ray_token.show_token()
    assert "RAY_AUTH_MODE" not in os.environ
    monkeypatch.setenv("RAY_AUTH_TOKEN", "secret")
    ray_token.show_token()
    assert os.environ["RAY_AUTH_MODE"] == "token"


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o602, 0o604])
def test_a_token_that_others_can_read_is_refused(token: Path, mode: int, monkeypatch: pytest.MonkeyPatch) -> None:
    token.chmod(mode)
    with pytest.raises(SearchError, match=rf"auth_token must be readable by you only, .* {mode:o}: chmod 600 /"):
        ray_token.show_token()
    elsewhere = token.rename(token.with_name("my token"))
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(elsewhere))
    with pytest.raises(SearchError, match=r"chmod 600 '.*my token'$"):
        ray_token.show_token()
    assert "RAY_AUTH_MODE" not in os.environ


@pytest.mark.ray
def test_the_command_that_makes_a_token_makes_one_that_only_its_owner_can_read(token: Path) -> None:
    token.unlink()
    token.parent.rmdir()
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(["sh", "-c", ray_token.MAKE_TOKEN], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")
    assert token.stat().st_mode & 0o777 == 0o600
    assert token.parent.stat().st_mode & 0o777 == 0o700
    secret = token.read_text()
    assert len(secret) == 64
    assert secret not in done.stderr
