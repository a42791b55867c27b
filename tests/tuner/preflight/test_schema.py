"""Keys and values that Ray would take for something else, find late or never."""

import pytest

from tests.tuner.preflight.stand_ins import Check, CheckMistake

pytestmark = pytest.mark.ray


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (r"(?m)^max_workers: 4", "max_workers: 4\nmax_workers: 8", r"max_workers \(line \d+\): must stand once.*line"),
        (r"(?m)^max_workers:", "max_worker:", r"max_worker \(line \d+\):.* did you mean 'max_workers'"),
        (r"(?m)^max_workers: 4", "max_workers: four", r"max_workers \(line \d+\): .*'four' is not of type 'integer'"),
        (r"cache_stopped_nodes", "cache_stoped_nodes", r"provider.cache_stoped_nodes.*'cache_stopped_nodes'"),
        (
            r"region: us-west-2",
            "region: us-west-2\n    availability_zones: a",
            r"provider.availability_zones .*'availability_zone'",
        ),
        (r"type: aws", "type: awz", r"provider.type .*no provider 'awz' -> did you mean 'aws'"),
        (r"ssh_user:", "ssh_username:", r"auth.ssh_username .*did you mean 'ssh_user'"),
        (r"(?m)^( +)min_workers:", r"\1minworkers:", r"available_node_types.[\w-]+.minworkers .*'min_workers'"),
        (r"GPU: 1", "GPUs: 1", r"resources.GPUs .*did you mean 'GPU'"),
    ],
)
def test_a_mistake_is_found_with_its_fix(old: str, new: str, expected: str, check_mistake: CheckMistake) -> None:
    check_mistake(old, new, expected)


def test_values_left_to_change_are_named(check: Check, real: str) -> None:
    status, found = check(real.replace("LaunchTemplate: {LaunchTemplateName: crystune-head}", "ImageId: ami-CHANGE"))
    assert status == 2
    assert any("ImageId (line" in error and "ami-CHANGE" in error for error in found["error"])


def test_what_only_ray_refuses_is_told_in_its_words(check: Check, real: str) -> None:
    _, found = check(real.replace("max_workers: 4  ", "docker: {image: x}\nmax_workers: 4  ", 1))
    assert any("Ray refuses it: " in error for error in found["error"])
