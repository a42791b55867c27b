"""The files of a training, and lines that survive a kill."""

import errno
import json
import os
from pathlib import Path

import pytest

from tuner.run import jsonlines
from tuner.run.retry import Retry
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


def test_a_torn_last_line_is_as_if_never_written(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    jsonlines.append(path, {"a": 1})
    with open(path, "ab") as file:
        file.write(b'{"a": 2')
    assert jsonlines.read(path) == [{"a": 1}]
    jsonlines.append(path, {"a": 3})
    assert jsonlines.read(path) == [{"a": 1}, {"a": 3}]


def test_a_line_that_could_not_be_written_whole_leaves_no_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "lines"
    jsonlines.append(path, {"a": 1})

    def broken(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OSError, match="Input/output error"):
        jsonlines.append(path, {"a": 2})
    monkeypatch.undo()
    assert path.read_text() == '{"a":1}\n'


def test_a_damaged_line_in_the_middle_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_text('{"a": 1}\nrubbish\n{"a": 2}\n')
    with pytest.raises(ValueError, match=r"line 2 of .* must be a JSON object, got b'rubbish'"):
        jsonlines.read(path)


def test_numbers_that_json_lacks_become_null(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    jsonlines.append(path, {"a": float("nan"), "b": [float("inf"), 1.0]})
    assert jsonlines.read(path) == [{"a": None, "b": [None, 1.0]}]


def test_patience_repeats_what_time_can_mend_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuner.run.retry._AGAIN_SECONDS", 0.0)
    said: list[str] = []
    left = [errno.ENOSPC, errno.ENOENT, errno.ENOSPC]

    def write() -> str:
        if left:
            raise OSError(left[-1], os.strerror(left.pop()), "/runs/log")
        return "done"

    assert Retry(said.append)(write) == "done"
    assert len(said) == 2
    assert "No space left on device (/runs/log)" in said[0]
    assert "written to again" in said[1]

    def forbidden() -> None:
        raise IsADirectoryError(errno.EISDIR, "Is a directory")

    with pytest.raises(IsADirectoryError):
        Retry(said.append)(forbidden)


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


def test_patience_ends_with_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuner.run.retry._AGAIN_SECONDS", 0.0)

    def full() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Retry(lambda text: None, interrupted)(full)
