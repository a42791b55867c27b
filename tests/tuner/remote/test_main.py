"""`python -m tuner.remote`, as far as a machine without a cluster can tell."""

import json
from pathlib import Path

import pytest

from tests.tuner.remote.stand_ins import cluster_file
from tuner.errors import SearchError
from tuner.remote import __main__ as remote


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


def test_nothing_of_the_users_is_overwritten_by_fetching(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(SearchError, match="holds other files"):
        remote._check_output(tmp_path, {"name": "first"})
    (tmp_path / "fetched.json").write_text('{"name": "first"}')
    remote._check_output(tmp_path, {"name": "first"})
