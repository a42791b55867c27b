"""What the tests of preflight share: how findings are read, and an AWS account in this process."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest

from tuner.cluster.cluster_file import read_cluster_file
from tuner.preflight.aws_account import check_account
from tuner.preflight.aws_client import Account
from tuner.preflight.finding import Finding

REGION = "us-west-2"
VENV = "/home/me/venv"
OWN_HOSTS = f"""
cluster_name: mine
provider: {{type: local, head_ip: 127.0.0.1, worker_ips: [10.0.0.2, 10.0.0.3]}}
auth: {{ssh_user: me}}
setup_commands: ["{VENV}/bin/pip install crystune.whl"]
head_start_ray_commands: ["{VENV}/bin/ray start --head --port=6380 --num-gpus=0"]
worker_start_ray_commands: ["{VENV}/bin/ray start --address=$RAY_HEAD_IP:6380 --num-gpus=1"]
"""
Check = Callable[[str], tuple[int, dict[str, list[str]]]]
"""Exit status for a file's text, and the findings by severity."""
CheckMistake = Callable[[str, str, str], None]
"""What is replaced in the file that ships, by what, and what must be found."""


def texts(findings: list[Finding], severity: str) -> list[str]:
    return [f"{f.where}: {f.what} -> {f.fix}" for f in findings if f.severity == severity]


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


def quota(monkeypatch: pytest.MonkeyPatch, answer: Callable[[], Any]) -> None:
    """The imitation knows no quotas."""
    call = Account.call
    monkeypatch.setattr(
        Account,
        "call",
        lambda self, service, *a, **k: answer() if service == "service-quotas" else call(self, service, *a, **k),
    )
