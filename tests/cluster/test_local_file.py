"""cluster.local.yaml: what Ray accepts, and what every machine must be told. That it works: test_search.py."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.raylab import lab_form

START = ("head_start_ray_commands", "worker_start_ray_commands")


@pytest.fixture(scope="module")
def text(repository: Path) -> str:
    return (repository / "cluster.local.yaml").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def cluster(text: str) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load(text)
    return config


@pytest.mark.ray
def test_ray_accepts_the_file_as_it_ships_and_in_the_labs_form(text: str) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    for form in (text, lab_form(text, ["10.77.0.3", "10.77.0.4"])):
        validate_config(prepare_config(yaml.safe_load(form)))


def test_everything_that_depends_on_the_user_is_marked(text: str) -> None:
    lines = [line for line in text.splitlines() if re.search(r"192\.0\.2|ssh_user|ssh_private_key", line)]
    assert len(lines) == 4
    assert all("CHANGE" in line for line in lines)


def test_ray_starts_with_token_authentication_everywhere(cluster: dict[str, Any]) -> None:
    assert all("RAY_AUTH_MODE=token " in cluster[key][-1] for key in START)
    assert cluster["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert "chmod 600 ~/.ray/auth_token" in cluster["setup_commands"]
    assert "--include-dashboard=false" in cluster["head_start_ray_commands"][-1]


def test_commands_name_ray_and_pip_by_absolute_path_and_misspell_no_variable(cluster: dict[str, Any]) -> None:
    commands = [command for key in ("setup_commands", *START) for command in cluster[key]]
    assert not [command for command in commands if re.search(r"(?:^|[;&|(]\s*|=\w+ )(?:ray|pip|python3?)\s", command)]
    assert set(re.findall(r"\$(\w+)", str(commands))) == {"HOME", "RAY_HEAD_IP"}


def test_every_node_gets_the_same_pinned_installation(cluster: dict[str, Any]) -> None:
    assert "head_setup_commands" not in cluster
    assert "worker_setup_commands" not in cluster
    assert any("-c $HOME/crystune/dist/constraints.txt" in command for command in cluster["setup_commands"])
