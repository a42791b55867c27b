"""Files of one moment, uploaded while the search goes on changing them."""

from pathlib import Path

import pytest

from tests.tuner.mirrored import append, content, uri_of, write
from tuner.run.mirror.bucket import Bucket
from tuner.run.mirror.pull import pull
from tuner.run.mirror.snapshot import Snapshotter
from tuner.run.mirror.upload import Uploader


def test_files_changed_while_they_wait_for_the_upload_are_sent_as_they_were(tmp_path: Path) -> None:
    folder, bucket = tmp_path / "run", Bucket(uri_of(tmp_path))
    write(folder / "trials/0000/state.zip", "first")
    append(folder / "epochs.jsonl", "first\n")
    uploader, snapshotter = Uploader(bucket, folder), Snapshotter(folder)
    snapshot = snapshotter.take()
    write(folder / "trials/0000/state.zip", "second")
    append(folder / "epochs.jsonl", "second\n")
    later = snapshotter.take()
    snapshotter.drop_links(snapshot)
    (folder / "trials/0000/state.zip").unlink()
    for moment, state, log in ((snapshot, "first", "first\n"), (later, "second", "first\nsecond\n")):
        uploader.upload(moment)
        pull(bucket.uri, tmp_path / "copy")
        assert (tmp_path / "copy/trials/0000/state.zip").read_text() == state
        assert (tmp_path / "copy/epochs.jsonl").read_text() == log
    snapshotter.drop_links(later)
    assert list((folder / ".mirror/spool").iterdir()) == []


def test_states_beyond_a_bound_take_turns_and_the_end_has_the_last_of_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tuner.run.mirror.snapshot.STATE_BYTES_PER_SNAPSHOT", 250)
    folder, bucket = tmp_path / "run", Bucket(uri_of(tmp_path))
    paths = [f"trials/{number:04d}/state.zip" for number in range(10)]
    uploader, snapshotter = None, None
    held: list[dict[str, str]] = []
    for moment in range(13):
        for path in paths:
            write(folder / path, f"{moment:0100d}")
        append(folder / "epochs.jsonl", f"{moment}\n")
        uploader, snapshotter = uploader or Uploader(bucket, folder), snapshotter or Snapshotter(folder)
        snapshot = snapshotter.take(all_states=moment == 12)
        snapshotter.drop_links(snapshot)
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
