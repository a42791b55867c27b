"""A cluster file as it was written, whatever shape its values have."""

from pathlib import Path

import pytest

from tuner.cluster.cluster_file import ClusterFile, ClusterFileError, read_cluster_file
from tuner.errors import SearchError


def read(folder: Path, text: str) -> ClusterFile:
    path = folder / "c.yaml"
    path.write_text(text)
    return read_cluster_file(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: b: c", r"c\.yaml, line 1: must be YAML, but mapping values are not allowed here; indent with spaces"),
        ("a: [1, 2\n", r"c\.yaml, line 2: must be YAML, but "),
        ("", r"c\.yaml: must be a table of keys, got NoneType; see cluster\.yaml"),
        ("- 1", r"c\.yaml: must be a table of keys, got list"),
    ],
)
def test_what_is_no_cluster_file_is_told_in_one_line(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ClusterFileError, match=message) as caught:
        read(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_answered_with_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "cluster.yaml").touch()
    with pytest.raises(SearchError, match=r"there is no .*cluster\.yml; did you mean 'cluster\.yaml'\?"):
        read_cluster_file(tmp_path / "cluster.yml")


def test_keys_are_named_with_their_lines_also_behind_an_anchor(tmp_path: Path) -> None:
    file = read(tmp_path, "a: &x\n  b: [1, 2]\nc:\n  <<: *x\n  d: 3\na: 4\n")
    assert file.where("c", "d") == "c.d (line 5)"
    assert file.where("c", "b", 1) == "c.b[1] (line 2)"
    assert file.where("c", "e") == "c.e (line 3)"
    assert file.where("e") == "e"
    assert file.repeated == [("a (line 6)", 1)]


def test_values_of_the_wrong_shape_read_as_empty(tmp_path: Path) -> None:
    file = read(tmp_path, "provider: 1\nauth: [me]\navailable_node_types: {a: 3}\nsetup_commands: x\n")
    assert (file.provider, file.auth, file.worker_addresses, file.min_workers) == ({}, {}, [], 0)
    assert [(kind.name, kind.options, kind.config) for kind in file.node_types] == [("a", {}, {})]
    assert list(file.commands("setup_commands")) == []


def test_the_start_commands_say_where_ray_is_and_how_it_is_started(tmp_path: Path) -> None:
    start = "RAY_AUTH_MODE=token /v/bin/ray start --head --port 6380"
    file = read(tmp_path, f"head_start_ray_commands: ['/v/bin/ray stop', '{start}']\n")
    assert file.environment() == "/v"
    assert file.start("head") == (("head_start_ray_commands", 1), start)
    assert file.start("worker") is None
    assert (file.start_option("head", "--port"), file.head_port) == ("6380", 6380)
    assert read(tmp_path, "a: 1").head_port == 6379


def test_a_login_is_that_of_the_file_with_the_key_that_is_given(tmp_path: Path) -> None:
    file = read(tmp_path, "auth: {ssh_user: me, ssh_private_key: ~/key}\n")
    assert file.login("10.0.0.2", remember_host=True).key == str(Path("~/key").expanduser())
    assert file.login("10.0.0.2", remember_host=False, key="/other").ssh[1:3] == ["-i", "/other"]
