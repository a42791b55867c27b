"""The AWS account: whether what the cluster file names exists there, and is enough."""

from functools import partial
from typing import Any

from tuner.preflight.aws_client import IN_DOCS, Account, identity
from tuner.preflight.aws_network import check_network
from tuner.preflight.clusterfile import ClusterFile, table
from tuner.preflight.finding import Finding, error, fix_for, ok, warning

# Service quotas, in vCPUs, by the first letter of the instance type: on demand, spot.
_QUOTAS = {"G": ("L-DB2E81BA", "L-3819A6DF"), "P": ("L-417A185B", "L-7212CCBC"), "": ("L-1216C47A", "L-34B43A08")}
_QUOTA_NAMES = {"G": "G and VT", "P": "P", "": "Standard (A, C, D, H, I, M, R, T, Z)"}


def check_cloud(file: ClusterFile, runs: str | None) -> list[Finding]:
    """Ask AWS.

    Args:
        file: of provider aws.
        runs: where results will be written; a bucket is looked at if it is ``s3://BUCKET/...``.
    """
    try:
        import boto3
    except ImportError:
        return [error("", "boto3 must be installed", "pip install -c constraints.txt -e '.[aws]'")]
    region, where = file.provider.get("region"), file.where("provider", "region")
    known = boto3.Session().get_available_regions("ec2")
    if region not in known:
        return [error(where, f"must be a region of AWS, got {region!r}", fix_for(str(region), known))]
    account = Account(file=file, session=boto3.Session(region_name=region))
    first = identity(account)
    if first.severity == "error":
        return [first]
    account.add(first)
    _zones(account)
    instances: dict[str, dict[str, Any]] = {}
    for name, kind in file.node_types.items():
        keys = ("available_node_types", name, "node_config")
        config = _with_template(account, table(kind.get("node_config")), keys)
        _image(account, config, keys, instances)
        _instance(account, name, config, keys, instances)
        check_network(account, config, keys)
        _names(account, name, config, keys)
    _quotas(account, instances)
    if runs is not None and runs.startswith("s3://"):
        _bucket(account, runs.removeprefix("s3://").partition("/")[0], runs)
    unique: dict[tuple[str, ...], Finding] = {}
    for finding in account.findings:  # node types share groups and images: once, where it stands first
        unique.setdefault((finding.severity, finding.what, finding.fix), finding)
    return list(unique.values())


def _zones(account: Account) -> None:
    where = account.file.where("provider", "availability_zone")
    answer = account.ask(where, "the zones", "", lambda: account.client("ec2").describe_availability_zones())
    if answer is not None:
        known = [zone["ZoneName"] for zone in answer["AvailabilityZones"]]
        wrong = [zone for zone in account.zones if zone not in known]
        account.add(*(error(where, f"no zone {zone!r} in this region", fix_for(zone, known)) for zone in wrong))


