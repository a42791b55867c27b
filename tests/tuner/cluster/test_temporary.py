"""Temporary folders: private, short enough for Ray's sockets, gone after their process."""

import subprocess
import sys
from pathlib import Path

import pytest

from tuner.cluster.temporary import remove_stale_folders, temporary_folder
from tuner.errors import SearchError


def test_a_temporary_folder_is_private_and_in_the_folder_for_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = Path(temporary_folder("tune"))
    assert folder.parent == tmp_path
    assert folder.stat().st_mode & 0o777 == 0o700


def test_where_paths_are_too_long_for_sockets_the_folder_is_in_tmp(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("long" * 20)
    short = tmp_path / "short"
    long.mkdir()
    short.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    monkeypatch.setattr("tuner.cluster.temporary._SHORT", short)
    assert Path(temporary_folder("ray", longest=60)).parent == short
    assert Path(temporary_folder("ray", longest=300)).parent == long


def test_a_folder_that_cannot_be_written_to_is_named_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/dev/null/temporary")
    with pytest.raises(SearchError, match=r"must be writable, but /dev/null/temporary/.* is not: .*; set TMPDIR to"):
        temporary_folder("tune")


def test_what_a_killed_process_left_is_removed_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("tuner.cluster.temporary._SHORT", tmp_path)
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    mine = temporary_folder("ray")
    others = {"crystune-0", "crystune-fault-x.txt", "crystune-ray-x-y", "other-ray-1-x", "crystune-ray-1-x"}
    for name in (*others, f"crystune-ray-{done.pid}-x", "crystune-tune-99999999999999999999-x"):
        (tmp_path / name).mkdir()
    (tmp_path / f"crystune-ray-{done.pid}-x" / "file").touch()
    remove_stale_folders()
    kept = {path.name for path in tmp_path.iterdir()}
    assert kept == {*others, Path(mine).name, "crystune-tune-99999999999999999999-x"}
