"""`node_config` of provider aws, by the description of EC2 that ships with botocore: no network, no credentials."""

import functools
import re
from collections.abc import Iterator
from typing import Any

from tuner.cluster.cluster_file import ClusterFile, NodeType, table
from tuner.preflight.finding import Finding, error, fix_for, otherwise, warning

_ADDED_BY_RAY = ("SubnetIds",)
_SET_BY_RAY = ("MinCount", "MaxCount")
_WORDS: dict[str, tuple[tuple[type, ...], str]] = {
    "string": ((str,), "text"),
    **dict.fromkeys(("integer", "long"), ((int,), "a whole number")),
    **dict.fromkeys(("double", "float"), ((int, float), "a number")),
    "boolean": ((bool,), "true or false"),
    **dict.fromkeys(("structure", "map"), ((dict,), "a table")),
    "list": ((list,), "a list"),
}
_IDENTIFIERS = {
    "ImageId": (r"ami-[0-9a-f]{8,17}|resolve:ssm:.+", "ami-0123456789abcdef0 or resolve:ssm:/aws/service/..."),
    "SecurityGroupIds": (r"sg-[0-9a-f]{8,17}", "sg-0123456789abcdef0"),
    "SubnetIds": (r"subnet-[0-9a-f]{8,17}", "subnet-0123456789abcdef0"),
}
# GPUs of an instance by family and size; of families where every size below has one, that one. AWS, 2026.
_GPUS = {
    "g4dn": {"12xlarge": 4, "24xlarge": 4, "48xlarge": 8, "metal": 8},
    "g5": {"12xlarge": 4, "24xlarge": 4, "48xlarge": 8, "metal": 8},
    "g6": {"12xlarge": 4, "24xlarge": 4, "48xlarge": 8},
    "g6e": {"12xlarge": 4, "24xlarge": 4, "48xlarge": 8},
    "p3": {"8xlarge": 4, "16xlarge": 8},
    "p4d": {"24xlarge": 8},
    "p4de": {"24xlarge": 8},
    "p5": {"48xlarge": 8},
}
_SIZES_CPUS = {"large": 2, "xlarge": 4}  # and Nxlarge: 4 N
_STEM_WITHOUT_GPU = re.compile(r"[acmrtxz]\d")


@otherwise("node_config is as EC2's RunInstances wants it")
def check_node_configs(file: ClusterFile) -> Iterator[Finding]:
    """Keys, types, enumerations and identifiers inside each `node_config`."""
    try:
        shape = _run_instances()
    except ImportError:
        fix = "pip install -c constraints.txt -e '.[aws]'; `ray up` needs it too"
        yield error("", "node_config cannot be checked without boto3", fix)
        return
    for kind in file.node_types:
        config = {key: value for key, value in kind.config.items() if key not in _ADDED_BY_RAY}
        yield from _compare(shape, config, kind, ())
        yield from _identifiers(kind)


@otherwise("own security group, encrypted disks, metadata tokens, head on demand")
def check_security(file: ClusterFile) -> Iterator[Finding]:
    """Nothing open to the world, nothing unencrypted, a head that stays."""
    for kind in file.node_types:
        config, where = kind.config, kind.where("node_config")
        if not any(config.get(key) for key in ("LaunchTemplate", "SecurityGroupIds", "NetworkInterfaces")):
            what = (
                "must name a group, by a launch template: the group that Ray makes lets the whole world reach port 22"
            )
            fix = "LaunchTemplate: {LaunchTemplateName: crystune-worker}, which deploy/aws.yaml makes (docs/cluster.md)"
            yield error(where, what, fix)
        if table(config.get("MetadataOptions")).get("HttpTokens") != "required":
            fix = "MetadataOptions: {HttpTokens: required, HttpEndpoint: enabled}"
            yield warning(where, "should demand tokens of whoever asks for the node's credentials", fix)
        mappings = config.get("BlockDeviceMappings")
        disks = [table(table(disk).get("Ebs")) for disk in mappings] if isinstance(mappings, list) else []
        if not disks or not all(disk.get("Encrypted") for disk in disks):
            yield warning(where, "should have encrypted disks", "add Encrypted: true under Ebs")
        if not disks or any(isinstance(size := disk.get("VolumeSize"), int) and size < 40 for disk in disks):
            what = "should have disks of 40 GB or more: a deep-learning image and torch take 30"
            yield warning(where, what, "VolumeSize: 100")
        if kind.is_head and config.get("InstanceMarketOptions"):
            what = "should be on demand: a head that AWS takes back ends the search until you resume it"
            fix = "remove InstanceMarketOptions of the head; it costs little"
            yield warning(kind.where("node_config", "InstanceMarketOptions"), what, fix)


