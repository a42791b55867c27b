"""Objects in object storage: which URIs are taken."""

from pathlib import Path

import pytest

from tests.tuner.mirrored import uri_of
from tuner.errors import SearchError
from tuner.run.mirror.bucket import Bucket, join


@pytest.mark.parametrize("uri", ["ftp://a/b", "s3:///", "file://relative", "s3://b/x?nonsense=1"])
def test_a_uri_that_cannot_be_used_is_answered(uri: str) -> None:
    with pytest.raises(SearchError, match="--runs must be a folder or a URI like s3://bucket/runs"):
        Bucket(uri)


def test_options_of_a_uri_stay_at_its_end() -> None:
    assert join("s3://b/runs/?region=eu-west-1", "mine") == "s3://b/runs/mine?region=eu-west-1"
    assert join("s3://b/runs", "mine") == "s3://b/runs/mine"


def test_objects_are_listed_by_folder_without_those_that_are_still_written(tmp_path: Path) -> None:
    bucket = Bucket(uri_of(tmp_path))
    assert bucket.names("parts") == {}
    bucket.put("parts/one", b"first")
    bucket.put("parts/one", b"second")
    (tmp_path / "bucket/runs/mine/parts/.two.123").touch()
    assert set(bucket.names("parts")) == {"one"}
    assert bucket.folders() == ["parts"]
    assert bucket.get("parts/one") == b"second"
    for _ in range(2):
        bucket.delete("parts/one")
    with pytest.raises(FileNotFoundError):
        bucket.get("parts/one")
