"""What the tests of the mirror share."""

import time
from collections.abc import Callable
from pathlib import Path

from tuner.run.layout import RunFolder
from tuner.run.mirror.mirror import Mirror

LIMIT = 30.0


def write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(content)
    temporary.replace(path)


def append(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a") as file:
        file.write(content)


def content(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    relative = {path.relative_to(folder): path for path in files}
    return {
        str(name): path.read_text()
        for name, path in relative.items()
        if not any(part.startswith(".") for part in name.parts)
    }


def uri_of(tmp_path: Path) -> str:
    return f"file://{tmp_path}/bucket/runs/mine"


def run_of(tmp_path: Path, name: str = "run") -> RunFolder:
    run = RunFolder(tmp_path / name, uri_of(tmp_path))
    write(run.run_json, '{"status": "searching"}')
    return run


def tick_until(mirror: Mirror, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT
    while not condition():
        mirror.tick()
        assert time.monotonic() < deadline
        time.sleep(0.01)
