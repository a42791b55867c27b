"""A local folder gets a moment of a run as it was, or stays as it is; a new head goes on from it."""

import random
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.tuner.mirrored import (
    append,
    content,
    mirror_history,
    moments,
    parts_on,
    quick,
    run_of,
    tick_until,
    uri_of,
    write,
)
from tuner.errors import SearchError
from tuner.run.mirror import objects
from tuner.run.mirror.bucket import Bucket
from tuner.run.mirror.pull import latest_run, pull, pull_to_resume
from tuner.run.mirror.snapshot import Snapshotter
from tuner.run.mirror.upload import Uploader
from tuner.run.runs import Runs, run_to_read


def test_what_is_pulled_is_what_was_mirrored_at_each_moment(tmp_path: Path) -> None:
    bucket = Bucket(uri_of(tmp_path))
    for done in mirror_history(tmp_path / "run", bucket):
        manifest = pull(bucket.uri, tmp_path / "copy")
        assert content(tmp_path / "copy") == content(tmp_path / "run") == moments(tmp_path / f"{done}")[done - 1]
        assert parts_on(bucket) == {part.name for parts in manifest.files.values() for part in parts}
        assert len(bucket.names(objects.MANIFESTS)) == 1


@pytest.mark.parametrize("harm", ["damaged", "missing"])
def test_a_part_that_is_damaged_or_missing_is_named_and_the_local_folder_stays(tmp_path: Path, harm: str) -> None:
    bucket = Bucket(uri_of(tmp_path))
    for _ in mirror_history(tmp_path / "run", bucket):
        pass
    part = next(name for name in parts_on(bucket) if name.startswith("epochs.jsonl"))
    path = tmp_path / "bucket/runs/mine/parts" / part
    if harm == "damaged":
        path.write_bytes(path.read_bytes()[:-2] + b"x\n")
    else:
        path.unlink()
    write(tmp_path / "copy" / "run.json", "older")
    with pytest.raises(SearchError, match=r"1 are missing or damaged, the first is epochs.jsonl"):
        pull(bucket.uri, tmp_path / "copy")
    assert content(tmp_path / "copy") == {"run.json": "older"}


def test_nothing_at_the_uri_is_said_and_paths_out_of_the_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SearchError, match="there is none"):
        pull(uri_of(tmp_path), tmp_path / "copy")
    evil = objects.encode(objects.Manifest(name="000001-a-1", files={"../../x": ()}))
    Bucket(uri_of(tmp_path)).put("manifests/000001-aaaaaaaa-00000001.json", evil)
    with pytest.raises(SearchError, match="below its folder"):
        pull(uri_of(tmp_path), tmp_path / "copy")


def test_a_second_pull_reads_only_what_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = Bucket(uri_of(tmp_path))
    read: list[str] = []
    get = Bucket.get

    def counting(self: Bucket, name: str) -> bytes:
        read.append(name)
        return get(self, name)

    monkeypatch.setattr(Bucket, "get", counting)
    for _ in mirror_history(tmp_path / "run", bucket):
        read.clear()
        pull(bucket.uri, tmp_path / "copy")
    assert sorted(name.split("~")[0] for name in read if name.startswith("parts/")) == [
        "parts/failures",
        "parts/run.json",
    ]


def test_a_random_run_pulled_at_random_moments_of_its_uploads_is_always_a_moment_that_was(tmp_path: Path) -> None:
    """A reader beside the writer: pulls never see a mixture."""
    folder, bucket = tmp_path / "run", Bucket(uri_of(tmp_path))
    folder.mkdir()
    moments: list[dict[str, str]] = []
    uploader, snapshotter = Uploader(bucket, folder), Snapshotter(folder)
    stop = threading.Event()

    def search() -> None:
        draw = random.Random(1)
        step = 0
        while not stop.is_set():
            step += 1
            append(folder / "epochs.jsonl", f"{step}\n")
            write(folder / f"trials/{draw.randrange(3)}/state.zip", f"{step}")
            moments.append(content(folder))
            uploader.upload(snapshotter.take())

    thread = threading.Thread(target=search)
    thread.start()
    try:
        while objects.newest_manifest(bucket) is None:
            time.sleep(0.01)
        for number in range(20):
            with suppress(SearchError):  # five moments may pass during one pull of a run that changes this fast
                pull(bucket.uri, tmp_path / f"copy{number}")
    finally:
        stop.set()
        thread.join()
    copies = list(tmp_path.glob("copy*"))
    assert len(copies) > 5
    assert all(content(copy) in moments for copy in copies)


def test_a_new_head_watches_whether_the_old_one_still_writes(tmp_path: Path) -> None:
    run, said = run_of(tmp_path), list[str]()
    with quick(run, []) as mirror:
        tick_until(mirror, lambda: objects.newest_manifest(Bucket(uri_of(tmp_path))) is not None)
        with pytest.raises(SearchError, match=r"a run must have one writer, but process .* is searching in file://"):
            pull_to_resume(uri_of(tmp_path), tmp_path / "new", said.append, watch=5.0)
        assert not (tmp_path / "new").exists()
    pull_to_resume(uri_of(tmp_path), tmp_path / "new", said.append, watch=1000.0)  # ended: nothing to watch for
    assert content(tmp_path / "new") == content(run.path)


def test_a_head_that_died_without_a_word_is_found_out_by_its_silence(tmp_path: Path) -> None:
    run, said = run_of(tmp_path), list[str]()
    uploader = Uploader(Bucket(uri_of(tmp_path)), run.path)
    uploader.upload(Snapshotter(run.path).take())
    pull_to_resume(uri_of(tmp_path), tmp_path / "new", said.append, watch=0.05)
    assert content(tmp_path / "new") == content(run.path)
    assert "watching for 0 s" in said[0]
    assert said[1].startswith("Read 0.0 MB of file://")
    append(run.epochs, "not mirrored yet\n")
    pull_to_resume(uri_of(tmp_path), run.path, said.append, watch=1000.0)  # the same head: it knows that it is dead
    assert run.epochs.read_text() == "not mirrored yet\n"


def test_runs_in_object_storage_are_found_opened_and_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    root = f"file://{tmp_path}/bucket/runs"
    runs, said = Runs(root), list[str]()
    assert runs.latest() is None
    assert not runs.is_taken("mine")
    run = runs.folder("mine")
    write(run.run_json, "{}")
    write(run.trial(0) / "best/model.safetensors", "weights")
    write(run.trial(0) / "state.zip", "state")
    with quick(run, said):
        pass
    assert runs.latest() == "mine"
    assert runs.is_taken("mine")
    assert latest_run(root) == "mine"
    light, full = (run_to_read(f"{root}/mine", checkpoints=wanted) for wanted in (False, True))
    assert full.address == f"{root}/mine"
    assert full.report == Path("reports/mine")
    assert set(content(full.path)) == {"run.json", "trials/0000/best/model.safetensors"}
    assert light.path == full.path
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other machine"))
    assert content(Runs(root).open("mine", said.append).path) == content(run.path)
    with pytest.raises(SearchError, match="--resume needs a run named 'other'"):
        runs.open("other", said.append)
