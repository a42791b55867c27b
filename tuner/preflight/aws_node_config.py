"""`node_config` of provider aws, by the description of EC2 that ships with botocore: no network, no credentials."""

import functools
import re
from collections.abc import Iterator
from typing import Any

from tuner.preflight.clusterfile import ClusterFile, Keys, table
from tuner.preflight.finding import Finding, error, fix_for, unless_found, warning

_ADDED_BY_RAY = ("SubnetIds",)
_SET_BY_RAY = ("MinCount", "MaxCount")
_TYPES: dict[str, tuple[type | tuple[type, ...], str]] = {
    "string": (str, "text"),
    "integer": (int, "a whole number"),
    "long": (int, "a whole number"),
    "double": ((int, float), "a number"),
    "float": ((int, float), "a number"),
    "boolean": (bool, "true or false"),
    "structure": (dict, "a table"),
    "map": (dict, "a table"),
    "list": (list, "a list"),
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


def check_node_configs(file: ClusterFile) -> list[Finding]:
    """Keys, types, enumerations and identifiers inside each `node_config`."""
    if not file.is_aws:
        return []
    try:
        shape = _run_instances()
    except ImportError:
        fix = "pip install -c constraints.txt -e '.[aws]'; `ray up` needs it too"
        return [error("", "node_config cannot be checked without boto3", fix)]
    findings = []
    for name, kind in file.node_types.items():
        keys = ("available_node_types", name, "node_config")
        config = {key: value for key, value in table(kind.get("node_config")).items() if key not in _ADDED_BY_RAY}
        found = [*_compare(shape, config, keys, file), *_identifiers(kind, keys, file)]
        findings += [finding for finding in found if finding not in findings]
    return unless_found(findings, "node_config is as EC2's RunInstances wants it")


def check_security(file: ClusterFile) -> list[Finding]:
    """Nothing open to the world, nothing unencrypted, a head that stays."""
    if not file.is_aws:
        return []
    findings = []
    for name, kind in file.node_types.items():
        keys = ("available_node_types", name, "node_config")
        config = table(kind.get("node_config"))
        if not any(config.get(key) for key in ("LaunchTemplate", "SecurityGroupIds", "NetworkInterfaces")):
            fix = "LaunchTemplate: {LaunchTemplateName: crystune-worker}, which deploy/aws.yaml makes (docs/cluster.md)"
            what = (
                "must name a group, by a launch template: the group that Ray makes lets the whole world reach port 22"
            )
            findings.append(error(file.where(*keys), what, fix))
        if table(config.get("MetadataOptions")).get("HttpTokens") != "required":
            fix = "MetadataOptions: {HttpTokens: required, HttpEndpoint: enabled}"
            what = "should demand tokens of whoever asks for the node's credentials"
            findings.append(warning(file.where(*keys), what, fix))
        disks = config.get("BlockDeviceMappings")
        disks = [table(table(disk).get("Ebs")) for disk in disks] if isinstance(disks, list) else []
        if not disks or not all(disk.get("Encrypted") for disk in disks):
            fix = "add Encrypted: true under Ebs"
            findings.append(warning(file.where(*keys), "should have encrypted disks", fix))
        if not disks or any(isinstance(size := disk.get("VolumeSize"), int) and size < 40 for disk in disks):
            fix = "VolumeSize: 100"
            what = "should have disks of 40 GB or more: a deep-learning image and torch take 30"
            findings.append(warning(file.where(*keys), what, fix))
        if name == file.config.get("head_node_type") and config.get("InstanceMarketOptions"):
            fix = "remove InstanceMarketOptions of the head; it costs little"
            what = "should be on demand: a head that AWS takes back ends the search until you resume it"
            findings.append(warning(file.where(*keys, "InstanceMarketOptions"), what, fix))
    return unless_found(findings, "own security group, encrypted disks, metadata tokens, head on demand")


def check_resources(file: ClusterFile) -> list[Finding]:
    """What Ray is told each node has, against what the instance type has."""
    if not file.is_aws:
        return []
    findings = []
    for name, kind in file.node_types.items():
        instance = str(table(kind.get("node_config")).get("InstanceType", ""))
        resources = table(kind.get("resources"))
        is_head = name == file.config.get("head_node_type")
        for resource, has in (("GPU", gpus_of(instance)), ("CPU", cpus_of(instance))):
            told = resources.get(resource)
            where = file.where("available_node_types", name, "resources", resource)
            if has is None or isinstance(told, bool) or not isinstance(told, (int, float)):
                continue
            if told > has:
                what = f"must be at most the {has} that {instance} has, got {told}"
                severity = error if resource == "GPU" else warning
                findings.append(severity(where, what, f"set it to {has}, or choose another InstanceType"))
            elif told < has and not is_head:
                findings.append(warning(where, f"{told}, but {instance} has {has}", f"set it to {has} to use all"))
            option = f"--num-{resource.lower()}s"
            started = file.start_option("head" if is_head else "worker", option)
            same_types = is_head or len(file.worker_types) == 1
            if same_types and started is not None and started.isdigit() and int(started) != told:
                what = f"must agree with {option}={started} of the start command, got {told}"
                findings.append(error(where, what, "set both to one number, or leave the option out"))
        if not is_head and gpus_of(instance) == 0:
            where = file.where("available_node_types", name, "node_config", "InstanceType")
            findings.append(warning(where, f"{instance} has no GPU: training will be slow", "g6.xlarge has one"))
    return unless_found(findings, "CPUs and GPUs are those of the instance types")


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


def _compare(shape: Any, value: Any, keys: Keys, file: ClusterFile) -> Iterator[Finding]:
    if shape.type_name not in _TYPES:  # times and bytes: botocore reads several forms
        return
    wanted, word = _TYPES[shape.type_name]
    fits = isinstance(value, wanted) and (shape.type_name == "boolean" or not isinstance(value, bool))
    if not fits:
        yield error(file.where(*keys), f"must be {word}, got {value!r}", f"write it as {word}")
        return
    if shape.type_name == "structure":
        for name, inner in value.items():
            if name in shape.members:
                yield from _compare(shape.members[name], inner, (*keys, name), file)
            else:
                fix = fix_for(str(name), shape.members)
                yield error(file.where(*keys, name), f"is no key of EC2's {shape.name}: {name!r}", fix)
        for name in shape.required_members:
            if name not in value and name not in _SET_BY_RAY:
                yield error(file.where(*keys), f"must have {name}", f"add {name}")
    elif shape.type_name == "list":
        for index, inner in enumerate(value):
            yield from _compare(shape.member, inner, (*keys, index), file)
    elif shape.type_name == "string" and shape.enum and value not in shape.enum:
        fix = fix_for(value, shape.enum)
        if shape.name == "InstanceType":
            fix += " If it is newer than your botocore: pip install -U boto3"
        yield error(file.where(*keys), f"must be a value of EC2's {shape.name}, got {value!r}", fix)


def _identifiers(kind: dict[str, Any], keys: Keys, file: ClusterFile) -> Iterator[Finding]:
    config = table(kind.get("node_config"))
    for name in ("ImageId", "InstanceType"):
        if name not in config and "LaunchTemplate" not in config:
            yield error(file.where(*keys), f"must have {name}", f"add {name}")
    for name, (pattern, example) in _IDENTIFIERS.items():
        values = config.get(name, [])
        if name.endswith("Ids") and not isinstance(values, list):
            yield error(file.where(*keys, name), f"must be a list, got {values!r}", f"write [{values}]")
            continue
        for value in values if isinstance(values, list) else [values]:
            if isinstance(value, str) and "CHANGE" not in value and not re.fullmatch(pattern, value):
                yield error(file.where(*keys, name), f"must look like {example}, got {value!r}", "copy it again")
