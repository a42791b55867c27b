"""Which of the two is newer, a local folder or the bucket: what the folder holds, and where it comes from."""

import hashlib
from pathlib import Path

from tests.tuner.mirrored import (
    append,
    quick,
    run_of,
    uri_of,
)
from tuner.run.mirror.local import begins_with, equals
from tuner.run.mirror.objects import Part
from tuner.run.mirror.pull import pull_to_resume
from tuner.run.run_folder import RunFolder


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


def test_a_file_is_compared_with_its_parts_by_their_checksums(tmp_path: Path) -> None:
    file = tmp_path / "epochs.jsonl"
    digests = [hashlib.sha256(text).hexdigest() for text in (b"one\n", b"two\n")]
    parts = [Part(name=f"{number}", size=4, sha256=digest) for number, digest in enumerate(digests)]
    assert (begins_with(file, parts), equals(file, parts)) == (False, False), "it is not there"
    for content, expected in (
        ("one\n", (False, False)),
        ("one\ntwo\n", (True, True)),
        ("one\ntwo\nthree\n", (True, False)),
        ("one\nTWO\n", (False, False)),
    ):
        file.write_text(content)
        assert (begins_with(file, parts), equals(file, parts)) == expected
