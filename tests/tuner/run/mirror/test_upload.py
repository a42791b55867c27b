"""A run in object storage is whole at every moment, and one writer's."""

import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.tuner.mirrored import append, content, history, mirror_history, moments, parts_on, uri_of
from tuner.run.mirror import objects
from tuner.run.mirror.bucket import Bucket
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
            for number in mirror_history(here / "run", bucket):
                done = number
            break
        except Crash:
            died += 1
        intact = Bucket(bucket.uri)
        if objects.newest_manifest(intact) is None:
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
    uploader, snapshotter = Uploader(bucket, folder), Snapshotter(folder)
    for number in range(200):
        append(folder / "epochs.jsonl", f"{number:99d}\n")
        uploader.upload(snapshotter.take())
    newest = objects.newest_manifest(bucket)
    assert newest is not None
    assert len(newest.files["epochs.jsonl"]) <= 8
    assert sent < 8 * 200 * 100


def test_a_torn_line_waits_until_it_is_whole(tmp_path: Path) -> None:
    folder, bucket = tmp_path / "run", Bucket(uri_of(tmp_path))
    folder.mkdir()
    uploader, snapshotter = Uploader(bucket, folder), Snapshotter(folder)
    append(folder / "epochs.jsonl", "one\ntw")
    uploader.upload(snapshotter.take())
    with open(folder / "epochs.jsonl", "r+") as file:
        file.truncate(4)
    append(folder / "epochs.jsonl", "two again\n")
    uploader.upload(snapshotter.take())
    pull(bucket.uri, tmp_path / "copy")
    assert (tmp_path / "copy/epochs.jsonl").read_text() == "one\ntwo again\n"


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


def test_an_upload_that_fails_at_any_change_leaves_nothing_behind_once_it_succeeds(tmp_path: Path) -> None:
    class Failing(Bucket):
        left = 0

        def put(self, name: str, content: bytes) -> None:
            self.fail()
            super().put(name, content)

        def delete(self, name: str) -> None:
            self.fail()
            super().delete(name)

        def fail(self) -> None:
            self.left -= 1
            if self.left == 0:
                raise OSError("AWS Error NETWORK_CONNECTION")

    for fail_at in range(1, 16):
        folder, bucket = tmp_path / f"{fail_at}/run", Failing(uri_of(tmp_path / f"{fail_at}"))
        (folder / ".mirror").mkdir(parents=True)
        uploader, snapshotter = Uploader(bucket, folder), Snapshotter(folder)
        for number, _ in enumerate(history(folder)):
            bucket.left = fail_at if number == 2 else 0
            with suppress(OSError):
                uploader.upload(snapshotter.take())
        uploader.upload(snapshotter.take())
        newest = objects.newest_manifest(bucket)
        assert newest is not None
        assert parts_on(bucket) == {part.name for parts in newest.files.values() for part in parts}
        assert list(bucket.names(objects.MANIFESTS)) == [f"{newest.name}.json"]
