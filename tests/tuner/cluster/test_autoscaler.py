"""Which node type the autoscaler starts: Ray's own choice among types, ours where the cloud refused one."""

from functools import partial
from typing import Any

import pytest
from ray.autoscaler._private.node_provider_availability_tracker import NodeProviderAvailabilityTracker
from ray.autoscaler._private.resource_demand_scheduler import get_nodes_for
from ray.autoscaler.node_launch_exception import NodeLaunchException

from tuner.cluster.autoscaler import prefer_available

pytestmark = pytest.mark.ray
NODE = {"resources": {"CPU": 4, "GPU": 1}, "max_workers": 4}
TYPES = {
    "head": {"resources": {"CPU": 0, "GPU": 0}, "max_workers": 0},
    "gpu1": NODE,
    "gpu2": NODE,
    "gpu3-two": {"resources": {"CPU": 8, "GPU": 2}, "max_workers": 4},
}


def chosen(demands: list[dict[str, Any]], *refused: str, **launched_before: str) -> dict[str, int]:
    tracker = NodeProviderAvailabilityTracker(timer=lambda: 0, ttl=1800)
    for name in refused:
        tracker.update_node_availability(
            name, 0, NodeLaunchException("InsufficientInstanceCapacity", "none left", None)
        )
    for name in launched_before.values():
        tracker.update_node_availability(name, 0, None)
    scorer: Any = partial(prefer_available, node_availability_summary=tracker.summary())
    launch, _ = get_nodes_for(TYPES, {}, "head", 4, demands, scorer)
    return dict(launch)


def test_of_equal_types_the_first_by_name_is_started() -> None:
    assert chosen([{"GPU": 1}]) == {"gpu1": 1}
    assert chosen([{"GPU": 1}], again="gpu2") == {"gpu1": 1}


def test_a_type_that_the_cloud_refused_gives_way_to_the_next() -> None:
    assert chosen([{"GPU": 1}], "gpu1") == {"gpu2": 1}


def test_when_all_are_refused_the_first_is_tried_again() -> None:
    assert chosen([{"GPU": 1}], "gpu1", "gpu2", "gpu3-two") == {"gpu1": 1}


def test_what_fits_better_still_goes_first() -> None:
    assert chosen([{"GPU": 2}]) == {"gpu3-two": 1}
    assert chosen([{"GPU": 1}, {"GPU": 1}]) == {"gpu3-two": 1}


def test_what_fits_nowhere_starts_nothing() -> None:
    assert chosen([{"GPU": 3}]) == {}


def test_cluster_files_of_users_find_the_scorer_under_its_old_name() -> None:
    from tuner import nodetypes

    assert nodetypes.prefer_available is prefer_available
