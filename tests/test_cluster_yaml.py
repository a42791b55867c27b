"""cluster.yaml and deploy/aws.yaml: what Ray accepts, what one calls in the other, what must never be in them."""

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


@pytest.fixture(scope="module")
def stack(repository: Path) -> dict[str, Any]:
    """The template, with each `!Ref X`, `!GetAtt X` and `!Sub X` as plain X."""
    text = (repository / "deploy" / "aws.yaml").read_text(encoding="utf-8")
    template: dict[str, Any] = yaml.safe_load(re.sub(r"!(Ref|GetAtt|Sub|If|Not|Equals) ", "", text))
    return template


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


def test_workers_are_spot_nodes_of_two_types_that_are_given_back(cluster: dict[str, Any]) -> None:
    workers = [node for name, node in cluster["available_node_types"].items() if name != cluster["head_node_type"]]
    assert len({worker["node_config"]["InstanceType"] for worker in workers}) == 2
    for worker in workers:
        assert worker["min_workers"] == 0
        assert worker["max_workers"] == cluster["max_workers"]
        assert worker["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert not re.search("--num-[cg]pus", cluster["worker_start_ray_commands"][-1]), "the types may differ"
    assert cluster["provider"]["cache_stopped_nodes"] is False


@pytest.mark.ray
def test_the_autoscaler_that_can_take_another_type_is_the_one_that_runs(cluster: dict[str, Any]) -> None:
    from tuner.cluster.autoscaler import prefer_available

    command = cluster["head_start_ray_commands"][-1]
    assert "RAY_enable_autoscaler_v2=0 " in command
    module, _, function = re.findall(r"RAY_AUTOSCALER_UTILIZATION_SCORER=(\S+)", command)[0].rpartition(".")
    assert (module, function) == (prefer_available.__module__, prefer_available.__name__)


def test_every_node_has_encrypted_disks_and_metadata_tokens(cluster: dict[str, Any]) -> None:
    for name, node in cluster["available_node_types"].items():
        config = node["node_config"]
        assert all(disk["Ebs"]["Encrypted"] for disk in config["BlockDeviceMappings"]), name
        assert config["MetadataOptions"]["HttpTokens"] == "required", name


def test_group_role_and_image_come_from_launch_templates_that_the_stack_makes(
    cluster: dict[str, Any], stack: dict[str, Any]
) -> None:
    templates = {
        resource["Properties"]["LaunchTemplateName"].replace("${ClusterName}", cluster["cluster_name"]): resource
        for resource in stack["Resources"].values()
        if resource["Type"] == "AWS::EC2::LaunchTemplate"
    }
    assert stack["Parameters"]["ClusterName"]["Default"] == cluster["cluster_name"]
    for name, node in cluster["available_node_types"].items():
        called = node["node_config"]["LaunchTemplate"]["LaunchTemplateName"]
        data = templates[called]["Properties"]["LaunchTemplateData"]
        assert data["ImageId"] == "Image", "one image, so one Python, for head and workers"
        # Without these two Ray makes a group that is open to the world, and a role that may do everything.
        assert data["SecurityGroupIds"] == ["Group.GroupId"], name
        assert data["IamInstanceProfile"]["Arn"].endswith("Profile.Arn"), name


def test_the_group_lets_in_its_own_nodes_and_one_address_by_ssh(stack: dict[str, Any]) -> None:
    group = stack["Resources"]["Group"]["Properties"]
    assert group["SecurityGroupIngress"] == [{"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "CidrIp": "MyAddress"}]
    allowed = re.compile(stack["Parameters"]["MyAddress"]["AllowedPattern"])
    assert allowed.fullmatch("203.0.113.7/32")
    assert not allowed.fullmatch("0.0.0.0/0")
    rules = [resource for resource in stack["Resources"].values() if "Ingress" in resource["Type"]]
    assert [rule["Properties"]["SourceSecurityGroupId"] for rule in rules] == ["Group.GroupId"]


def test_nobody_may_do_everything(stack: dict[str, Any]) -> None:
    for name in ("HeadRole", "WorkerRole"):
        role = stack["Resources"][name]["Properties"]
        assert "ManagedPolicyArns" not in role
        for policy in role["Policies"]:
            for statement in policy["PolicyDocument"]["Statement"]:
                assert "*" not in str(statement["Action"]), statement
                if statement["Resource"] == "*":
                    assert statement["Action"] == "ec2:DescribeInstances", "knows no resources"


def test_the_worlds_address_is_nowhere(repository: Path) -> None:
    for file in ("cluster.yaml", "deploy/aws.yaml"):
        assert "0.0.0.0/0" not in (repository / file).read_text(encoding="utf-8")


def test_ray_starts_with_token_authentication_everywhere(cluster: dict[str, Any]) -> None:
    for key in START:
        assert "RAY_AUTH_MODE=token " in cluster[key][-1], key
    mounted = [remote for remote in cluster["file_mounts"] if remote.endswith("/.ray/auth_token")]
    assert len(mounted) == 1
    assert f"chmod 600 {mounted[0]}" in cluster["setup_commands"]


def test_commands_name_ray_and_python_by_absolute_path(cluster: dict[str, Any]) -> None:
    for key in ("setup_commands", *START):
        for command in cluster[key]:
            assert not re.search(r"(?:^|[;&|(]\s*|=\S+ )(?:ray|pip|python3?)\s", command), command


def test_every_node_has_the_same_installation(cluster: dict[str, Any]) -> None:
    assert cluster["head_setup_commands"] == []
    assert cluster["worker_setup_commands"] == ["nvidia-smi --list-gpus"], "installs nothing"
    assert any("-c /home/ubuntu/crystune/constraints.txt" in command for command in cluster["setup_commands"])


def test_no_shell_variable_is_misspelt(cluster: dict[str, Any]) -> None:
    variables = set(re.findall(r"\$(\w+)", str([cluster[key] for key in ("setup_commands", *START)])))
    assert variables == {"RAY_HEAD_IP"}