def _with_template(account: Account, config: dict[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    """As Ray does: what the node type says goes before what its launch template says."""
    template = table(config.get("LaunchTemplate"))
    if not template:
        return config
    named = {key: template[key] for key in ("LaunchTemplateId", "LaunchTemplateName") if key in template}
    version = str(template.get("Version", "$Default"))
    answer = account.ask(
        account.file.where(*keys, "LaunchTemplate"),
        f"launch template {next(iter(named.values()), '')}",
        IN_DOCS,
        lambda: account.client("ec2").describe_launch_template_versions(**named, Versions=[version]),
    )
    if answer is None or not answer["LaunchTemplateVersions"]:
        return config
    data: dict[str, Any] = answer["LaunchTemplateVersions"][0]["LaunchTemplateData"]
    return data | config


def _image(account: Account, config: dict[str, Any], keys: tuple[str, ...], seen: dict[str, dict[str, Any]]) -> None:
    image, where = str(config.get("ImageId", "")), account.file.where(*keys, "ImageId")
    if image.startswith("resolve:ssm:"):
        parameter = image.removeprefix("resolve:ssm:")
        fix = "correct the name of the parameter; it begins with /aws/service/ for images of AWS"
        ssm = account.ask(
            where, f"parameter {parameter}", fix, lambda: account.client("ssm").get_parameter(Name=parameter)
        )
        if ssm is None:
            return
        image = ssm["Parameter"]["Value"]
    if not image:
        return
    fix = "images have another name in each region; docs/cluster.md has the command that finds it"
    answer = account.ask(where, f"image {image}", fix, lambda: account.client("ec2").describe_images(ImageIds=[image]))
    if answer is None:
        return
    if not answer["Images"]:
        account.add(error(where, f"image {image} must exist in this region", fix))
        return
    architecture = answer["Images"][0].get("Architecture")
    known = _describe(account, str(config.get("InstanceType")), keys, seen)
    fitting = table(known.get("ProcessorInfo")).get("SupportedArchitectures", [architecture])
    if architecture not in fitting:
        what = f"image {image} is for {architecture}, but {config.get('InstanceType')} is {', '.join(fitting)}"
        account.add(error(where, what, "choose an image for this kind of processor"))


def _describe(account: Account, name: str, keys: tuple[str, ...], seen: dict[str, dict[str, Any]]) -> dict[str, Any]:
    if name not in seen:
        answer = account.ask(
            account.file.where(*keys, "InstanceType"),
            f"instance type {name}",
            "choose one that this region has",
            lambda: account.client("ec2").describe_instance_types(InstanceTypes=[name]),
        )
        found = answer["InstanceTypes"] if answer else []
        seen[name] = found[0] if found else {}
    return seen[name]


def _instance(
    account: Account, name: str, config: dict[str, Any], keys: tuple[str, ...], seen: dict[str, dict[str, Any]]
) -> None:
    instance, where = str(config.get("InstanceType")), account.file.where(*keys, "InstanceType")
    known = _describe(account, instance, keys, seen)
    if not known:
        return
    gpus = sum(gpu["Count"] for gpu in table(known.get("GpuInfo")).get("Gpus", []))
    told = table(account.file.node_types[name].get("resources")).get("GPU", 0)
    if isinstance(told, int | float) and told > gpus:
        where_told = account.file.where("available_node_types", name, "resources", "GPU")
        account.add(error(where_told, f"{instance} has {gpus} GPUs, got {told}", f"set it to {gpus}"))
    answer = account.ask(
        where,
        f"offers of {instance}",
        "",
        lambda: account.client("ec2").describe_instance_type_offerings(
            LocationType="availability-zone", Filters=[{"Name": "instance-type", "Values": [instance]}]
        ),
    )
    if answer is None:
        return
    offered = sorted(offer["Location"] for offer in answer["InstanceTypeOfferings"])
    lacking = [zone for zone in account.zones if zone not in offered]
    if not offered or (account.zones and len(lacking) == len(account.zones)):
        zones = ", ".join(account.zones) or "this region"
        fix = f"choose a zone that has it: {', '.join(offered) or 'none here; another region or type'}"
        account.add(error(where, f"{instance} must be offered in {zones}, but is not", fix))
    elif lacking:
        account.add(warning(where, f"{instance} is not offered in {', '.join(lacking)}"))


def _names(account: Account, kind: str, config: dict[str, Any], keys: tuple[str, ...]) -> None:
    if key := config.get("KeyName"):
        account.ask(
            account.file.where(*keys, "KeyName"),
            f"key pair {key}",
            "aws ec2 describe-key-pairs lists those of the region",
            lambda: account.client("ec2").describe_key_pairs(KeyNames=[key]),
        )
    profile = table(config.get("IamInstanceProfile"))
    if not profile and kind == account.file.config.get("head_node_type"):
        what = "has no IamInstanceProfile, so Ray makes a role that may do everything with EC2 and S3"
        account.add(warning(account.file.where(*keys), what, IN_DOCS))
    name = profile.get("Name") or str(profile.get("Arn", "")).rpartition("/")[2]
    if name:
        account.ask(
            account.file.where(*keys, "IamInstanceProfile"),
            f"instance profile {name}",
            IN_DOCS,
            lambda: account.client("iam").get_instance_profile(InstanceProfileName=name),
        )


def _quotas(account: Account, instances: dict[str, dict[str, Any]]) -> None:
    """Cores that may run at once, against those of the largest cluster that the file allows."""
    most = account.file.config.get("max_workers")
    limit = most if isinstance(most, int) else 2
    wanted: dict[tuple[str, bool], list[tuple[int, int]]] = {}
    for kind in account.file.worker_types.values():
        config = table(kind.get("node_config"))
        instance = str(config.get("InstanceType"))
        cpus = table(instances.get(instance, {}).get("VCpuInfo")).get("DefaultVCpus")
        letter = instance[:1].upper().replace("V", "G")
        spot = table(config.get("InstanceMarketOptions")).get("MarketType") == "spot"
        number = kind.get("max_workers", limit)
        if cpus and isinstance(number, int):
            wanted.setdefault((letter if letter in _QUOTAS else "", spot), []).append((cpus, number))
    for (letter, spot), kinds in wanted.items():
        demand, left = 0, limit
        for cpus, number in sorted(kinds, reverse=True):
            demand += cpus * min(number, left)
            left -= min(number, left)
        code, market = _QUOTAS[letter][spot], "spot" if spot else "on demand"
        name = f"the quota of {_QUOTA_NAMES[letter]} vCPUs {market} ({code})"
        where = account.file.where("max_workers")
        answer = account.ask(where, name, "look it up in the console, Service Quotas", partial(_quota, account, code))
        if answer is None:
            continue
        quota = int(answer["Quota"]["Value"])
        one = min(cpus for cpus, _ in kinds)
        region = account.file.provider.get("region")
        fix = (
            f"aws service-quotas request-service-quota-increase --service-code ec2 --quota-code {code} "
            f"--desired-value {demand} --region {region} (takes hours to days)"
        )
        if quota < one:
            account.add(error(where, f"{name} must be at least {one} for one worker, is {quota}", fix))
        elif quota < demand:
            what = f"{name} is {quota}: {quota // one} workers at most; all of them need {demand}"
            account.add(warning(where, what, fix))
        else:
            account.add(ok(f"{name}: {quota}, at most {demand} needed"))


def _quota(account: Account, code: str) -> Any:
    return account.client("service-quotas").get_service_quota(ServiceCode="ec2", QuotaCode=code)


def _bucket(account: Account, bucket: str, where: str) -> None:
    from botocore.exceptions import ClientError

    s3, region = account.client("s3"), account.file.provider.get("region")
    fix = f"aws s3 mb s3://{bucket} --region {region}"
    if account.ask(where, f"bucket {bucket}", fix, lambda: s3.head_bucket(Bucket=bucket)) is None:
        return
    location = account.ask(where, "its region", "", lambda: s3.get_bucket_location(Bucket=bucket))
    if location is not None and (location["LocationConstraint"] or "us-east-1") != region:
        what = f"{bucket} is in {location['LocationConstraint'] or 'us-east-1'}, the nodes are in {region}"
        account.add(warning(where, what, "a bucket in the same region is faster and costs no transfer"))

    def blocked() -> bool:
        try:
            answer = s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
        except ClientError as problem:
            if problem.response["Error"]["Code"] != "NoSuchPublicAccessBlockConfiguration":
                raise
            return False
        return all(answer.values())

    closed = account.ask(where, "its public access", "", blocked)
    if closed is False:
        fix = (
            f"aws s3api put-public-access-block --bucket {bucket} --public-access-block-configuration "
            "BlockPublicAcls=true,IgnorePublicAcls=true,BlockPublicPolicy=true,RestrictPublicBuckets=true"
        )
        account.add(error(where, f"{bucket} must block public access", fix))
    elif closed:
        account.add(ok(f"bucket {bucket}: there, and not public"))
