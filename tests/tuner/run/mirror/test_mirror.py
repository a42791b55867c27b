"""A run in object storage is whole at every moment, and one writer's."""

import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.tuner.mirrored import append, content, uri_of, write
from tuner.errors import SearchError
from tuner.run.mirror import manifest as layout
from tuner.run.mirror import upload as uploading
from tuner.run.mirror.bucket import Bucket, join
from tuner.run.mirror.pull import pull
from tuner.run.mirror.snapshot import Snapshotter
from tuner.run.mirror.upload import TakenOverError, Uploader


class Crash(BaseException):
    """The process is gone."""


class FragileBucket(Bucket):
    """Dies at a change, before, in the middle of, or after it."""

    def __init__(self, uri: str, changes: int, how: str = "before") -> None:
        super().__init__(uri)
        self.left = changes
        self.how = how
        self._lock = threading.Lock()

    def _change(self, do: Callable[[], None], torn: Callable[[], None]) -> None:
        with self._lock:
            self.left -= 1
            if self.left == 0:
                {"before": lambda: None, "torn": torn, "after": do}[self.how]()
            if self.left <= 0:
                raise Crash
            do()

    def put(self, name: str, content: bytes) -> None:
        change = super().put

        def torn() -> None:  # as on a shared disk; object storage itself has no half objects
            change(name, content[: len(content) // 2])

        self._change(lambda: change(name, content), torn)

    def delete(self, name: str) -> None:
        remove = super().delete
        self._change(lambda: remove(name), lambda: None)


def history(folder: Path) -> Iterator[None]:
    """What a driver does to a run folder, a moment at a time."""
    write(folder / "run.json", '{"status": "searching"}')
    append(folder / "study.journal", "")
    yield
    for epoch in range(1, 5):
        for trial in range(2):
            write(folder / f"trials/000{trial}/state/state.json", f"state of epoch {epoch}")
            if epoch != 3:
                write(folder / f"trials/000{trial}/best/config.json", f"best at epoch {epoch}")
            append(folder / "epochs.jsonl", f"trial {trial} epoch {epoch}\n" * 5)
            append(folder / "study.journal", f"report {trial} {epoch}\n")
        yield
    append(folder / "failures/0001.txt", "Traceback\n")
    (folder / "trials/0000/state/state.json").unlink()
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
    uploader, camera = Uploader(bucket, folder), Snapshotter(folder)
    for done, _ in enumerate(history(folder), start=1):
        uploader.upload(camera.take())
        yield done


def parts_on(bucket: Bucket) -> set[str]:
    return set(bucket.names(layout.PARTS))


def test_what_is_pulled_is_what_was_mirrored_at_each_moment(tmp_path: Path) -> None:
    bucket = Bucket(uri_of(tmp_path))
    for done in mirror_history(tmp_path / "run", bucket):
        manifest = pull(bucket.uri, tmp_path / "copy")
        assert content(tmp_path / "copy") == content(tmp_path / "run") == moments(tmp_path / f"{done}")[done - 1]
        assert parts_on(bucket) == {part.name for parts in manifest.files.values() for part in parts}
        assert len(bucket.names(layout.MANIFESTS)) == 1


@pytest.mark.parametrize("how", ["before", "torn", "after"])
def test_a_process_that_dies_at_any_change_leaves_a_moment_that_was(tmp_path: Path, how: str) -> None:
    states = [{}, *moments(tmp_path)]
    died = changes = 0
    while True:
        changes += 1
        here = tmp_path / f"{changes}"
        bucket = FragileBucket(uri_of(here), changes, how)
        done = 0
        try:
            for done in mirror_history(here / "run", bucket):  # noqa: B007 - the last one counts
                pass
            break
        except Crash:
            died += 1
        intact = Bucket(bucket.uri)
        if layout.newest(intact) is None:
            assert done == 0
            continue
        pull(bucket.uri, here / "copy")
        assert content(here / "copy") in (states[done], states[done + 1])
        goes_on = Uploader(intact, here / "copy")  # a new head, which has the copy alone
        append(here / "copy" / "epochs.jsonl", "by the new head\n")
        goes_on.upload(Snapshotter(here / "copy").take())
        manifest = pull(bucket.uri, here / "again")
        assert content(here / "again") == content(here / "copy")
        assert parts_on(intact) == {part.name for parts in manifest.files.values() for part in parts}, "garbage"
    assert died == changes - 1 > 50


def test_a_log_is_kept_in_few_parts_and_sent_a_few_times_over(tmp_path: Path) -> None:
    folder, bucket = tmp_path / "run", Bucket(uri_of(tmp_path))
    sent = 0
    put = bucket.put

    def counting(name: str, content: bytes) -> None:
        nonlocal sent
        sent += len(content) if name.startswith("parts/") else 0
        put(name, content)

    bucket.put = counting  # type: ignore[method-assign]
    folder.mkdir()
    uploader, camera = Uploader(bucket, folder), Snapshotter(folder)
    for number in range(200):
        append(folder / "epochs.jsonl", f"{number:99d}\n")
        uploader.upload(camera.take())
    newest = layout.newest(bucket)
    assert newest is not None
    assert len(newest.files["epochs.jsonl"]) <= 8
    assert sent < 8 * 200 * 100


def test_a_torn_line_waits_until_it_is_whole(tmp_path: Path) -> None:
    folder, bucket = tmp_path / "run", Bucket(uri_of(tmp_path))
    folder.mkdir()
    uploader, camera = Uploader(bucket, folder), Snapshotter(folder)
    append(folder / "epochs.jsonl", "one\ntw")
    uploader.upload(camera.take())
    with open(folder / "epochs.jsonl", "r+") as file:
        file.truncate(4)
    append(folder / "epochs.jsonl", "two again\n")
    uploader.upload(camera.take())
    pull(bucket.uri, tmp_path / "copy")
    assert (tmp_path / "copy/epochs.jsonl").read_text() == "one\ntwo again\n"


def test_files_changed_while_they_wait_for_the_upload_are_sent_as_they_were(tmp_path: Path) -> None:
    folder, bucket = tmp_path / "run", Bucket(uri_of(tmp_path))
    write(folder / "trials/0000/state/state.json", "first")
    append(folder / "epochs.jsonl", "first\n")
    uploader, camera = Uploader(bucket, folder), Snapshotter(folder)
    snapshot = camera.take()
    write(folder / "trials/0000/state/state.json", "second")
    append(folder / "epochs.jsonl", "second\n")
    later = camera.take()
    camera.drop_links(snapshot)
    (folder / "trials/0000/state/state.json").unlink()
    for moment, state, log in ((snapshot, "first", "first\n"), (later, "second", "first\nsecond\n")):
        uploader.upload(moment)
        pull(bucket.uri, tmp_path / "copy")
        assert (tmp_path / "copy/trials/0000/state/state.json").read_text() == state
        assert (tmp_path / "copy/epochs.jsonl").read_text() == log
    camera.drop_links(later)
    assert list((folder / ".mirror/spool").iterdir()) == []


def test_states_beyond_a_bound_take_turns_and_the_end_has_the_last_of_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tuner.run.mirror.snapshot.STATE_BYTES_PER_MOMENT", 250)
    folder, bucket = tmp_path / "run", Bucket(uri_of(tmp_path))
    paths = [f"trials/{number:04d}/state.zip" for number in range(10)]
    uploader, camera = None, None
    held: list[dict[str, str]] = []
    for moment in range(13):
        for path in paths:
            write(folder / path, f"{moment:0100d}")
        append(folder / "epochs.jsonl", f"{moment}\n")
        uploader, camera = uploader or Uploader(bucket, folder), camera or Snapshotter(folder)
        snapshot = camera.take(all_states=moment == 12)
        camera.drop_links(snapshot)
        uploader.upload(snapshot)
        pull(bucket.uri, tmp_path / "copy")
        held.append(content(tmp_path / "copy"))
        assert held[-1]["epochs.jsonl"].endswith(f"{moment}\n"), "logs are never late"
    ages = [[moment - int(held[moment][path]) for path in paths] for moment in range(13)]
    assert ages[0] == [0] * 10, "a new trial's state is not late"
    assert max(map(max, ages)) == 3, "four turns for 1000 bytes"
    assert sum(age.count(0) for age in ages[4:12]) == 2 * 10, "each twice in eight moments"
    assert ages[12] == [0] * 10
    assert list((folder / ".mirror/spool").iterdir()) == []


def test_an_overtaken_writer_stops_and_can_remove_nothing(tmp_path: Path) -> None:
    bucket = Bucket(uri_of(tmp_path))
    states = mirror_history(tmp_path / "old", bucket)
    assert [next(states), next(states)] == [1, 2]
    pull(bucket.uri, tmp_path / "new")
    successor = Uploader(bucket, tmp_path / "new")
    with pytest.raises(TakenOverError, match="process"):
        next(states)
    successor.upload(Snapshotter(tmp_path / "new").take())
    pull(bucket.uri, tmp_path / "copy")
    assert content(tmp_path / "copy") == content(tmp_path / "new")


def test_an_overtaken_writer_that_wakes_in_the_middle_of_an_upload_wins_nothing(tmp_path: Path) -> None:
    """Stopped at each of its changes in turn, overtaken there, then let go on."""
    for stop_at in range(1, 12):
        here = tmp_path / f"{stop_at}"
        taken: list[Uploader] = []

        class Sleeper(Bucket):
            left = -1

            def overtaken(self, here: Path = here, taken: list[Uploader] = taken) -> None:
                self.left -= 1
                if self.left == 0:
                    pull(self.uri, here / "new")
                    taken.append(Uploader(Bucket(self.uri), here / "new"))
                    append(here / "new/epochs.jsonl", "by the successor\n")
                    taken[0].upload(Snapshotter(here / "new").take())

            def put(self, name: str, content: bytes) -> None:
                self.overtaken()
                super().put(name, content)

            def delete(self, name: str) -> None:
                self.overtaken()
                super().delete(name)

        sleeper = Sleeper(uri_of(here))
        states = mirror_history(here / "old", sleeper)
        for _ in range(3):
            next(states)
        sleeper.left = stop_at
        with suppress(TakenOverError):
            next(states)
            next(states)
        assert taken
        pull(sleeper.uri, here / "copy")
        assert content(here / "copy") == content(here / "new")
        append(here / "new/epochs.jsonl", "more\n")
        taken[0].upload(Snapshotter(here / "new").take())
        pull(sleeper.uri, here / "copy")
        assert content(here / "copy") == content(here / "new")


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
    evil = layout.encode(layout.Manifest(name="000001-a-1", files={"../../x": ()}))
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


@pytest.mark.parametrize("uri", ["ftp://a/b", "s3:///", "file://relative", "s3://b/x?nonsense=1"])
def test_a_uri_that_cannot_be_used_is_answered(uri: str) -> None:
    with pytest.raises(SearchError, match="--runs must be a folder or a URI like s3://bucket/runs"):
        Bucket(uri)


def test_options_of_a_uri_stay_at_its_end() -> None:
    assert join("s3://b/runs/?region=eu-west-1", "mine") == "s3://b/runs/mine?region=eu-west-1"
    assert join("s3://b/runs", "mine") == "s3://b/runs/mine"


def test_a_random_run_pulled_at_random_moments_of_its_uploads_is_always_a_moment_that_was(tmp_path: Path) -> None:
    """A reader beside the writer: pulls never see a mixture."""
    folder, bucket = tmp_path / "run", Bucket(uri_of(tmp_path))
    folder.mkdir()
    moments: list[dict[str, str]] = []
    uploader, camera = Uploader(bucket, folder), Snapshotter(folder)
    stop = threading.Event()

    def search() -> None:
        draw = random.Random(1)
        step = 0
        while not stop.is_set():
            step += 1
            append(folder / "epochs.jsonl", f"{step}\n")
            write(folder / f"trials/{draw.randrange(3)}/state/state.json", f"{step}")
            moments.append(content(folder))
            uploader.upload(camera.take())

    thread = threading.Thread(target=search)
    thread.start()
    try:
        while layout.newest(bucket) is None:
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


def test_the_names_of_objects_say_what_they_are(tmp_path: Path) -> None:
    name = layout.part_name("trials/0007/state/state.json", "000002-9f8e7d6c-00000016", 0, 10)
    assert name == "trials~0007~state~state.json~000002-9f8e7d6c-00000016~0-10"
    assert layout.writer_of_part(name) == "000002-9f8e7d6c"
    assert json.loads(layout.encode(layout.Manifest(name="x", files={})).partition(b"\n")[2])["files"] == {}
    assert uploading.TakenOverError("x").args == ("x",)
