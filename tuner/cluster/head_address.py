"""What `ray up` has started: asked of the cloud, as Ray itself does."""

import contextlib
import io
import shlex
from typing import Any

from ray.autoscaler import sdk

from tuner.errors import SearchError


def find_head_node(cluster_file: str, config: dict[str, Any]) -> tuple[str, str]:
    """Address of the running head, and the key that Ray logs in with, which Ray made if the file names none.

    Raises:
        SearchError: if the cluster of this file, with this content, is not up.
    """
    output = io.StringIO()
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            # In this order: to resolve a file makes keys and roles, which must not happen where no cluster is up.
            address = sdk.get_head_node_ip(config)
            key = config["auth"].get("ssh_private_key") or sdk.bootstrap_config(config)["auth"]["ssh_private_key"]
    except (Exception, SystemExit) as error:
        text = " ".join(str(error).split()) or " ".join(output.getvalue().split())[-300:]
        raise SearchError(
            f"the cluster of {cluster_file} must be up, but its head is not to be found: {text}; "
            f"start it with: ray up {shlex.quote(cluster_file)}"
        ) from error
    return str(address), str(key)
