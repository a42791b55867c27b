"""What a cluster file says of the head."""

from pathlib import Path
from typing import Any

import pytest

from tests.tuner.remote.stand_ins import cluster_file
from tuner.errors import SearchError
from tuner.remote.head import find_head, start_facts


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
