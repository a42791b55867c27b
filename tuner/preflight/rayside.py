"""What only Ray itself knows: whether it accepts the file."""

import contextlib
import io
import logging

from tuner.cluster.ray_private import validate_cluster_config
from tuner.preflight.clusterfile import ClusterFile
from tuner.preflight.finding import Finding, error, ok


def check_by_ray(file: ClusterFile) -> list[Finding]:
    """Ray's own validation; `ray up` stops at the first thing that it finds."""
    printed = io.StringIO()
    logging.disable(logging.WARNING)  # it would tell what it fills in
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            validate_cluster_config(file.config)
    except (Exception, SystemExit) as problem:  # noqa: BLE001 - it raises whatever its code runs into
        lines = [line for line in f"{printed.getvalue()}\n{problem}".splitlines() if line.strip()]
        reason = lines[0].strip() if lines else type(problem).__name__
        return [error(str(file.path), f"Ray refuses it: {reason}", "see the comments in cluster.yaml")]
    finally:
        logging.disable(logging.NOTSET)
    return [ok("Ray's own validation accepts it")]
