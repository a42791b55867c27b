"""The command ``crystune``: finds its packages whatever lies in the folder where one stands."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tuner.cli import COMMANDS, main


def test_every_command_is_there_and_shows_its_own_help(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/crystune"])
    for name in COMMANDS:
        with pytest.raises(SystemExit, match="0"):
            main([name, "--help"])
        assert f"usage: crystune {name} " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["serch"], "did you mean 'search'?"),
        ([], "required: COMMAND"),
        (["info", "nothere.lmdb"], "nothere.lmdb"),
    ],
)
def test_a_mistake_is_one_line(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        status = main(arguments)
    except SystemExit as end:
        status = int(end.code or 0)
    error = capsys.readouterr().err
    assert status == 2
    assert error.startswith("error: ")
    assert said in error
    assert error.count("\n") == 1


def test_help_runs_no_files_of_the_user_and_loads_nothing_heavy(tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("crystune")
    if not script.exists():
        pytest.skip("needs crystune installed beside the interpreter (make test does it)")
    for name in ("model.py", "graphdb.py", "torch.py", "numpy.py"):
        (tmp_path / name).write_text("raise SystemExit('the wrong file was run')\n")
    (tmp_path / "tuner").mkdir()
    shutil.copy(tmp_path / "model.py", tmp_path / "tuner" / "__init__.py")
    heavy = tmp_path / "heavy"
    heavy.mkdir()
    for name in ("torch", "ray", "optuna", "pymatgen"):
        (heavy / f"{name}.py").write_text(f"raise SystemExit('{name} was loaded')\n")
    paths = [str(heavy), *filter(None, [os.environ.get("PYTHONPATH")])]  # an empty one would be the current folder
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    for name in COMMANDS:
        done = subprocess.run(
            [script, name, "--help"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, ""), name
        assert f"crystune {name}" in done.stdout
