"""Searches on a cluster, as far as a machine without one can tell: facts, commands, flags, jobs, the supervisor."""

import json
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tuner.cluster.login import Login
from tuner.errors import SearchError
from tuner.remote import __main__ as remote
from tuner.remote import server, supervisor
from tuner.remote.head import Head, find_head, start_facts
from tuner.remote.inputs import given_flags, read_input
from tuner.remote.job import Job, all_jobs
from tuner.remote.ssh import UNREACHABLE, HeadConnection, HeadUnreachable
from tuner.remote.supervisor import driver_arguments

LOCAL: dict[str, Any] = {
    "cluster_name": "mine",
    "provider": {"type": "local", "head_ip": "10.0.0.2", "worker_ips": ["10.0.0.3"]},
    "auth": {"ssh_user": "me", "ssh_private_key": "~/.ssh/my key"},
    "head_start_ray_commands": ["/opt/venv/bin/ray stop", "RAY_AUTH_MODE=token /opt/venv/bin/ray start --head --x=1"],
}


def cluster_file(folder: Path, **changes: Any) -> str:
    path = folder / "my cluster.yaml"
    path.write_text(json.dumps({**LOCAL, **changes}))
    return str(path)


@pytest.mark.parametrize(
    ("commands", "python", "environment"),
    [
        (["/v/bin/ray stop", "/v/bin/ray start --head --a=b"], "/v/bin/python", {}),
        (["ulimit -n 65536; RAY_AUTH_MODE=token /v/bin/ray start --head"], "/v/bin/python", {"RAY_AUTH_MODE": "token"}),
        (["export A=1 B='x y'; ulimit -c 0; ~/v/bin/ray start"], "~/v/bin/python", {"A": "1", "B": "'x y'"}),
        (["$HOME/v/bin/ray start --head"], "~/v/bin/python", {}),
        (["IP=$(hostname -I) C=3 /v/bin/ray start --head"], "/v/bin/python", {"C": "3"}),
    ],
)
def test_python_and_environment_of_the_head_are_those_of_its_ray(
    commands: list[str], python: str, environment: dict[str, str]
) -> None:
    assert start_facts(commands, "c.yaml") == (python, environment)


