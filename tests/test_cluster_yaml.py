"""cluster.yaml: what Ray accepts, and what must never be in it."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

START = ("head_start_ray_commands", "worker_start_ray_commands")


@pytest.fixture(scope="module")
def cluster(repository: Path) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load((repository / "cluster.yaml").read_text(encoding="utf-8"))
    return config


@pytest.mark.ray
def test_ray_accepts_the_cluster_file(cluster: dict[str, Any]) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(cluster))


@pytest.mark.ray
def test_ray_refuses_a_misspelt_key(cluster: dict[str, Any]) -> None:
    import jsonschema
    from ray.autoscaler._private.util import prepare_config, validate_config

    with pytest.raises(jsonschema.ValidationError, match="max_worker"):
        validate_config(prepare_config({**cluster, "max_worker": 4}))


def test_head_schedules_only(cluster: dict[str, Any]) -> None:
    head = cluster["available_node_types"][cluster["head_node_type"]]
    assert head["resources"] == {"CPU": 0, "GPU": 0}
    assert "InstanceMarketOptions" not in head["node_config"], "a head that AWS may take back ends the search"
    assert "--num-cpus=0 --num-gpus=0" in cluster["head_start_ray_commands"][-1]


def test_workers_are_spot_nodes_that_are_given_back(cluster: dict[str, Any]) -> None:
    workers = [node for name, node in cluster["available_node_types"].items() if name != cluster["head_node_type"]]
    assert workers
    for worker in workers:
        assert worker["min_workers"] == 0
        assert worker["max_workers"] == cluster["max_workers"]
        assert worker["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
        declared = "--num-cpus={CPU} --num-gpus={GPU}".format(**worker["resources"])
        assert declared in cluster["worker_start_ray_commands"][-1]
    assert cluster["provider"]["cache_stopped_nodes"] is False


def test_every_node_has_its_own_security_group_encrypted_disks_and_metadata_tokens(cluster: dict[str, Any]) -> None:
    for name, node in cluster["available_node_types"].items():
        config = node["node_config"]
        # Without SecurityGroupIds, Ray makes a group with port 22 open to 0.0.0.0/0, whatever `security_group` says.
        assert config["SecurityGroupIds"], name
        assert all(disk["Ebs"]["Encrypted"] for disk in config["BlockDeviceMappings"]), name
        assert config["MetadataOptions"]["HttpTokens"] == "required", name
    assert "0.0.0.0" not in str(cluster)


def test_ray_starts_with_token_authentication_everywhere(cluster: dict[str, Any]) -> None:
    for key in START:
        assert "RAY_AUTH_MODE=token /" in cluster[key][-1], key
    mounted = [remote for remote in cluster["file_mounts"] if remote.endswith("/.ray/auth_token")]
    assert len(mounted) == 1
    assert f"chmod 600 {mounted[0]}" in cluster["setup_commands"]


def test_commands_name_ray_and_python_by_absolute_path(cluster: dict[str, Any]) -> None:
    for key in ("setup_commands", *START):
        for command in cluster[key]:
            assert not re.search(r"(?:^|[;&|(]\s*|=token )(?:ray|pip|python3?)\s", command), command


def test_every_node_has_the_same_image_and_installation(cluster: dict[str, Any]) -> None:
    images = {node["node_config"]["ImageId"] for node in cluster["available_node_types"].values()}
    assert len(images) == 1
    assert cluster["head_setup_commands"] == cluster["worker_setup_commands"] == []
    assert any("-c /home/ubuntu/crystune/constraints.txt" in command for command in cluster["setup_commands"])


def test_no_shell_variable_is_misspelt(cluster: dict[str, Any]) -> None:
    variables = set(re.findall(r"\$(\w+)", str([cluster[key] for key in ("setup_commands", *START)])))
    assert variables == {"RAY_HEAD_IP"}
