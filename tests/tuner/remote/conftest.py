"""A head of a cluster in a folder of this machine."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.tuner.remote.stand_ins import DRIVER
from tuner.remote import server, supervisor


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """ssh runs its command here, rsync writes down its own; both are first on PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "ssh").write_text('#!/bin/bash\nfor last; do :; done\nHOME=$FAKE_HOME exec bash -c "$last"\n')
    (folder / "rsync").write_text(
        '#!/bin/bash\nprintf "%s\\n" "$@" > "$FAKE_HOME/rsync"\n[ -z "$FAIL" ] || { echo "$FAIL" >&2; exit 12; }\n'
    )
    for program in folder.iterdir():
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The home folder of a head whose tuner.search is DRIVER, told by $DRIVER what to do at each call."""
    (tmp_path / "fakedriver.py").write_text(DRIVER)
    (tmp_path / "fakesupervisor.py").write_text(
        "import sys\nfrom tuner.remote import supervisor\n"
        "real = supervisor.driver_arguments\n"
        "supervisor.driver_arguments = lambda *a, **k: ['fakedriver', *real(*a, **k)[1:]]\n"
        "supervisor._PAUSE = 0.0\n"
        "supervisor.Supervisor._export = lambda self: None\n"
        "supervisor.forget_requests = lambda: print('requests forgotten', flush=True)\n"
        "sys.exit(supervisor.main())\n"
    )
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path(supervisor.__file__).parents[2]}")
    real, started = server._start_supervisor, []

    def start_supervisor(*arguments: Any, **options: Any) -> "subprocess.Popen[bytes]":
        started.append(real(*arguments, **options))
        return started[-1]

    monkeypatch.setattr(server, "_SUPERVISOR", "fakesupervisor")
    monkeypatch.setattr(server, "ray_runs", lambda: True)
    monkeypatch.setattr(server, "forget_requests", lambda: (tmp_path / "forgotten").touch())
    monkeypatch.setattr(server, "_start_supervisor", start_supervisor)
    yield tmp_path
    for process in started:
        process.kill()
        process.wait()
