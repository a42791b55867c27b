"""Subnets and security groups: closed to the world, open to the nodes."""

from collections.abc import Iterator
from typing import Any

from tuner.preflight.aws_client import IN_DOCS, Account
from tuner.preflight.finding import Finding, error, unless_found

_WORLD = ("0.0.0.0/0", "::/0")


def check_network(account: Account, config: dict[str, Any], keys: tuple[str, ...]) -> None:
    """Of one node type.

    Args:
        account: is told what was found.
        config: the node type's, with its launch template.
        keys: where it stands in the file.
    """
    ec2, provider = account.client("ec2"), account.file.provider
    networks: dict[str, set[str]] = {"subnets": set(), "groups": set()}
    subnets, where = config.get("SubnetIds"), account.file.where(*keys, "SubnetIds")
    if isinstance(subnets, list) and subnets:
        answer = account.ask(where, "subnets", IN_DOCS, lambda: ec2.describe_subnets(SubnetIds=subnets))
        for subnet in answer["Subnets"] if answer else []:
            networks["subnets"].add(subnet["VpcId"])
            zone = subnet["AvailabilityZone"]
            if account.zones and zone not in account.zones:
                fix = f"name a subnet of that zone, or add {zone} to availability_zone"
                what = f"{subnet['SubnetId']} must be in {', '.join(account.zones)}, but is in {zone}"
                account.add(error(where, what, fix))
            if not provider.get("use_internal_ips") and not subnet.get("MapPublicIpOnLaunch"):
                fix = "choose a public subnet, or reach the VPC by VPN and set provider.use_internal_ips: true"
                what = f"{subnet['SubnetId']} gives no public addresses, which `ray up` waits for"
                account.add(error(where, what, fix))
    groups, where = config.get("SecurityGroupIds"), account.file.where(*keys, "SecurityGroupIds")
    if isinstance(groups, list) and groups:
        answer = account.ask(where, "security groups", IN_DOCS, lambda: ec2.describe_security_groups(GroupIds=groups))
        if answer:
            networks["groups"] = {group["VpcId"] for group in answer["SecurityGroups"]}
            found = _groups(answer["SecurityGroups"], where)
            account.add(*unless_found(list(found), f"{', '.join(groups)}: closed to the world, open to itself"))
    if networks["subnets"] and networks["groups"] and networks["subnets"] != networks["groups"]:
        fix = "name subnets and groups of one VPC"
        account.add(error(where, "group and subnet must be in one VPC, but are in two", fix))


def _groups(groups: list[dict[str, Any]], where: str) -> Iterator[Finding]:
    """Ingress of a node: of all its groups together, by address; from itself."""
    own = {group["GroupId"] for group in groups}
    inside = False
    for group in groups:
        for rule in group["IpPermissions"]:
            ranges = [r.get("CidrIp") or r.get("CidrIpv6") for r in (*rule["IpRanges"], *rule.get("Ipv6Ranges", []))]
            first, last = rule.get("FromPort"), rule.get("ToPort")
            ports = "every port" if first is None else f"port {first}" if first == last else f"ports {first} to {last}"
            for world in (address for address in ranges if address in _WORLD):
                fix = (
                    f"aws ec2 revoke-security-group-ingress --group-id {group['GroupId']} --ip-permissions "
                    f"'IpProtocol={rule['IpProtocol']}"
                    + (f",FromPort={rule['FromPort']},ToPort={rule['ToPort']}" if "FromPort" in rule else "")
                    + (f",Ipv6Ranges=[{{CidrIpv6={world}}}]'" if ":" in world else f",IpRanges=[{{CidrIp={world}}}]'")
                    + "; allow port 22 from your own address instead"
                )
                what = f"{group['GroupId']} must be closed to the world, but lets {world} reach {ports}"
                yield error(where, what, fix)
            members = own & {pair["GroupId"] for pair in rule.get("UserIdGroupPairs", [])}
            everything = rule["IpProtocol"] == "-1" or (rule.get("FromPort", 1) <= 1024 and rule.get("ToPort") == 65535)
            inside = inside or bool(members and everything)
    if not inside:
        group = groups[0]["GroupId"]
        fix = f"aws ec2 authorize-security-group-ingress --group-id {group} --protocol -1 --source-group {group}"
        yield error(where, f"{', '.join(sorted(own))} must let its members reach each other on all ports", fix)