def test_the_cluster_file_that_ships_says_where_python_is_and_that_tokens_are_on(repository: Path) -> None:
    import yaml

    config = yaml.safe_load((repository / "cluster.yaml").read_text())
    python, environment = start_facts(config["head_start_ray_commands"], "cluster.yaml")
    assert python == "/home/ubuntu/venv/bin/python"
    assert environment["RAY_AUTH_MODE"] == "token"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"head_start_ray_commands": ["ray start --head"]}, "absolute path"),
        ({"provider": {"type": "local", "worker_ips": []}}, "provider must have a head_ip"),
        ({"auth": {}}, "ssh_user"),
        ({"auth": "me"}, "auth must be a section"),
        ({"docker": {"image": "x"}}, "without containers"),
        ({"cluster_name": None}, "no cluster_name"),
    ],
)
def test_a_cluster_file_that_does_not_lead_to_the_head_is_refused(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(SearchError, match=message):
        find_head(cluster_file(tmp_path, **changes))


@pytest.mark.ray
def test_the_head_of_a_cloud_is_asked_for_and_its_absence_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray.autoscaler import sdk

    file = cluster_file(tmp_path, provider={"type": "aws", "region": "us-west-2"}, auth={"ssh_user": "ubuntu"})
    monkeypatch.setattr(sdk, "get_head_node_ip", lambda config: "54.1.2.3")
    monkeypatch.setattr(sdk, "bootstrap_config", lambda config: {"auth": {"ssh_private_key": "~/.ssh/ray.pem"}})
    head = find_head(file)
    assert (head.login.address, head.login.key, head.rented) == (
        "54.1.2.3",
        str(Path("~/.ssh/ray.pem").expanduser()),
        True,
    )

    def none(config: Any) -> str:
        raise RuntimeError("Head node of cluster (mine) not found!")

    monkeypatch.setattr(sdk, "get_head_node_ip", none)
    with pytest.raises(SearchError, match=r"not found!; start it with: ray up '.*my cluster.yaml'"):
        find_head(file)


def head_of(**changes: Any) -> Head:
    login = {"address": "10.0.0.2", "user": "me", "key": "/home/my self/key", "proxy_command": None}
    return Head(
        cluster_file="my cluster.yaml",
        login=Login(**{**login, "remember_host": True, **changes}),
        python="~/my venv/bin/python",
        environment={"A": "'x y'"},
        rented=False,
    )


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """ssh runs its command here, rsync writes down its own; both are first on PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "ssh").write_text('#!/bin/bash\nfor last; do :; done\nHOME=$FAKE_HOME exec bash -c "$last"\n')
    (folder / "rsync").write_text(
        '#!/bin/bash\nprintf "%s\\n" "$@" > "$FAKE_HOME/rsync"\n[ -z "$FAIL" ] || { echo "$FAIL" >&2; exit 12; }\n'
    )
    for program in folder.iterdir():
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_HOME", str(tmp_path))
    return tmp_path


def fake_python(folder: Path, script: str) -> None:
    python = folder / "my venv" / "bin" / "python"
    python.parent.mkdir(parents=True, exist_ok=True)
    python.write_text(f"#!/bin/bash\n{script}\n")
    python.chmod(0o755)


@pytest.mark.needs("bash")
def test_a_request_reaches_the_head_whatever_is_in_it(programs: Path) -> None:
    fake_python(programs, 'printf "%s\\n" "$@" > "$HOME/seen"; echo "$A" >> "$HOME/seen"; echo noise; cat')
    request = {"name": "it's", "flags": {"--tasks": 'a "b" $HOME,`c`'}}
    assert HeadConnection(head_of()).call("start", request) == request
    fake_python(programs, "echo '{}'")
    with pytest.raises(SearchError, match=r"one version here and on the head.*ray up 'my cluster.yaml'"):
        HeadConnection(head_of()).call("start", request)
    assert (programs / "seen").read_text().splitlines() == ["-u", "-m", "tuner.remote.server", "start", "x y"]


@pytest.mark.needs("bash")
@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo 'error: no such thing' >&2; exit 2", "^no such thing$"),
        ("echo 'ssh: connect to host: No route' >&2; exit 255", "No route; is the cluster up"),
        ("echo 'me@x: Permission denied (publickey)' >&2; exit 255", "Permission denied.*; is auth right"),
        ("exit 127", "must be on the head"),
        ("echo '/v/python: No module named tuner.remote.server' >&2; exit 1", "install the same wheel"),
        ("echo 'Boom' >&2; exit 1", "exit status 1: Boom$"),
    ],
)
def test_what_goes_wrong_on_the_head_is_said_here(script: str, message: str, programs: Path) -> None:
    fake_python(programs, script)
    with pytest.raises(SearchError, match=message) as raised:
        HeadConnection(head_of()).call("start", {})
    assert isinstance(raised.value, HeadUnreachable) == ("255" in script)


@pytest.mark.needs("bash")
def test_following_counts_bytes_and_tells_a_broken_connection_from_the_end(
    programs: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    fake_python(programs, 'printf "Å\\n"; exit $6')
    assert HeadConnection(head_of()).follow("name", 0) == (3, 0)
    assert capfdbinary.readouterr().out == "Å\n".encode()
    assert HeadConnection(head_of()).follow("name", UNREACHABLE) == (UNREACHABLE + 3, UNREACHABLE)


@pytest.mark.needs("bash")
def test_a_copy_goes_to_a_partial_name_and_says_when_it_was_cut_off(
    programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = HeadConnection(head_of())
    link.send(Path("/data/my store.lmdb"), "/home/me/x.partial")
    written = (programs / "rsync").read_text().splitlines()
    assert written[-3:] == ["--inplace", "/data/my store.lmdb", "me@10.0.0.2:/home/me/x.partial"]
    # rsync splits this at spaces that are not quoted.
    assert shlex.split(written[written.index("--rsh") + 1])[:3] == ["ssh", "-i", "/home/my self/key"]
    monkeypatch.setenv("FAIL", "broken pipe")
    with pytest.raises(HeadUnreachable, match="cut off: broken pipe; nothing half-copied is used"):
        link.send(Path("/data/my store.lmdb"), "/home/me/x.partial")


def parsed(*words: str) -> Any:
    return remote._parser().parse_args(["submit", "c.yaml", *words])


def test_flags_travel_as_they_were_given_and_defaults_do_not() -> None:
    arguments = parsed("--space", "table5", "--tasks", "band gap, x", "--no-asha", "--time-budget", "1h30m", "--seed=3")
    assert given_flags(arguments) == {
        "--space": "table5",
        "--tasks": "band gap,x",
        "--no-asha": None,
        "--time-budget": "5400.0",
        "--seed": "3",
    }


def test_a_space_of_the_users_is_read_here_and_one_that_ships_is_not_sent(tmp_path: Path, small_store: Path) -> None:
    file = tmp_path / "my space.toml"
    file.write_text("[parameters]\nnum_convs = [1, 2]\n")
    given = read_input(parsed("--space", str(file), "--store", str(small_store)))
    assert given.space == {"file": "my space.toml", "text": file.read_text()}
    assert given.store == small_store
    assert given.fingerprint
    given = read_input(parsed("--space", "table5", "--store", "s3://bucket/x.lmdb"))
    assert given.space is None
    assert given.store is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--space", "tabel5"], "--space must be a TOML file or one of table5"),
        ([], "--space must be given"),
        (["--space", "table5", "--store", "nowhere.lmdb"], "or a URI such as s3://bucket/my.lmdb"),
        (["--space", "table5", "--name", "it's mine"], "letters, digits and . _ -"),
        (["--space", "table5", "--address", "10.0.0.2:6379"], "--address must be left out"),
        (["--space", "table5", "--resume"], "resume CLUSTER NAME"),
    ],
)
def test_mistakes_are_answered_before_anything_is_sent(
    words: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(remote, "HeadConnection", None)
    assert remote.main(["submit", cluster_file(tmp_path), *words]) == 2
    assert message in capsys.readouterr().err


def test_a_misspelt_flag_and_a_wrong_file_are_answered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        remote.main(["submit", "c.yaml", "--space", "table5", "--trails", "3"])
    assert raised.value.code == 2
    assert "--trails" in capsys.readouterr().err
    assert remote.main(["status", str(tmp_path / "none.yaml")]) == 2
    assert "the cluster file must be one such as cluster.yaml" in capsys.readouterr().err


def test_a_fetched_run_names_the_store_on_this_machine(tmp_path: Path, small_store: Path) -> None:
    run = tmp_path / "run.json"
    run.write_text(json.dumps({"settings": {"store": "/head/x.lmdb", "seed": 1}}))
    sent = {"local": str(small_store), "path": "/head/x.lmdb", "fingerprint": "f"}
    assert remote._use_own_store(tmp_path, sent) is None
    assert json.loads(run.read_text())["settings"] == {"store": str(small_store), "seed": 1}
    run.write_text(json.dumps({"settings": {"store": "/head/x.lmdb"}}))
    note = remote._use_own_store(tmp_path, {**sent, "local": "/gone.lmdb"})
    assert note is not None
    assert "/gone.lmdb" in note


@pytest.mark.needs("bash")
def test_a_file_that_a_running_search_replaced_while_it_was_fetched_is_fetched_again(
    programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rsync = programs / "bin" / "rsync"
    rsync.write_text('#!/bin/bash\necho x >> "$FAKE_HOME/tries"\n[ $(wc -l < "$FAKE_HOME/tries") -gt 2 ] || exit 24\n')
    HeadConnection(head_of()).fetch("/runs/first/", programs / "here")
    assert (programs / "tries").read_text() == "x\n" * 3


def test_nothing_of_the_users_is_overwritten_by_fetching(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(SearchError, match="holds other files"):
        remote._check_output(tmp_path, {"name": "first"})
    (tmp_path / "fetched.json").write_text('{"name": "first"}')
    remote._check_output(tmp_path, {"name": "first"})


DRIVER = """
import json, os, signal, sys, time
from pathlib import Path
from tuner.run.jsonlines import write_json

home = Path(os.environ["HOME"])
with open(home / "calls", "a") as calls:
    calls.write(json.dumps(sys.argv[1:]) + "\\n")
number = len((home / "calls").read_text().splitlines())
print("call", number, flush=True)
run = home / "crystune-runs" / "first"
run.mkdir(parents=True, exist_ok=True)
what = os.environ["DRIVER"].split(",")[number - 1]
if what != "refuse":
    write_json(run / "run.json", {"status": "searching"})
if what == "wait":
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        sys.exit(130)
if what == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
sys.exit({"refuse": 2, "crash": 1}.get(what, 0))
"""


@pytest.fixture
def head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The home folder of a head whose tuner.search is DRIVER, told by $DRIVER what to do at each call."""
    (tmp_path / "fakedriver.py").write_text(DRIVER)
    (tmp_path / "fakesupervisor.py").write_text(
        "import sys\nfrom tuner.remote import supervisor\n"
        "real = supervisor.driver_arguments\n"
        "supervisor.driver_arguments = lambda *a, **k: ['fakedriver', *real(*a, **k)[1:]]\n"
        "supervisor._PAUSE = 0.0\n"
        "supervisor.Supervisor._export = lambda self: None\n"
        "supervisor.forget_requests = lambda: print('requests forgotten', flush=True)\n"
        "sys.exit(supervisor.main())\n"
    )
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path(supervisor.__file__).parents[2]}")
    real, started = server._start_supervisor, []

    def start_supervisor(*arguments: Any, **options: Any) -> "subprocess.Popen[bytes]":
        started.append(real(*arguments, **options))
        return started[-1]

    monkeypatch.setattr(server, "_SUPERVISOR", "fakesupervisor")
    monkeypatch.setattr(server, "ray_runs", lambda: True)
    monkeypatch.setattr(server, "forget_requests", lambda: (tmp_path / "forgotten").touch())
    monkeypatch.setattr(server, "_start_supervisor", start_supervisor)
    yield tmp_path
    for process in started:
        process.kill()
        process.wait()


