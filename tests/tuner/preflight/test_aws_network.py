"""Subnets and security groups, against an imitation of AWS in this process."""

from tests.tuner.preflight.stand_ins import Cloud, texts


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
