"""The files of a training, and lines that survive a kill."""

import errno
import json
import os
from pathlib import Path

import pytest

from tuner.run.trial_folder import TrialFolder, pack, unpack


def packed(folder: Path, **content: int) -> bytes:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(content))
    return pack(folder)


@pytest.fixture
def spec(tmp_path: Path) -> TrialFolder:
    (tmp_path / "run").mkdir()
    return TrialFolder(tmp_path / "run" / "trials" / "0007")


def test_the_end_of_a_job_keeps_the_best_checkpoint_alone_however_often_it_comes(
    spec: TrialFolder, tmp_path: Path
) -> None:
    spec.save_state(b"state")
    for number in (1, 2):
        spec.save_best(packed(tmp_path / "x", best=number))
    assert spec.state() == b"state"
    for _ in range(2):
        spec.conclude()
    assert [path.name for path in spec.path.iterdir()] == ["best"]
    assert json.loads((spec.path / "best" / "config.json").read_text()) == {"best": 2}


@pytest.mark.parametrize("steps", [1, 2])
def test_a_kill_while_the_best_is_replaced_leaves_the_old_or_the_new_one(
    spec: TrialFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    spec.save_best(packed(tmp_path / "x", best=1))
    replace, done = os.replace, [0]

    def killed(source: Path, target: Path) -> None:
        done[0] += 1
        if done[0] == steps:
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        spec.save_best(packed(tmp_path / "x", best=2))
    monkeypatch.undo()
    found = spec.best_checkpoint()
    assert found is not None
    assert json.loads((found / "config.json").read_text()) == {"best": 1}
    spec.conclude()
    assert [path.name for path in spec.path.iterdir()] == ["best"]


def test_a_torn_archive_is_refused(tmp_path: Path) -> None:
    content = packed(tmp_path / "x", best=1)
    for torn in (b"", content[:-5], content[:40] + b"?" + content[41:]):
        with pytest.raises(ValueError, match="must be a whole zip archive"):
            unpack(torn, tmp_path / "y")


def test_a_run_that_is_gone_is_not_begun_anew_elsewhere(tmp_path: Path) -> None:
    spec = TrialFolder(tmp_path / "unmounted" / "trials" / "0001")
    with pytest.raises(FileNotFoundError):
        spec.save_state(b"state")
    assert not (tmp_path / "unmounted").exists()


def test_a_state_that_finds_no_room_takes_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = TrialFolder(tmp_path / "0000")
    folder.save_state(b"old")

    def full(path: Path, content: bytes) -> int:
        with open(path, "wb") as file:
            file.write(content[:1])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        folder.save_state(b"new")
    assert folder.state() == b"old"
    assert len(list(folder.path.iterdir())) == 1
