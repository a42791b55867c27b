"""The mirror beside a search: never in its way, waited for at its end, taken over by the next head."""

import threading
import time
from pathlib import Path

import pytest

from tests.tuner.mirrored import LIMIT, append, content, run_of, tick_until, uri_of, write
from tuner.errors import SearchError
from tuner.run.layout import RunFolder
from tuner.run.mirror import NoMirror, mirror_of
from tuner.run.mirror import manifest as layout
from tuner.run.mirror import pull as pulling
from tuner.run.mirror.bucket import Bucket
from tuner.run.mirror.mirror import Mirror
from tuner.run.mirror.pull import is_being_written, latest_run, pull, pull_to_resume
from tuner.run.mirror.snapshot import Snapshotter
from tuner.run.mirror.upload import Uploader
from tuner.run.runs import Runs, run_to_read


def quick(run: RunFolder, said: list[str], **changes: float) -> Mirror:
    return Mirror(run, said.append, **{"interval": 0.02, "retry": 0.05, "patience": 5.0, **changes})


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
        with quick(run, said, patience=2.0):
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
            tick_until(mirror, lambda: layout.newest(Bucket(uri_of(tmp_path))) is not None)
            pull(uri_of(tmp_path), tmp_path / "other")
            other = RunFolder(tmp_path / "other", run.uri)
            with quick(other, said):
                tick_until(mirror, lambda: not mirror.tick())
            mirror.check()


def test_a_search_that_never_began_leaves_no_trace(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run", uri_of(tmp_path))
    with pytest.raises(ZeroDivisionError), run.only_writer(), quick(run, []) as mirror:
        mirror.tick()
        raise ZeroDivisionError
    assert not pulling.is_there(uri_of(tmp_path))
    assert not run.path.exists()


def test_a_new_head_watches_whether_the_old_one_still_writes(tmp_path: Path) -> None:
    run, said = run_of(tmp_path), list[str]()
    with quick(run, []) as mirror:
        tick_until(mirror, lambda: layout.newest(Bucket(uri_of(tmp_path))) is not None)
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


def test_a_local_folder_that_another_head_has_gone_on_from_is_replaced_and_kept_aside(tmp_path: Path) -> None:
    run, said = run_of(tmp_path), list[str]()
    with quick(run, said):
        append(run.epochs, "one\n")
    pull_to_resume(uri_of(tmp_path), tmp_path / "new", said.append)
    other = RunFolder(tmp_path / "new", run.uri)
    with quick(other, said):
        append(other.epochs, "by the new head\n")
    append(run.epochs, "never mirrored\n")
    pull_to_resume(uri_of(tmp_path), run.path, said.append)
    assert run.epochs.read_text() == "one\nby the new head\n"
    assert (tmp_path / "run.before/epochs.jsonl").read_text() == "one\nnever mirrored\n"
    assert "run.before" in said[-1]


def test_a_local_folder_that_lost_lines_with_its_power_is_replaced(tmp_path: Path) -> None:
    run, said = run_of(tmp_path), list[str]()
    with quick(run, said):
        append(run.epochs, "one\ntwo\n")
    run.epochs.write_text("one\n")
    pull_to_resume(uri_of(tmp_path), run.path, said.append)
    assert run.epochs.read_text() == "one\ntwo\n"


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


def test_a_run_in_a_folder_is_not_mirrored(tmp_path: Path) -> None:
    with mirror_of(RunFolder(tmp_path), print) as mirror:
        assert isinstance(mirror, NoMirror)
        assert mirror.tick()
        mirror.check()
    assert list(tmp_path.iterdir()) == []


def test_a_torn_manifest_counts_as_not_written(tmp_path: Path) -> None:
    bucket = Bucket(uri_of(tmp_path))
    run = run_of(tmp_path)
    Uploader(bucket, run.path).upload(Snapshotter(run.path).take())
    bucket.put("manifests/000009-aaaaaaaa-00000001.json", b'deadbeef\n{"format')
    pull(bucket.uri, tmp_path / "copy")
    assert content(tmp_path / "copy") == content(run.path)
