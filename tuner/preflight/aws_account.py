"""The AWS account: whether what the cluster file names exists there, and is enough."""

from typing import Any

from tuner.cluster.cluster_file import ClusterFile, NodeType, table
from tuner.preflight.aws_client import IN_DOCS, Account
from tuner.preflight.aws_network import check_network
from tuner.preflight.finding import Finding, error, fix_for, ok, warning

# Service quotas, in vCPUs, by the first letter of the instance type: on demand, spot.
_QUOTAS = {"G": ("L-DB2E81BA", "L-3819A6DF"), "P": ("L-417A185B", "L-7212CCBC"), "": ("L-1216C47A", "L-34B43A08")}
_QUOTA_NAMES = {"G": "G and VT", "P": "P", "": "Standard (A, C, D, H, I, M, R, T, Z)"}


def check_account(file: ClusterFile, runs: str | None) -> list[Finding]:
    """Ask AWS, also about the bucket of `runs`, where results will be written, if it is ``s3://BUCKET/...``."""
    try:
        import boto3
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError:
        return [error("", "boto3 must be installed", "pip install -c constraints.txt -e '.[aws]'")]
    region, where = file.provider.get("region"), file.where("provider", "region")
    known = boto3.Session().get_available_regions("ec2")
    if region not in known:
        return [error(where, f"must be a region of AWS, got {region!r}", fix_for(str(region), known))]
    account = Account(file=file, session=boto3.Session(region_name=region))
    try:
        account.add(ok(f"logged in as {account.call('sts', 'get_caller_identity')['Arn']}"))
    except (BotoCoreError, ClientError) as problem:
        return [error("", f"AWS must accept your credentials, but: {problem}", "aws configure, or aws sso login")]
    _zones(account)
    for kind in file.node_types:
        config = _with_template(account, kind)
        _image(account, kind, config)
        _instance(account, kind, str(config.get("InstanceType")))
        check_network(account, kind, config)
        _names(account, kind, config)
    _quotas(account)
    if runs is not None and runs.startswith("s3://"):
        _bucket(account, runs.removeprefix("s3://").partition("/")[0], runs)
    return account.findings


def _zones(account: Account) -> None:
    where = account.file.where("provider", "availability_zone")
    answer = account.ask(where, "the zones", "", "ec2", "describe_availability_zones")
    if answer:
        known = [zone["ZoneName"] for zone in answer["AvailabilityZones"]]
        wrong = [zone for zone in account.zones if zone not in known]
        account.add(*(error(where, f"no zone {zone!r} in this region", fix_for(zone, known)) for zone in wrong))


def _with_template(account: Account, kind: NodeType) -> dict[str, Any]:
    """As Ray does: what the node type says goes before what its launch template says."""
    template = table(kind.config.get("LaunchTemplate"))
    if not template:
        return kind.config
    where = kind.where("node_config", "LaunchTemplate")
    named = {key: template[key] for key in ("LaunchTemplateId", "LaunchTemplateName") if key in template}
    what, versions = f"launch template {next(iter(named.values()), '')}", [str(template.get("Version", "$Default"))]
    answer = account.ask(where, what, IN_DOCS, "ec2", "describe_launch_template_versions", **named, Versions=versions)
    found: list[dict[str, Any]] = answer.get("LaunchTemplateVersions", [])
    return (found[0]["LaunchTemplateData"] if found else {}) | kind.config


def _image(account: Account, kind: NodeType, config: dict[str, Any]) -> None:
    image, where = str(config.get("ImageId", "")), kind.where("node_config", "ImageId")
    if image.startswith("resolve:ssm:"):
        name = image.removeprefix("resolve:ssm:")
        fix = "correct the name of the parameter; it begins with /aws/service/ for images of AWS"
        answer = account.ask(where, f"parameter {name}", fix, "ssm", "get_parameter", Name=name)
        image = answer["Parameter"]["Value"] if answer else ""
    fix = "images have another name in each region; docs/cluster.md has the command that finds it"
    answer = account.ask(where, f"image {image}", fix, "ec2", "describe_images", ImageIds=[image]) if image else {}
    if answer and not answer["Images"]:
        account.add(error(where, f"image {image} must exist in this region", fix))
    if not answer.get("Images"):
        return
    architecture, instance = answer["Images"][0].get("Architecture"), str(config.get("InstanceType"))
    known = account.instance_type(instance, kind.where("node_config", "InstanceType"))
    fitting = table(known.get("ProcessorInfo")).get("SupportedArchitectures", [architecture])
    if architecture not in fitting:
        what = f"image {image} is for {architecture}, but {instance} is {', '.join(fitting)}"
        account.add(error(where, what, "choose an image for this kind of processor"))


