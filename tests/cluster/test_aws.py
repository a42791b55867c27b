"""`cluster.yaml` itself, on a pretended AWS whose instances are lab hosts: what it makes, and what a reclaim costs."""

import json
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.cluster.cloud import HOME, PROJECT, Cloud, Instance
from tests.cluster.faults import file_figures
from tests.cluster.lab import ROOT
from tests.tuner.drive import Plan

pytestmark = [pytest.mark.lab, pytest.mark.ray, pytest.mark.slow]
RUN = f"{HOME}/runs/night"
TRAINED = "/mnt/shared/trained.jsonl"
"""A line for each epoch that any worker trained; for the test only, the search shares no folder."""
EPOCHS, TRIALS = 12, 6


def in_the_lab(config: dict[str, Any]) -> dict[str, Any]:
    """All that must differ from the real file."""
    config["auth"]["ssh_user"] = "root"  # the one user of a lab host
    config["provider"]["use_internal_ips"] = True  # the lab has no public addresses
    config["setup_commands"] = [
        command for command in config["setup_commands"] if "pip" not in command
    ]  # they see ours
    config["worker_setup_commands"] = []  # no GPU to list
    config["idle_timeout_minutes"] = 0.3
    return config


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """An account with the stack of deploy/aws.yaml, and a launcher with what `make wheel` makes; nothing runs yet."""
    with Cloud(tmp_path_factory.mktemp("cloud")) as cloud:
        cloud.aws(
            "cloudformation",
            "create_stack",
            StackName="crystune",
            TemplateBody=(ROOT / "deploy" / "aws.yaml").read_text(),
            Capabilities=["CAPABILITY_IAM"],
            Parameters=[{"ParameterKey": "MyAddress", "ParameterValue": "203.0.113.7/32"}],
        )
        project = cloud.lab.path("launcher", PROJECT)
        (project / "dist").mkdir()
        (project / "dist" / "constraints.txt").touch()
        config = in_the_lab(yaml.safe_load((ROOT / "cluster.yaml").read_text(encoding="utf-8")))
        (project / "cluster.yaml").write_text(yaml.safe_dump(config))
        cloud.ray("get-auth-token", "--generate")
        cloud.lab.path("launcher", f"{HOME}/.ray/auth_token").chmod(0o600)
        yield cloud


def described(cloud: Cloud) -> dict[str, dict[str, Any]]:
    answer = cloud.aws("ec2", "describe_instances")["Reservations"]
    return {instance["InstanceId"]: instance for group in answer for instance in group["Instances"]}


def submit(cloud: Cloud, head: Instance) -> None:
    """A search with trainings that only take time, detached, on the head."""
    plan = Plan(
        folder=RUN,
        trials=TRIALS,
        max_epochs=EPOCHS,
        concurrency=2,
        sampler="random",
        asha=False,
        address="auto",
        gpus_per_trial=1.0,
        factory={"seconds_per_epoch": 1.0, "side_log": TRAINED},
    )
    cloud.lab.path(head.host, f"{HOME}/plan.json").write_text(plan.as_json())
    search = f'{HOME}/venv/bin/python -u -m tests.tuner.drive "$(cat {HOME}/plan.json)"'
    detached = f"cd {HOME}; RAY_AUTH_MODE=token nohup setsid {search} > search.log 2>&1 < /dev/null & sleep 1"
    cloud.ray("exec", "cluster.yaml", detached)


class Search:
    """The run folder on the head, seen from outside."""

    def __init__(self, cloud: Cloud, head: Instance) -> None:
        self._cloud = cloud
        self._head = head

    def status(self) -> str:
        path = self._cloud.lab.path(self._head.host, f"{RUN}/run.json")
        return str(json.loads(path.read_text())["status"]) if path.exists() else "not begun"

    def epochs(self) -> dict[str, list[int]]:
        """The epochs of each trial, in the order of the log."""
        path = self._cloud.lab.path(self._head.host, f"{RUN}/epochs.jsonl")
        found: dict[str, list[int]] = {}
        for line in path.read_text().splitlines() if path.exists() else []:
            entry = json.loads(line)
            if "epoch" in entry:
                found.setdefault(entry["key"], []).append(entry["epoch"])
        return found

    def log(self) -> str:
        return self._cloud.lab.path(self._head.host, f"{HOME}/search.log").read_text()


