"""The mirror beside a search: never in its way, waited for at its end, taken over by the next head."""

import threading
import time
from pathlib import Path

import pytest

from tests.tuner.mirrored import LIMIT, append, content, quick, run_of, tick_until, uri_of
from tuner.errors import SearchError
from tuner.run.lock import only_writer
from tuner.run.mirror import NoMirror, mirror_of, objects
from tuner.run.mirror import pull as pulling
from tuner.run.mirror.bucket import Bucket
from tuner.run.mirror.pull import is_being_written, pull, pull_to_resume
from tuner.run.run_folder import RunFolder


def test_leaving_the_context_waits_until_everything_is_there(tmp_path: Path) -> None:
    run, said = run_of(tmp_path), list[str]()
    with quick(run, said, interval=1000) as mirror:
        mirror.tick()
        append(run.epochs, "the last line\n")
    pull(uri_of(tmp_path), tmp_path / "copy")
    assert content(tmp_path / "copy") == content(run.path)
    assert said == []
    assert not is_being_written(Bucket(uri_of(tmp_path)))


def test_storage_that_is_gone_for_a_while_is_said_once_and_does_not_stop_the_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, said = run_of(tmp_path), list[str]()
    put = Bucket.put
    gone = threading.Event()

    def flaky(self: Bucket, name: str, content: bytes) -> None:
        if gone.is_set():
            raise OSError("AWS Error NETWORK_CONNECTION")
        put(self, name, content)

    monkeypatch.setattr(Bucket, "put", flaky)
    with quick(run, said) as mirror:
        gone.set()
        append(run.epochs, "one\n")
        tick_until(mirror, lambda: bool(said))
        for _ in range(20):
            mirror.tick()
            time.sleep(0.01)
        gone.clear()
        tick_until(mirror, lambda: len(said) == 2)
    assert "cannot be written to: AWS Error NETWORK_CONNECTION" in said[0]
    assert "can be written to again" in said[1]
    assert len(said) == 2
    pull(uri_of(tmp_path), tmp_path / "copy")
    assert content(tmp_path / "copy") == content(run.path)


def test_what_could_not_be_uploaded_at_the_end_is_an_error_that_names_the_local_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, said = run_of(tmp_path), list[str]()

    def refused(self: Bucket, name: str, content: bytes) -> None:
        raise OSError("ACCESS_DENIED: the token has expired")

    with pytest.raises(SearchError, match=r"2 files .* are missing there; it holds the run as it was before") as caught:
        with quick(run, said, stall_timeout=2.0):
            monkeypatch.setattr(Bucket, "put", refused)
            append(run.epochs, "one\n")
    assert str(run.path) in str(caught.value)
    assert "token has expired" in str(caught.value)
    for thread in threading.enumerate():
        if thread.name == "mirror":  # ends with its process otherwise
            thread.join(LIMIT)
    monkeypatch.undo()
    resumed = RunFolder(run.path, run.uri)
    pull_to_resume(uri_of(tmp_path), resumed.path, said.append)
    assert resumed.epochs.read_text() == "one\n", "the local folder is newer and stays"
    with quick(resumed, said):
        pass
    pull(uri_of(tmp_path), tmp_path / "copy")
    assert content(tmp_path / "copy") == content(run.path)


def test_a_search_that_is_taken_over_stops_with_a_clear_error(tmp_path: Path) -> None:
    run, said = run_of(tmp_path), list[str]()
    with pytest.raises(SearchError, match="another search has taken over this run: process"):
        with quick(run, said) as mirror:
            tick_until(mirror, lambda: objects.newest_manifest(Bucket(uri_of(tmp_path))) is not None)
            pull(uri_of(tmp_path), tmp_path / "other")
            other = RunFolder(tmp_path / "other", run.uri)
            with quick(other, said):
                tick_until(mirror, lambda: not mirror.tick())
            mirror.check()


def test_a_search_that_never_began_leaves_no_trace(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run", uri_of(tmp_path))
    with pytest.raises(ZeroDivisionError), only_writer(run), quick(run, []) as mirror:
        mirror.tick()
        raise ZeroDivisionError
    assert not pulling.is_there(uri_of(tmp_path))
    assert not run.path.exists()


def test_a_run_in_a_folder_is_not_mirrored(tmp_path: Path) -> None:
    with mirror_of(tmp_path, None, print) as mirror:
        assert isinstance(mirror, NoMirror)
        assert mirror.tick()
        mirror.check()
    assert list(tmp_path.iterdir()) == []
