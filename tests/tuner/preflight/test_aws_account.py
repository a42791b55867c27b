"""What is wrong in an AWS account, against an imitation of AWS in this process."""

import re

import boto3
import pytest

from tests.tuner.preflight.stand_ins import REGION, Cloud, quota, texts


def test_an_account_that_has_everything_passes(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    quota(monkeypatch, lambda: {"Quota": {"Value": 16.0}})
    findings = cloud.check()
    assert texts(findings, "error") == texts(findings, "warning") == []
    assert any("(L-3819A6DF): 16, at most 16 needed" in line for line in texts(findings, "ok"))


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("region: us-west-2", "region: us-west-22", r"provider.region .*did you mean 'us-west-2'"),
        ("zone: us-west-2a", "zone: us-west-2x", r"availability_zone .*no zone 'us-west-2x'.*did you mean"),
        ("zone: us-west-2a", "zone: us-west-2b", r"SubnetIds .*must be in us-west-2b, but is in us-west-2a"),
        (r"ImageId: ami-\w+", "ImageId: ami-0123456789abcdef0", r"ImageId .*ami-0123456789abcdef0.*another name"),
        (r"ImageId: ami-\w+", "ImageId: resolve:ssm:/none", r"ImageId .*parameter /none must exist"),
        ("GPU: 1", "GPU: 2", r"resources.GPU .*g6.xlarge has 1 GPUs, got 2"),
        (r"sg-\w+", "sg-0123456789abcdef0", r"SecurityGroupIds .*security groups must exist"),
        (r"subnet-\w+", "subnet-0123456789abcdef0", r"SubnetIds .*subnets must exist"),
        ("KeyName: mine", "KeyName: yours", r"KeyName .*key pair yours must exist"),
        ("{Name: head}", "{Name: tail}", r"IamInstanceProfile .*instance profile tail must exist"),
    ],
)
def test_what_the_account_lacks_is_named(old: str, new: str, expected: str, cloud: Cloud) -> None:
    errors = texts(cloud.check(old, new), "error")
    assert any(re.search(expected, error) for error in errors), errors


def test_what_a_launch_template_says_is_checked_too(cloud: Cloud) -> None:
    data = {"ImageId": "ami-0123456789abcdef0", "SecurityGroupIds": [cloud.group]}
    cloud.ec2.create_launch_template(LaunchTemplateName="crystune-head", LaunchTemplateData=data)
    node = f"LaunchTemplate: {{LaunchTemplateName: crystune-head}}, SubnetIds: [{cloud.subnet}]"
    findings = cloud.check(re.escape(cloud.node), node)
    assert any("image ami-0123456789abcdef0 must exist" in error for error in texts(findings, "error"))
    assert any("closed to the world" in line for line in texts(findings, "ok"))
    assert any("no IamInstanceProfile" in warning for warning in texts(findings, "warning"))
    errors = texts(cloud.check(re.escape(cloud.node), node.replace("head", "haed")), "error")
    assert any("launch template crystune-haed must exist" in error for error in errors)


@pytest.mark.parametrize(
    ("value", "severity", "expected"),
    [
        (0, "error", r"max_workers .*G and VT vCPUs spot \(L-3819A6DF\) must be at least 4.*--desired-value 16"),
        (8, "warning", r"is 8: 2 workers at most; all of them need 16"),
    ],
)
def test_a_quota_that_is_too_small_is_found(
    value: int, severity: str, expected: str, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    quota(monkeypatch, lambda: {"Quota": {"Value": float(value)}})
    assert any(re.search(expected, text) for text in texts(cloud.check(), severity))


def test_a_bucket_that_is_missing_public_or_far_away_is_found(cloud: Cloud) -> None:
    assert any("aws s3 mb s3://other" in e for e in texts(cloud.check(runs="s3://other/runs"), "error"))
    cloud.s3.create_bucket(Bucket="opened", CreateBucketConfiguration={"LocationConstraint": REGION})
    assert any(
        "a block of public access to opened must exist" in e
        for e in texts(cloud.check(runs="s3://opened/runs"), "error")
    )
    boto3.client("s3", region_name="us-east-1").create_bucket(Bucket="far")
    assert any("far is in us-east-1" in w for w in texts(cloud.check(runs="s3://far/runs"), "warning"))
