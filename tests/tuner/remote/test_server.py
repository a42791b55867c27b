"""What the head answers, with a program in place of the search that does as it is told."""

import io
import json
from pathlib import Path
from typing import Any

import pytest

from tests.tuner.remote.stand_ins import calls, request, wait_for_the_end
from tuner.errors import SearchError
from tuner.remote import server
from tuner.remote.job import PROTOCOL, Job, all_jobs


def test_stopping_interrupts_and_resuming_keeps_means_but_not_settings(
    head: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DRIVER", "wait,wait,refuse,done")
    found = server.start(request(space="table5", trials="9", concurrent="2"))
    assert found["state"] == "running"
    assert "call 1" in found["log"]
    with pytest.raises(SearchError, match="runs on the head already"):
        server.start(request(space="table5"))
    assert server.stop({"name": "first"})["state"] == "stopped"
    with pytest.raises(SearchError, match=r"must be running to be stopped, but it is not \(stopped\)"):
        server.stop({"name": "first"})
    with pytest.raises(SearchError, match="new search needs a new name"):
        server.start(request(space="table5"))
    server.start(request(resume=True, trials="20", retry_failed=None, gpus_per_trial="0.5"))
    server.stop({"name": "first"})
    refused = server.start(request(resume=True, seed="5"))
    assert refused["state"] == "failed"
    assert Job("first").state() == "stopped"
    server.start(request(resume=True))
    assert wait_for_the_end() == "done"
    second, _, last = calls(head)[1:]
    assert {"--trials=20", "--retry-failed", "--concurrent=2", "--resume"} <= set(second)
    assert {"--concurrent=2", "--gpus-per-trial=0.5", "--resume"} <= set(last)
    assert not [word for word in last if word.startswith(("--trials", "--space", "--seed", "--retry-failed"))]


def test_a_search_that_was_refused_leaves_its_name_free(head: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRIVER", "refuse,done")
    assert server.start(request(space="table5"))["state"] == "failed"
    server.start(request(space="table5"))
    assert wait_for_the_end() == "done"


def test_no_search_is_started_on_a_head_without_ray(head: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "ray_runs", lambda: False)
    sent = {"cluster": "my cluster.yaml", "fingerprint": "f", "file": "my.lmdb", "size": 1}
    with pytest.raises(SearchError, match=r"start it again with: ray up 'my cluster.yaml'"):
        server.start(request(space="table5"))
    with pytest.raises(SearchError, match="Ray must run on the head"):
        server.place_store(sent)
    assert server.list_jobs({}) == {"jobs": [], "ray": False}


def test_unknown_names_are_answered_with_the_known(head: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRIVER", "done")
    with pytest.raises(SearchError, match="there is none"):
        server.status({})
    server.start(request(space="table5"))
    wait_for_the_end()
    assert [job.name for job in all_jobs()] == ["first"]
    with pytest.raises(SearchError, match=r"\(first\), got 'frist'"):
        server.stop({"name": "frist"})


def test_a_store_is_used_only_when_it_arrived_whole(head: Path, small_store: Path) -> None:
    from graphdb.store import Store

    with Store(small_store) as store:
        fingerprint = store.fingerprint
    size = small_store.stat().st_size
    sent = {"cluster": "my cluster.yaml", "fingerprint": fingerprint, "file": "my store.lmdb", "size": size}
    place = server.place_store(sent)
    assert not place["there"]
    assert " " not in place["path"]
    whole = small_store.read_bytes()
    Path(place["partial"]).write_bytes(whole[: len(whole) // 2])
    assert not server.place_store(sent)["there"]
    with pytest.raises(SearchError, match="must arrive as it was sent"):
        server.accept_store(sent)
    Path(place["partial"]).write_bytes(whole)
    assert server.accept_store(sent)["path"] == place["path"]
    assert server.place_store(sent)["there"]
    with pytest.raises(SearchError, match="must have room for the store"):
        server.place_store({**sent, "fingerprint": "f" * 64, "size": 10**18})


def test_a_run_in_object_storage_is_known_by_its_uri_and_kept_in_a_local_folder(
    head: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(head / "cache"))
    runs = f"file://{head}/bucket/runs"
    (head / "bucket" / "runs").mkdir(parents=True)
    monkeypatch.setenv("DRIVER", "refuse,refuse")
    with pytest.raises(SearchError, match=r"\(none\), got 'first'"):
        server.start(request(resume=True))
    # Another head's run: the driver itself finds it, or, as here, does not; no job is left behind.
    assert server.start(request(resume=True, runs=runs))["state"] == "failed"
    assert "--resume" in calls(head)[0]
    assert not Job("first").exists()
    server.start(request(space="table5", runs=runs))
    wait_for_the_end()
    found = Job("first").describe()
    assert found["run"] == f"{runs}/first"
    assert found["folder"] is None
    assert str(Job("first").run_folder().path).startswith(str(head / "cache"))


def answer(
    command: str, asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[int, str, str]:
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(asked)))
    return server.main([command]), *capsys.readouterr()


def test_a_request_is_answered_in_json_and_refused_in_one_line(
    head: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = answer("list", {"protocol": PROTOCOL}, monkeypatch, capsys)
    assert (status, json.loads(out)) == (0, {"jobs": [], "ray": True, "protocol": PROTOCOL})
    assert json.loads(answer("list", {"protocol": 0}, monkeypatch, capsys)[1]) == {"protocol": PROTOCOL}
    status, out, err = answer("stop", {"protocol": PROTOCOL, "name": "first"}, monkeypatch, capsys)
    assert (status, out) == (2, "")
    assert err == "error: NAME must be a search that was started on this cluster (none), got 'first'\n"
