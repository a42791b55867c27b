"""Which node type the autoscaler starts next: of those that fit, one that the cloud did not just refuse.

Ray calls `prefer_available` in the head's autoscaler process (``RAY_AUTOSCALER_UTILIZATION_SCORER`` in cluster.yaml).
By itself Ray asks for the best fitting type again and again, also while the cloud has no spot capacity of that type.
"""

from typing import Any

from tuner.cluster.ray_private import utilization_scorer


def prefer_available(
    node_resources: dict[str, Any],
    demands: list[dict[str, Any]],
    node_type: str,
    *,
    node_availability_summary: Any,
) -> tuple[Any, ...] | None:
    """Score a node type; Ray starts the type of the highest score.

    Args:
        node_resources: what a node of the type has, such as CPU, GPU, memory in bytes.
        demands: what waits for a place.
        node_type: its name in the cluster file. Of types that fit equally well, the first by name wins.
        node_availability_summary: Ray's record of the last launch of each type; it forgets after half an hour.

    Returns:
        None if nothing of the demands fits on such a node.
    """
    fit = utilization_scorer()(node_resources, demands, node_type, node_availability_summary=node_availability_summary)
    if fit is None:
        return None
    last_launch = node_availability_summary.node_availabilities.get(node_type)
    refused = last_launch is not None and not last_launch.is_available
    return (not refused, *fit, tuple(-ord(letter) for letter in node_type))
