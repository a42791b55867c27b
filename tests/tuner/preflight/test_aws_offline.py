"""Mistakes in node_config, which Ray hands on unread."""

import pytest

from tests.tuner.preflight.stand_ins import CheckMistake
from tuner.preflight.aws_offline import cpus_of, gpus_of

pytestmark = pytest.mark.ray


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (r"LaunchTemplate: .*", "ImageID: ami-0a2363a9cff180a64", r"node_config.ImageID .*EC2.*did you mean 'ImageId'"),
        (r"VolumeSize:", "VolumeSise:", r"BlockDeviceMappings\[0\].Ebs.VolumeSise .*did you mean 'VolumeSize'"),
        (r"VolumeSize: 100", "VolumeSize: big", r"VolumeSize .*must be a whole number, got 'big'"),
        (r"VolumeType: gp3", "VolumeType: gp33", r"VolumeType .*did you mean 'gp3'"),
        (r"HttpTokens: required", "HttpTokens: require", r"HttpTokens .*did you mean 'required'"),
        (r"MarketType: spot", "MarketType: spott", r"InstanceMarketOptions.MarketType .*did you mean 'spot'"),
        (r"InstanceType: g6.xlarge", "InstanceType: g6.xlrge", r"InstanceType .*did you mean 'g6.xlarge'"),
        (r"LaunchTemplate: .*", "ImageId: ami_0a23", r"ImageId .*must look like ami-0123"),
        (r"LaunchTemplate: .*", "SecurityGroupIds: sg-0123456789abcdef0", r"SecurityGroupIds .*must be a list"),
        (r"LaunchTemplate: .*", "", r"node_config .*lets the whole world reach port 22"),
        (r"GPU: 1", "GPU: 2", r"resources.GPU .*must be at most the 1 that g6.xlarge has, got 2"),
        (r"--num-gpus=0", "--num-gpus=1", r"resources.GPU .*must agree with --num-gpus=1"),
    ],
)
def test_a_mistake_is_found_with_its_fix(old: str, new: str, expected: str, check_mistake: CheckMistake) -> None:
    check_mistake(old, new, expected)


@pytest.mark.parametrize(
    ("instance", "gpus", "cpus"),
    [
        ("g6.xlarge", 1, 4),
        ("g5.48xlarge", 8, 192),
        ("m6i.large", 0, 2),
        ("p4d.24xlarge", 8, None),
        ("x", None, None),
    ],
)
def test_what_an_instance_type_has_is_known_or_not_told(instance: str, gpus: int | None, cpus: int | None) -> None:
    assert (gpus_of(instance), cpus_of(instance)) == (gpus, cpus)