def test_the_cluster_file_survives_a_night_on_aws(cloud: Cloud, capsys: pytest.CaptureFixture[str]) -> None:
    """One story, since each step needs the one before: up, search, no capacity, reclaim, recovery, idle, down."""
    figures: dict[str, float] = {}
    start = time.monotonic()
    cloud.ray("up", "-y", "cluster.yaml", "--no-config-cache")
    figures["ray up"] = time.monotonic() - start
    (head,) = cloud.running()
    assert head.type == "m6i.large"
    assert not cloud.running("g"), "nobody asked for a GPU yet"

    # The first worker is of the first type; then AWS has no more of it.
    submit(cloud, head)
    search = Search(cloud, head)
    figures["first worker asked for"] = cloud.wait("a spot worker", lambda: bool(cloud.running("g")), 60)
    assert {worker.type for worker in cloud.running("g")} == {"g6.xlarge"}
    figures["first epoch after that"] = cloud.wait("an epoch", lambda: any(search.epochs().values()), 90)
    check_what_runs(cloud)
    cloud.sell_out("g6.xlarge")

    # Reclaim: AWS gives no more than its notice, which nobody listens to; then the machine is gone.
    cloud.wait("two trials at work", lambda: sum(map(bool, search.epochs().values())) >= 2, 60)
    victim = cloud.running("g6")[0]
    before = search.epochs()
    cloud.aws("ec2", "terminate_instances", InstanceIds=[victim.id])
    start = time.monotonic()
    cloud.wait("another type in its place", lambda: bool(cloud.running("g5")), 90)
    figures["replacement launched after"] = time.monotonic() - start
    cloud.wait("that worker in Ray", lambda: "gpu2-g5" in active_nodes(cloud, head), 90)
    figures["replacement in Ray after"] = time.monotonic() - start
    refused = [request for request in cloud.requests() if request["refused"]]
    assert refused
    assert {request["type"] for request in refused} == {"g6.xlarge"}

    # Recovery: every trial has every epoch; at most the one in progress was trained twice.
    cloud.wait("the end of the search", lambda: search.status() in ("done", "failed") or "rror" in search.log(), 180)
    assert search.status() == "done", search.log()
    after = search.epochs()
    assert len(after) == TRIALS
    assert all(epochs == list(range(1, EPOCHS + 1)) for epochs in after.values()), after
    assert all(after[name][: len(epochs)] == epochs for name, epochs in before.items())
    trained = cloud.lab.path("launcher", TRAINED).read_text().splitlines()
    again = len(trained) - TRIALS * EPOCHS
    assert 0 <= again <= 1
    assert "it goes on after epoch" in search.log(), search.log()

    # Idle nodes go away by themselves; `ray down` ends the head; nothing is left.
    figures["idle workers gone after"] = cloud.wait("idle workers to go", lambda: not cloud.running("g"), 90)
    check_that_the_head_may_do_what_it_did(cloud, head)
    start = time.monotonic()
    cloud.ray("down", "-y", "cluster.yaml")
    figures["ray down"] = time.monotonic() - start
    states = {instance["State"]["Name"] for instance in described(cloud).values()}
    assert states == {"terminated"}
    cloud.wait("the hosts to go off", lambda: not any(instance.on for instance in cloud.instances.values()), 20)
    assert not any("ray" in command.split()[0] for command in cloud.lab.processes("launcher").values())
    with capsys.disabled():
        print("\n" + "\n".join(f"    {what:28} {seconds:5.1f} s" for what, seconds in figures.items()))
        print(f"    {'epochs trained twice':28} {again:3d}")
    shown = {f"{what} s": round(seconds, 1) for what, seconds in figures.items()}
    file_figures("spot node taken back (pretended AWS)", {**shown, "epochs retrained": again})


def active_nodes(cloud: Cloud, head: Instance) -> str:
    status = cloud.lab.exec(head.host, f"{HOME}/venv/bin/ray", "status", environment={"RAY_AUTH_MODE": "token"})
    return status.stdout.partition("Active:")[2].partition("Pending:")[0]


def check_what_runs(cloud: Cloud) -> None:
    """Groups, roles, disks, metadata, tags and markets, as AWS tells them."""
    for group in cloud.aws("ec2", "describe_security_groups")["SecurityGroups"]:
        ranges = [allowed["CidrIp"] for rule in group["IpPermissions"] for allowed in rule["IpRanges"]]
        assert set(ranges) <= {"203.0.113.7/32"}, group["GroupName"]
    roles = [role["RoleName"] for role in cloud.aws("iam", "list_roles")["Roles"]]
    assert all("HeadRole" in name or "WorkerRole" in name for name in roles), "Ray made one of its own"
    image = {instance["ImageId"] for instance in described(cloud).values()}
    assert len(image) == 1
    for instance in described(cloud).values():
        is_head = instance["InstanceType"] == "m6i.large"
        profile = "HeadProfile" if is_head else "WorkerProfile"
        assert profile in instance["IamInstanceProfile"]["Arn"]
        assert instance.get("InstanceLifecycle", "on-demand") == ("on-demand" if is_head else "spot")
        assert [group["GroupName"].partition("-Group")[0] for group in instance["SecurityGroups"]] == ["crystune"]
        tags = {tag["Key"]: tag["Value"] for tag in instance["Tags"]}
        assert tags["ray-cluster-name"] == "crystune"
        assert tags["ray-node-type"] == ("head" if is_head else "worker")
    volumes = cloud.aws("ec2", "describe_volumes")["Volumes"]
    assert volumes
    assert all(volume["Encrypted"] for volume in volumes)
    launches = [request for request in cloud.requests() if request["action"] == "RunInstances"]
    assert all(launch["imdsv2"] for launch in launches), "the metadata service must demand tokens"


def check_that_the_head_may_do_what_it_did(cloud: Cloud, head: Instance) -> None:
    """moto lets everybody do everything; the role of the head must allow what the head asked for."""
    asked = {f"{r['service']}:{r['action']}" for r in cloud.requests() if r["from"] == head.address}
    assert {"ec2:RunInstances", "ec2:TerminateInstances", "ec2:CreateTags", "ec2:DescribeInstances"} <= asked
    template = (ROOT / "deploy" / "aws.yaml").read_text()
    policy = re.split(r"\n {4}(?=\w+:\n)", template)
    (role,) = [part for part in policy if part.startswith("HeadRole:")]
    assert all(action in role for action in asked if not action.startswith("s3:")), asked
