"""The pictures of a report, drawn without a display and without a trace."""

import os
import subprocess
import sys
from pathlib import Path


def test_pictures_are_drawn_without_a_trace_in_home(tmp_path: Path, repository: Path) -> None:
    (tmp_path / "home").mkdir()
    draw = (
        "import sys; from pathlib import Path; from tuner.report import plots;"
        "plots.plot_importances({'a': 1.0}, Path(sys.argv[1]))"
    )
    for home in (tmp_path / "home", Path("/dev/null/home")):
        environment = {name: value for name, value in os.environ.items() if name != "MPLCONFIGDIR"}
        environment |= {"HOME": str(home), "TMPDIR": str(tmp_path), "PYTHONPATH": str(repository)}
        command = [sys.executable, "-W", "error", "-c", draw, str(tmp_path / "picture.png")]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert (tmp_path / "picture.png").stat().st_size > 1000
        (tmp_path / "picture.png").unlink()
    assert [path.name for path in tmp_path.rglob("*")] == ["home"]
