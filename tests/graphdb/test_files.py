"""Files: locks that end with their holder, and writes that are whole or absent."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from graphdb.files import hold, is_held, network_file_system, write_atomically

HOLDER = """
import sys
from pathlib import Path
from graphdb.files import hold
file = hold(Path(sys.argv[1]))
print(file is not None, flush=True)
sys.stdin.read()
"""


def test_a_file_is_held_by_one_process_and_free_when_that_one_is_killed(tmp_path: Path, repository: Path) -> None:
    path = tmp_path / "lock"
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, cwd=repository, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "True\n"
        assert is_held(path)
        assert hold(path) is None
        other.kill()
        file = hold(path, wait=True)
    assert file is not None
    with file:
        assert is_held(path)
    assert not is_held(path)


def test_a_file_that_its_holder_took_away_meanwhile_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "lock"
    real_open: Any = Path.open
    opened: list[Any] = []

    def open_and_lose(self: Path, *arguments: str) -> Any:
        file = real_open(self, *arguments)
        if not opened:
            self.unlink()
        opened.append(file)
        return file

    monkeypatch.setattr(Path, "open", open_and_lose)
    held = hold(path)
    assert held is not None
    assert held is opened[1]
    assert is_held(path)
    held.close()


def test_looking_whether_a_file_is_held_does_not_make_it(tmp_path: Path) -> None:
    assert not is_held(tmp_path / "lock")
    assert not any(tmp_path.iterdir())


def test_an_interrupted_write_leaves_the_old_content_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "folder" / "file"
    write_atomically(path, b"old")

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("graphdb.files.os.replace", fail)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, b"new")
    assert [file.read_bytes() for file in path.parent.iterdir()] == [b"old"]


def test_local_folders_are_not_network_file_systems(tmp_path: Path) -> None:
    assert network_file_system(tmp_path) == ""
