"""Subnets and security groups: closed to the world, open to the nodes."""

from collections.abc import Iterator
from typing import Any

from tuner.cluster.cluster_file import NodeType
from tuner.preflight.aws_client import IN_DOCS, Account
from tuner.preflight.finding import Finding, error, ok

_WORLD = ("0.0.0.0/0", "::/0")


def check_network(account: Account, kind: NodeType, config: dict[str, Any]) -> None:
    """Of one node type, whose config is given with what its launch template says."""
    subnets, where = _described(account, kind, config, "SubnetIds", "subnets")
    account.add(*(finding for subnet in subnets for finding in _subnet(account, subnet, where)))
    groups, where = _described(account, kind, config, "SecurityGroupIds", "security groups")
    if groups:
        names = ", ".join(config["SecurityGroupIds"])
        account.add(*(list(_groups(groups, where)) or [ok(f"{names}: closed to the world, open to itself")]))
    networks = [{found["VpcId"] for found in these} for these in (subnets, groups)]
    if all(networks) and networks[0] != networks[1]:
        fix = "name subnets and groups of one VPC"
        account.add(error(where, "group and subnet must be in one VPC, but are in two", fix))


def _described(
    account: Account, kind: NodeType, config: dict[str, Any], key: str, what: str
) -> tuple[list[dict[str, Any]], str]:
    """What EC2 says of the subnets or groups of a node type, and where they stand in the file."""
    names, where = config.get(key), kind.where("node_config", key)
    if not isinstance(names, list) or not names:
        return [], where
    operation, argument = f"describe_{what.replace(' ', '_')}", key.replace("SecurityGroup", "Group")
    answer = account.ask(where, what, IN_DOCS, "ec2", operation, **{argument: names})
    return answer.get(what.title().replace(" ", ""), []), where


def _subnet(account: Account, subnet: dict[str, Any], where: str) -> Iterator[Finding]:
    name, zone = subnet["SubnetId"], subnet["AvailabilityZone"]
    if account.zones and zone not in account.zones:
        fix = f"name a subnet of that zone, or add {zone} to availability_zone"
        yield error(where, f"{name} must be in {', '.join(account.zones)}, but is in {zone}", fix)
    if not account.file.provider.get("use_internal_ips") and not subnet.get("MapPublicIpOnLaunch"):
        fix = "choose a public subnet, or reach the VPC by VPN and set provider.use_internal_ips: true"
        yield error(where, f"{name} gives no public addresses, which `ray up` waits for", fix)


def _groups(groups: list[dict[str, Any]], where: str) -> Iterator[Finding]:
    """Ingress of a node: of all its groups together, by address; from itself."""
    own = {group["GroupId"] for group in groups}
    inside = False
    for group, rule in ((these["GroupId"], rule) for these in groups for rule in these["IpPermissions"]):
        protocol, first, last = rule["IpProtocol"], rule.get("FromPort"), rule.get("ToPort")
        ranges = [r.get("CidrIp") or r.get("CidrIpv6") for r in (*rule["IpRanges"], *rule.get("Ipv6Ranges", []))]
        ports = "every port" if first is None else f"port {first}" if first == last else f"ports {first} to {last}"
        for world in (address for address in ranges if address in _WORLD):
            limits = "" if first is None else f",FromPort={first},ToPort={last}"
            source = f"Ipv6Ranges=[{{CidrIpv6={world}}}]" if ":" in world else f"IpRanges=[{{CidrIp={world}}}]"
            fix = (
                f"aws ec2 revoke-security-group-ingress --group-id {group} --ip-permissions "
                f"'IpProtocol={protocol}{limits},{source}'; allow port 22 from your own address instead"
            )
            yield error(where, f"{group} must be closed to the world, but lets {world} reach {ports}", fix)
        members = own & {pair["GroupId"] for pair in rule.get("UserIdGroupPairs", [])}
        everything = protocol == "-1" or (rule.get("FromPort", 1) <= 1024 and last == 65535)
        inside = inside or bool(members and everything)
    if not inside:
        group = groups[0]["GroupId"]
        fix = f"aws ec2 authorize-security-group-ingress --group-id {group} --protocol -1 --source-group {group}"
        yield error(where, f"{', '.join(sorted(own))} must let its members reach each other on all ports", fix)
