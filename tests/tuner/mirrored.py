"""What the tests of the mirror share."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tuner.run.mirror import objects
from tuner.run.mirror.background import Mirror
from tuner.run.mirror.bucket import Bucket
from tuner.run.mirror.snapshot import Snapshotter
from tuner.run.mirror.upload import Uploader
from tuner.run.run_folder import RunFolder

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


def mirroring(run: RunFolder, said: list[str], **options: float) -> Mirror:
    """What mirrors a run; `said` gets its lines."""
    assert run.uri is not None
    return Mirror(run.path, run.uri, said.append, **options)


def tick_until(mirror: Mirror, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT
    while not condition():
        mirror.tick()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def history(folder: Path) -> Iterator[None]:
    """What a driver does to a run folder, a moment at a time."""
    write(folder / "run.json", '{"status": "searching"}')
    append(folder / "study.journal", "")
    yield
    for epoch in range(1, 5):
        for trial in range(2):
            write(folder / f"trials/000{trial}/state.zip", f"state of epoch {epoch}")
            if epoch != 3:
                write(folder / f"trials/000{trial}/best/config.json", f"best at epoch {epoch}")
            append(folder / "epochs.jsonl", f"trial {trial} epoch {epoch}\n" * 5)
            append(folder / "study.journal", f"report {trial} {epoch}\n")
        yield
    append(folder / "failures/0001.txt", "Traceback\n")
    (folder / "trials/0000/state.zip").unlink()
    yield
    append(folder / "failures/0001.txt", "Traceback again\n")
    write(folder / "run.json", '{"status": "done"}')
    yield


def moments(tmp_path: Path) -> list[dict[str, str]]:
    """All moments of the history."""
    folder = tmp_path / "all"
    return [content(folder) for _ in history(folder)]


def mirror_history(folder: Path, bucket: Bucket) -> Iterator[int]:
    """Mirror each moment; yields how many are in place."""
    (folder / ".mirror").mkdir(parents=True)
    uploader, snapshotter = Uploader(bucket, folder), Snapshotter(folder)
    for done, _ in enumerate(history(folder), start=1):
        uploader.upload(snapshotter.take())
        yield done


def parts_on(bucket: Bucket) -> set[str]:
    return set(bucket.names(objects.PARTS))


def quick(run: RunFolder, said: list[str], **changes: float) -> Mirror:
    """With short times."""
    return mirroring(run, said, **{"interval": 0.02, "retry": 0.05, "stall_timeout": 5.0, **changes})
