"""Commands and copies, with stubs in place of ssh and rsync."""

import shlex
from pathlib import Path
from typing import Any

import pytest

from tuner.cluster.ssh import Login
from tuner.errors import SearchError
from tuner.remote.connection import UNREACHABLE, HeadConnection, HeadUnreachable
from tuner.remote.head import Head


def head_of(**changes: Any) -> Head:
    login = {"address": "10.0.0.2", "user": "me", "key": "/home/my self/key", "proxy_command": None}
    return Head(
        cluster_file="my cluster.yaml",
        login=Login(**{**login, "remember_host": True, **changes}),
        python="~/my venv/bin/python",
        environment={"A": "'x y'"},
        rented=False,
    )


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


@pytest.mark.needs("bash")
def test_a_file_that_a_running_search_replaced_while_it_was_fetched_is_fetched_again(
    programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rsync = programs / "bin" / "rsync"
    rsync.write_text('#!/bin/bash\necho x >> "$FAKE_HOME/tries"\n[ $(wc -l < "$FAKE_HOME/tries") -gt 2 ] || exit 24\n')
    HeadConnection(head_of()).fetch("/runs/first/", programs / "here")
    assert (programs / "tries").read_text() == "x\n" * 3
