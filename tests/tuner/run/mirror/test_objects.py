"""What a mirrored run consists of: names that say who wrote what, manifests that are whole or do not count."""

from pathlib import Path

from tests.tuner.mirrored import (
    content,
    run_of,
    uri_of,
)
from tuner.run.mirror import objects
from tuner.run.mirror.bucket import Bucket
from tuner.run.mirror.pull import pull
from tuner.run.mirror.snapshot import Snapshotter
from tuner.run.mirror.upload import Uploader


def test_the_names_of_objects_say_what_they_are(tmp_path: Path) -> None:
    name = objects.part_name("trials/0007/state.zip", "000002-9f8e7d6c-00000016", 0, 10)
    assert name == "trials~0007~state.zip~000002-9f8e7d6c-00000016~0-10"
    assert objects.writer_of_part(name) == "000002-9f8e7d6c"
    part = objects.Part(name=name, size=10, sha256="0" * 64)
    manifest = objects.Manifest(name="000002-9f8e7d6c-00000016", files={"trials/0007/state.zip": [part]})
    assert manifest.writer == "000002-9f8e7d6c"
    assert objects.decode(manifest.name, objects.encode(manifest)) == manifest
    assert objects.new_writer(["000002-9f8e7d6c", "000011-00000000"]).startswith("000012-")


def test_a_torn_manifest_counts_as_not_written(tmp_path: Path) -> None:
    bucket = Bucket(uri_of(tmp_path))
    run = run_of(tmp_path)
    Uploader(bucket, run.path).upload(Snapshotter(run.path).take())
    bucket.put("manifests/000009-aaaaaaaa-00000001.json", b'deadbeef\n{"format')
    pull(bucket.uri, tmp_path / "copy")
    assert content(tmp_path / "copy") == content(run.path)
