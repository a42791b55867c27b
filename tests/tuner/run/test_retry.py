"""A results folder that is full or gone for a while."""

import errno
import os

import pytest

from tuner.run.retry import Retry


def test_what_time_can_fix_is_tried_again_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_ctrl_c_ends_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuner.run.retry._AGAIN_SECONDS", 0.0)

    def full() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Retry(lambda text: None, interrupted)(full)
