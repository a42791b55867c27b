"""All that is taken from Ray beyond its documented interface, each with what depends on it.

A new version of Ray may change any of it without a word. So pyproject.toml admits only the versions that the tests
passed on, no other file imports private modules of Ray, and tests/tuner/cluster/test_ray_private.py says what breaks.
"""

import contextlib
import copy
import os
import re
import sys
from collections.abc import Iterable, Iterator
from typing import Any


def resolved_address(address: str) -> str:
    """The ``host:port`` that `ray.init` would connect to, empty if there is none; for "auto", of this node's Ray.

    A search with ``--address`` knocks there first: Ray itself tries for ever.
    """
    from ray._private import services

    return services.canonicalize_bootstrap_address(address) or ""


def refusal(address: str) -> str | None:
    """Why the Ray at ``host:port`` will not have this process; None if it will.

    A search with ``--address`` asks that first: `ray.init` asks twenty times, and prints a line at each.
    """
    with _nothing_printed():
        try:
            _raylet().GcsClient(address=address)
        except Exception as error:  # noqa: BLE001 - which one it is, is not documented either
            return " ".join(str(error).split()) or type(error).__name__
    return None


@contextlib.contextmanager
def _nothing_printed() -> Iterator[None]:
    """Ray's C++ code writes to the descriptor itself."""
    sys.stderr.flush()
    ours = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(ours, 2)
        os.close(ours)
        os.close(nowhere)


def keep_nodes_silent() -> None:
    """Keep off the screen what nodes print through this process whatever the log level.

    There is no public switch: RAY_DEDUP_LOGS_SKIP_REGEX is read when ray is imported.
    """
    from ray._private import ray_logging

    ray_logging.stdout_deduplicator.skip_re = re.compile("")
    ray_logging.stderr_deduplicator.skip_re = re.compile("")


@contextlib.contextmanager
def few_processes() -> Iterator[None]:
    """Have `ray.init` start, for a Ray of one machine, only what such a one uses.

    Left out are three Python processes that cost 3 s of CPU time: the autoscaler, which has nothing to start, the
    reader of logs, which nobody wants to see, and the server of a dashboard that is switched off.
    """
    from ray._private import node

    module: Any = node
    whole = module.Node

    class Small(whole):  # type: ignore[misc, valid-type]
        def __init__(self, ray_params: Any, **settings: Any) -> None:
            ray_params.no_monitor = True
            ray_params.include_log_monitor = False
            super().__init__(ray_params, **settings)

        def start_api_server(self, **settings: Any) -> None:
            pass

    module.Node = Small
    try:
        yield
    finally:
        module.Node = whole


def read_token_again() -> None:
    """Have Ray in this process go by RAY_AUTH_MODE and RAY_AUTH_TOKEN as they are now; it read them at its import."""
    _raylet().Config.initialize("")
    _raylet().AuthenticationTokenLoader.instance().reset_cache()


def _raylet() -> Any:
    """Ray's extension module, most of which its type stub leaves out."""
    from ray import _raylet

    return _raylet


def longest_temporary_folder() -> int:
    """How many bytes the path of Ray's temporary folder may have, so that those of its sockets are not too long."""
    from ray._private.utils import validate_socket_filepath

    below = "/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store"
    for length in range(200, 0, -1):
        with contextlib.suppress(OSError):
            validate_socket_filepath("x" * length + below)
            return length
    return 0


@contextlib.contextmanager
def plain_workers() -> Iterator[None]:
    """Have Tune start workers without an environment of their own; they inherit that of the Ray they belong to.

    Otherwise Ray has a first Python start a bash that starts the worker: twice the time, and where there is no bash on
    the PATH, or a blank in that of the Python, no worker ever starts, and a search waits without a word. Of no use on
    a cluster, where workers inherit from another machine.
    """
    import ray
    from ray.tune.execution import class_cache

    def get(self: Any, trainable: Any) -> Any:
        if trainable not in self._cache:
            self._cache[trainable] = ray.remote(trainable)
        return self._cache[trainable]

    cache: Any = class_cache._ActorClassCache
    theirs = cache.get
    cache.get = get
    try:
        yield
    finally:
        cache.get = theirs


def ours_first(root: str) -> Any:
    """A configuration for `ray.init` with which workers look for modules in `root` before all other places.

    Ray has them look into the driver's current folder first, where a ``model.py`` of the user's would be taken for our
    package. Of the folders in its list the last one is looked into first, and it puts its own at the end. Of no use on
    a cluster, where each node has its own copy of our packages, which `tuner.cluster.nodes` compares with this one.
    """
    from ray.job_config import JobConfig

    class _Folders(list[str]):
        def extend(self, others: Iterable[str]) -> None:
            self[:0] = others

    return JobConfig(_py_driver_sys_path=_Folders([root]))


def utilization_score(resources: Any, demands: Any, node_type: str, *, node_availability_summary: Any) -> Any:
    """What Ray's autoscaler itself says of a node type, a tuple that sorts; None if nothing fits.

    `tuner.cluster.autoscaler`, which cluster.yaml names as the scorer, puts what the cloud refused behind it.
    """
    from ray.autoscaler._private.resource_demand_scheduler import _default_utilization_scorer

    return _default_utilization_scorer(
        resources, demands, node_type, node_availability_summary=node_availability_summary
    )


def validate_cluster_config(config: dict[str, Any]) -> None:
    """Validate the content of a cluster file as `ray up` does, for `tuner.preflight`; raises and prints anything."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(copy.deepcopy(config)))


def start_options() -> frozenset[str]:
    """The options of ``ray start``, such as ``--num-gpus``; `tuner.preflight` finds misspelled ones."""
    from ray.scripts.scripts import start

    return frozenset(name for option in start.params for name in (*option.opts, *option.secondary_opts))