def _instance(account: Account, kind: NodeType, instance: str) -> None:
    where = kind.where("node_config", "InstanceType")
    known = account.instance_type(instance, where)
    if not known:
        return
    gpus = sum(gpu["Count"] for gpu in table(known.get("GpuInfo")).get("Gpus", []))
    told = table(kind.options.get("resources")).get("GPU", 0)
    if isinstance(told, int | float) and told > gpus:
        too_many = f"{instance} has {gpus} GPUs, got {told}"
        account.add(error(kind.where("resources", "GPU"), too_many, f"set it to {gpus}"))
    asked = {"LocationType": "availability-zone", "Filters": [{"Name": "instance-type", "Values": [instance]}]}
    answer = account.ask(where, f"offers of {instance}", "", "ec2", "describe_instance_type_offerings", **asked)
    if not answer:
        return
    offered = sorted(offer["Location"] for offer in answer["InstanceTypeOfferings"])
    lacking = [zone for zone in account.zones if zone not in offered]
    if not offered or (account.zones and len(lacking) == len(account.zones)):
        zones = ", ".join(account.zones) or "this region"
        fix = f"choose a zone that has it: {', '.join(offered) or 'none here; another region or type'}"
        account.add(error(where, f"{instance} must be offered in {zones}, but is not", fix))
    elif lacking:
        account.add(warning(where, f"{instance} is not offered in {', '.join(lacking)}"))


def _names(account: Account, kind: NodeType, config: dict[str, Any]) -> None:
    if key := config.get("KeyName"):
        where, fix = kind.where("node_config", "KeyName"), "aws ec2 describe-key-pairs lists those of the region"
        account.ask(where, f"key pair {key}", fix, "ec2", "describe_key_pairs", KeyNames=[key])
    profile = table(config.get("IamInstanceProfile"))
    if not profile and kind.is_head:
        what = "has no IamInstanceProfile, so Ray makes a role that may do everything with EC2 and S3"
        account.add(warning(kind.where("node_config"), what, IN_DOCS))
    if name := profile.get("Name") or str(profile.get("Arn", "")).rpartition("/")[2]:
        where, what = kind.where("node_config", "IamInstanceProfile"), f"instance profile {name}"
        account.ask(where, what, IN_DOCS, "iam", "get_instance_profile", InstanceProfileName=name)


def _quotas(account: Account) -> None:
    """Cores that may run at once, against those of the largest cluster that the file allows."""
    most, where = account.file.config.get("max_workers"), account.file.where("max_workers")
    limit = most if isinstance(most, int) else 2
    wanted: dict[tuple[str, bool], list[tuple[int, int]]] = {}
    for kind in account.file.worker_types:
        instance = str(kind.config.get("InstanceType"))
        cpus = table(account.instance_types.get(instance, {}).get("VCpuInfo")).get("DefaultVCpus")
        letter = instance[:1].upper().replace("V", "G")
        spot = table(kind.config.get("InstanceMarketOptions")).get("MarketType") == "spot"
        number = kind.options.get("max_workers", limit)
        if cpus and isinstance(number, int):
            wanted.setdefault((letter if letter in _QUOTAS else "", spot), []).append((cpus, number))
    for (letter, spot), kinds in wanted.items():
        demand, left = 0, limit
        for cpus, number in sorted(kinds, reverse=True):
            demand += cpus * min(number, left)
            left -= min(number, left)
        code = _QUOTAS[letter][spot]
        name = f"the quota of {_QUOTA_NAMES[letter]} vCPUs {'spot' if spot else 'on demand'} ({code})"
        asked, fix = {"ServiceCode": "ec2", "QuotaCode": code}, "look it up in the console, Service Quotas"
        answer = account.ask(where, name, fix, "service-quotas", "get_service_quota", **asked)
        if answer:
            account.add(_quota(account, where, name, code, int(answer["Quota"]["Value"]), demand, min(kinds)[0]))


def _quota(account: Account, where: str, name: str, code: str, quota: int, demand: int, one: int) -> Finding:
    """Whether a quota is enough for one worker, and for all that the file allows."""
    fix = (
        f"aws service-quotas request-service-quota-increase --service-code ec2 --quota-code {code} "
        f"--desired-value {demand} --region {account.file.provider.get('region')} (takes hours to days)"
    )
    if quota < one:
        return error(where, f"{name} must be at least {one} for one worker, is {quota}", fix)
    if quota < demand:
        return warning(where, f"{name} is {quota}: {quota // one} workers at most; all of them need {demand}", fix)
    return ok(f"{name}: {quota}, at most {demand} needed")


def _bucket(account: Account, bucket: str, where: str) -> None:
    region = account.file.provider.get("region")
    fix = f"aws s3 mb s3://{bucket} --region {region}"
    if not account.ask(where, f"bucket {bucket}", fix, "s3", "head_bucket", Bucket=bucket):
        return
    answer = account.ask(where, "its region", "", "s3", "get_bucket_location", Bucket=bucket)
    there = (answer["LocationConstraint"] or "us-east-1") if answer else region
    if there != region:
        what = f"{bucket} is in {there}, the nodes are in {region}"
        account.add(warning(where, what, "a bucket in the same region is faster and costs no transfer"))
    fix = (
        f"aws s3api put-public-access-block --bucket {bucket} --public-access-block-configuration "
        "BlockPublicAcls=true,IgnorePublicAcls=true,BlockPublicPolicy=true,RestrictPublicBuckets=true"
    )
    what = f"a block of public access to {bucket}"
    answer = account.ask(where, what, fix, "s3", "get_public_access_block", Bucket=bucket)
    if answer and all(answer["PublicAccessBlockConfiguration"].values()):
        account.add(ok(f"bucket {bucket}: there, and not public"))
    elif answer:
        account.add(error(where, f"{bucket} must block public access", fix))
