"""The mirror on S3's own protocol, served by moto; buckets that go away and come back."""

import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tuner.mirrored import append, content, mirroring, run_of, tick_until, write
from tuner.errors import SearchError
from tuner.run.mirror import objects
from tuner.run.mirror.bucket import Bucket
from tuner.run.mirror.pull import pull, pull_to_resume
from tuner.run.run_folder import RunFolder
from tuner.run.runs import Runs, run_to_read

moto_server = pytest.importorskip("moto.server")
boto3 = pytest.importorskip("boto3")
pytestmark = pytest.mark.slow


class Server:
    """Can be stopped and started again without losing what it holds."""

    def __init__(self) -> None:
        self.port = 0
        self.start()
        self.s3 = boto3.client("s3", endpoint_url=self.address, region_name="us-east-1")
        urllib.request.urlopen(f"{self.address}/moto-api/reset", data=b"").close()  # what it holds outlives its server
        self.s3.create_bucket(Bucket="bucket")

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self._server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=self.port, verbose=False)
        self._server.start()
        self.port = self._server.get_host_and_port()[1]

    def stop(self) -> None:
        self._server.stop()

    def keys(self) -> list[str]:
        return [entry["Key"] for entry in self.s3.list_objects_v2(Bucket="bucket").get("Contents", [])]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    made = Server()
    try:
        yield made
    finally:
        made.stop()
        made.s3.close()


def uri(server: Server, path: str) -> str:
    return f"s3://{path}?endpoint_override=127.0.0.1:{server.port}&scheme=http&region=us-east-1"


def test_a_run_goes_to_s3_through_an_outage_and_comes_back(server: Server, tmp_path: Path) -> None:
    place, said = uri(server, "bucket/runs/mine"), list[str]()
    run = RunFolder(run_of(tmp_path).path, place)
    with mirroring(run, said, interval=0.05, retry=0.2, stall_timeout=60) as mirror:
        for number in range(5):
            write(run.trial(number) / "state.zip", f"{number}" * 100_000)
        append(run.epochs, "before\n")
        tick_until(mirror, lambda: any("epochs" in key for key in server.keys()))  # noqa: SIM118 - Server is no dict
        server.stop()
        append(run.epochs, "while it is away\n")
        tick_until(mirror, lambda: bool(said))
        assert "cannot be written to" in said[0]
        assert len(said) == 1
        write(run.trial(0) / "state.zip", "later")
        server.start()
        tick_until(mirror, lambda: len(said) == 2)
    assert "can be written to again" in said[1]
    pull(place, tmp_path / "copy")
    assert content(tmp_path / "copy") == content(run.path)
    manifest = objects.newest_manifest(Bucket(place))
    assert manifest is not None
    parts = {f"runs/mine/parts/{part.name}" for parts in manifest.files.values() for part in parts}
    assert {key for key in server.keys() if "/parts/" in key and not key.endswith("/")} == parts  # noqa: SIM118 - Server is no dict
    uploads = server.s3.list_multipart_uploads(Bucket="bucket").get("Uploads", [])
    assert uploads == [], "unfinished uploads cost money"


def test_runs_on_s3_are_found_resumed_and_read(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    runs, said = Runs(uri(server, "bucket/runs")), list[str]()
    assert runs.latest() is None
    assert not runs.is_taken("mine")
    run = runs.folder("mine")
    write(run.run_json, "{}")
    write(run.trial(3) / "best/model.safetensors", "weights")
    with mirroring(run, said):
        pass
    assert runs.latest() == "mine"
    assert runs.is_taken("mine")
    copy = run_to_read(uri(server, "bucket/runs/mine"), checkpoints=True)
    assert content(copy.path) == content(run.path)
    assert not copy.is_being_written()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "new head"))
    again = Runs(uri(server, "bucket/runs")).open("mine", said.append)
    assert content(again.path) == content(run.path)
    with mirroring(again, said):
        append(again.epochs, "one\n")
    pull_to_resume(run.uri or "", run.path, said.append)
    assert content(run.path) == content(again.path)


def test_a_bucket_that_is_not_there_is_said_before_the_search_begins(server: Server, tmp_path: Path) -> None:
    run = RunFolder(run_of(tmp_path).path, uri(server, "nobucket/runs/mine"))
    with pytest.raises(SearchError, match="must be a place that can be written to"):
        with mirroring(run, []):
            pass


def test_a_hundred_trials_at_once_arrive(server: Server, tmp_path: Path) -> None:
    run, said = RunFolder(run_of(tmp_path).path, uri(server, "bucket/runs/mine")), list[str]()
    for number in range(100):
        write(run.trial(number) / "state.zip", f"{number}" * 1000)
    with mirroring(run, said):
        pass
    assert "mirror" not in [thread.name for thread in threading.enumerate()]
    pull(run.uri or "", tmp_path / "copy")
    assert content(tmp_path / "copy") == content(run.path)
