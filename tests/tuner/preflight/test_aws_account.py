"""What is wrong in an AWS account, against an imitation of AWS in this process."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from tuner.cluster.cluster_file import read_cluster_file
from tuner.preflight.aws_account import check_account
from tuner.preflight.aws_client import Account
from tuner.preflight.finding import Finding

REGION = "us-west-2"


class Cloud:
    """An account with all that a cluster needs."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "cluster.yaml"
        self.ec2 = boto3.client("ec2", region_name=REGION)
        self.s3 = boto3.client("s3", region_name=REGION)
        self.image = self.ec2.describe_images()["Images"][0]["ImageId"]
        zone = [{"Name": "availability-zone", "Values": ["us-west-2a"]}]
        subnet = self.ec2.describe_subnets(Filters=zone)["Subnets"][0]
        self.subnet, self.vpc = subnet["SubnetId"], subnet["VpcId"]
        self.group = self.make_group("nodes", self.vpc)
        self.allow(self.group, IpProtocol="-1", UserIdGroupPairs=[{"GroupId": self.group}])
        self.allow(self.group, IpProtocol="tcp", FromPort=22, ToPort=22, IpRanges=[{"CidrIp": "203.0.113.7/32"}])
        boto3.client("iam").create_instance_profile(InstanceProfileName="head")
        self.ec2.create_key_pair(KeyName="mine")
        self.s3.create_bucket(Bucket="results", CreateBucketConfiguration={"LocationConstraint": REGION})
        closed = dict.fromkeys(
            ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True
        )
        self.s3.put_public_access_block(Bucket="results", PublicAccessBlockConfiguration=closed)
        self.node = (
            f"ImageId: {self.image}, SecurityGroupIds: [{self.group}], SubnetIds: [{self.subnet}], KeyName: mine, "
            "IamInstanceProfile: {Name: head}"
        )

    def make_group(self, name: str, vpc: str) -> str:
        made: str = self.ec2.create_security_group(GroupName=name, Description=name, VpcId=vpc)["GroupId"]
        return made

    def allow(self, group: str, **rule: Any) -> None:
        self.ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[rule])

    def text(self) -> str:
        return (
            "cluster_name: c\nmax_workers: 4\n"
            f"provider: {{type: aws, region: {REGION}, availability_zone: us-west-2a}}\nauth: {{ssh_user: ubuntu}}\n"
            "available_node_types:\n"
            f"    head: {{node_config: {{InstanceType: m6i.large, {self.node}}}}}\n"
            "    gpu:\n        max_workers: 4\n        resources: {CPU: 4, GPU: 1}\n"
            "        node_config: {InstanceType: g6.xlarge, InstanceMarketOptions: {MarketType: spot}, "
            f"{self.node}}}\n"
            "head_node_type: head\n"
        )

    def check(
        self, old: str = "", new: str | Callable[[re.Match[str]], str] = "", runs: str = "s3://results/runs"
    ) -> list[Finding]:
        text = self.text()
        changed = re.sub(old, new, text) if old else text
        assert not old or changed != text
        self._path.write_text(changed)
        return check_account(read_cluster_file(self._path), runs)


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE"):
            patch.delenv(name, raising=False)
        with mock_aws():
            yield Cloud(tmp_path_factory.mktemp("cloud"))


def texts(findings: list[Finding], severity: str) -> list[str]:
    return [f"{f.where}: {f.what} -> {f.fix}" for f in findings if f.severity == severity]


def quota(monkeypatch: pytest.MonkeyPatch, answer: Callable[[], Any]) -> None:
    """The imitation knows no quotas."""
    call = Account.call
    monkeypatch.setattr(
        Account,
        "call",
        lambda self, service, *a, **k: answer() if service == "service-quotas" else call(self, service, *a, **k),
    )


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


def test_a_group_that_lets_the_world_in_is_refused_with_the_command_that_closes_it(cloud: Cloud) -> None:
    opened = cloud.make_group("opened", cloud.vpc)
    cloud.allow(opened, IpProtocol="-1", UserIdGroupPairs=[{"GroupId": opened}])
    cloud.allow(opened, IpProtocol="tcp", FromPort=22, ToPort=22, IpRanges=[{"CidrIp": "0.0.0.0/0"}])
    cloud.allow(opened, IpProtocol="udp", FromPort=1, ToPort=9, Ipv6Ranges=[{"CidrIpv6": "::/0"}])
    first, second = sorted(texts(cloud.check(cloud.group, opened), "error"))
    assert "lets 0.0.0.0/0 reach port 22" in first
    assert "revoke-security-group-ingress" in first
    assert "lets ::/0 reach ports 1 to 9" in second
    assert "Ipv6Ranges=[{CidrIpv6=::/0}]" in second


def test_a_group_whose_members_do_not_reach_each_other_is_refused(cloud: Cloud) -> None:
    lonely = cloud.make_group("lonely", cloud.vpc)
    (only,) = texts(cloud.check(cloud.group, lonely), "error")
    assert f"authorize-security-group-ingress --group-id {lonely} --protocol -1 --source-group {lonely}" in only


def test_a_private_subnet_is_refused_unless_internal_addresses_are_used(cloud: Cloud) -> None:
    made = cloud.ec2.create_subnet(VpcId=cloud.vpc, CidrBlock="172.31.240.0/24", AvailabilityZone="us-west-2a")
    private = made["Subnet"]["SubnetId"]
    assert any("use_internal_ips" in error for error in texts(cloud.check(cloud.subnet, private), "error"))
    options = {"type: aws": "type: aws, use_internal_ips: true", cloud.subnet: private}
    assert texts(cloud.check("|".join(options), lambda match: options[match[0]]), "error") == []


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


def test_what_may_not_be_asked_is_a_warning(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> Any:
        raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": "not authorized"}}, "GetServiceQuota")

    quota(monkeypatch, refuse)
    findings = cloud.check()
    assert texts(findings, "error") == []
    assert any("could not be checked, the quota" in warning for warning in texts(findings, "warning"))


def test_a_bucket_that_is_missing_public_or_far_away_is_found(cloud: Cloud) -> None:
    assert any("aws s3 mb s3://other" in e for e in texts(cloud.check(runs="s3://other/runs"), "error"))
    cloud.s3.create_bucket(Bucket="opened", CreateBucketConfiguration={"LocationConstraint": REGION})
    assert any(
        "a block of public access to opened must exist" in e
        for e in texts(cloud.check(runs="s3://opened/runs"), "error")
    )
    boto3.client("s3", region_name="us-east-1").create_bucket(Bucket="far")
    assert any("far is in us-east-1" in w for w in texts(cloud.check(runs="s3://far/runs"), "warning"))


def test_credentials_that_are_missing_end_the_questions_at_once(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(self: Account, *_: str) -> Any:
        from botocore.exceptions import NoCredentialsError

        raise NoCredentialsError()

    monkeypatch.setattr(Account, "call", nobody)
    (only,) = texts(cloud.check(), "error")
    assert "aws configure" in only