def request(*, resume: bool = False, **flags: str | None) -> dict[str, Any]:
    return {
        "cluster": "my cluster.yaml",
        "name": "first",
        "flags": {f"--{name.replace('_', '-')}": value for name, value in flags.items()},
        "resume": resume,
        "space": None,
    }


def calls(head: Path) -> list[list[str]]:
    return [json.loads(line) for line in (head / "calls").read_text().splitlines()]


def wait_for_the_end() -> str:
    deadline = time.monotonic() + 30
    while Job("first").is_running():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return Job("first").state()


def test_a_killed_search_goes_on_from_disk(head: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRIVER", "kill,crash,done")
    server.start(request(space="table5", trials="9", time_budget="1h"))
    assert wait_for_the_end() == "done"
    first, second, third = calls(head)
    assert "--resume" not in first
    assert "--resume" in second
    assert "--resume" in third
    assert {"--address=auto", "--name=first", f"--runs={head}/crystune-runs", "--trials=9"} <= set(second)
    left = next(word for word in third if word.startswith("--time-budget"))
    assert 3500 < float(left.removeprefix("--time-budget=").removesuffix("s")) <= 3600
    assert Job("first").describe()["restarts"] == 2


def test_a_search_that_dies_again_and_again_is_left(head: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRIVER", ",".join(["kill"] * 9))
    server.start(request(space="table5"))
    assert wait_for_the_end() == "failed"
    assert len(calls(head)) == 1 + supervisor.MOST_RESTARTS
    assert "it is left as it is" in (log := Job("first").log.read_text())
    assert log.endswith("requests forgotten\n")


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


def test_a_search_whose_processes_vanished_is_lost_until_it_is_resumed(
    head: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DRIVER", "wait,done")
    server.start(request(space="table5"))
    content = Job("first").read()
    for process in ("supervisor", "driver"):
        os.kill(content[process], signal.SIGKILL)
    assert wait_for_the_end() == "lost"
    assert server.stop({"name": "first"})["state"] == "stopped"
    assert (head / "forgotten").exists()
    server.start(request(resume=True))
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


def test_the_runs_of_a_job_may_lie_elsewhere(head: Path) -> None:
    job = Job("first")
    assert driver_arguments(job, {}, resume=False)[-1] == f"--runs={head}/crystune-runs"
    assert driver_arguments(job, {"--runs": "s3://b/runs"}, resume=True)[1:] == [
        "--runs=s3://b/runs",
        "--address=auto",
        "--name=first",
        "--resume",
    ]


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