@otherwise("CPUs and GPUs are those of the instance types")
def check_resources(file: ClusterFile) -> Iterator[Finding]:
    """What Ray is told each node has, against what the instance type has."""
    for kind in file.node_types:
        instance = str(kind.config.get("InstanceType", ""))
        for resource, has in (("GPU", gpus_of(instance)), ("CPU", cpus_of(instance))):
            told = table(kind.options.get("resources")).get(resource)
            where = kind.where("resources", resource)
            if has is None or isinstance(told, bool) or not isinstance(told, (int, float)):
                continue
            if told > has:
                severity = error if resource == "GPU" else warning
                fix = f"set it to {has}, or choose another InstanceType"
                yield severity(where, f"must be at most the {has} that {instance} has, got {told}", fix)
            elif told < has and not kind.is_head:
                yield warning(where, f"{told}, but {instance} has {has}", f"set it to {has} to use all")
            option = f"--num-{resource.lower()}s"
            started = file.start_option("head" if kind.is_head else "worker", option) or ""
            alone = kind.is_head or len(file.worker_types) == 1
            if alone and started.isdigit() and int(started) != told:
                fix = "set both to one number, or leave the option out"
                yield error(where, f"must agree with {option}={started} of the start command, got {told}", fix)
        if not kind.is_head and gpus_of(instance) == 0:
            where = kind.where("node_config", "InstanceType")
            yield warning(where, f"{instance} has no GPU: training will be slow", "g6.xlarge has one")


def gpus_of(instance: str) -> int | None:
    """Number of NVIDIA GPUs of an instance type; None if this table does not know it."""
    family, _, size = instance.partition(".")
    if family in _GPUS:
        return _GPUS[family].get(size, 1)
    return 0 if _STEM_WITHOUT_GPU.match(family) else None


def cpus_of(instance: str) -> int | None:
    """Number of vCPUs of an instance type, by the rule that nearly all follow; None where it may be wrong."""
    family, _, size = instance.partition(".")
    multiple = re.fullmatch(r"(\d+)xlarge", size)
    if family.startswith(("p", "t")):
        return None
    return 4 * int(multiple[1]) if multiple else _SIZES_CPUS.get(size)


@functools.cache
def _run_instances() -> Any:
    import botocore.session

    return botocore.session.get_session().get_service_model("ec2").operation_model("RunInstances").input_shape


def _compare(shape: Any, value: Any, kind: NodeType, keys: tuple[str | int, ...]) -> Iterator[Finding]:
    """A value below `node_config` against the shape that botocore says it has."""
    if shape.type_name not in _WORDS:  # times and bytes: botocore reads several forms
        return
    where, (types, word) = kind.where("node_config", *keys), _WORDS[shape.type_name]
    fits = isinstance(value, types) and (bool in types or not isinstance(value, bool))
    if not fits:
        yield error(where, f"must be {word}, got {value!r}", f"write it as {word}")
    elif shape.type_name == "structure":
        for name, inner in value.items():
            if name in shape.members:
                yield from _compare(shape.members[name], inner, kind, (*keys, name))
            else:
                fix = fix_for(str(name), shape.members)
                yield error(kind.where("node_config", *keys, name), f"is no key of EC2's {shape.name}: {name!r}", fix)
        for name in (name for name in shape.required_members if name not in (*value, *_SET_BY_RAY)):
            yield error(where, f"must have {name}", f"add {name}")
    elif shape.type_name == "list":
        for index, inner in enumerate(value):
            yield from _compare(shape.member, inner, kind, (*keys, index))
    elif value not in (getattr(shape, "enum", None) or [value]):
        newer = " If it is newer than your botocore: pip install -U boto3" if shape.name == "InstanceType" else ""
        what = f"must be a value of EC2's {shape.name}, got {value!r}"
        yield error(where, what, fix_for(value, shape.enum) + newer)


def _identifiers(kind: NodeType) -> Iterator[Finding]:
    config = kind.config
    for name in ("ImageId", "InstanceType"):
        if name not in config and "LaunchTemplate" not in config:
            yield error(kind.where("node_config"), f"must have {name}", f"add {name}")
    for name, (pattern, example) in _IDENTIFIERS.items():
        values, where = config.get(name, []), kind.where("node_config", name)
        if name.endswith("Ids") and not isinstance(values, list):
            yield error(where, f"must be a list, got {values!r}", f"write [{values}]")
            continue
        for value in values if isinstance(values, list) else [values]:
            if isinstance(value, str) and "CHANGE" not in value and not re.fullmatch(pattern, value):
                yield error(where, f"must look like {example}, got {value!r}", "copy it again")
