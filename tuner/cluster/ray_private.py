"""All that is taken from Ray beyond its documented interface, each with what depends on it.

A new version of Ray may change any of it without notice. So pyproject.toml admits only the versions that the tests
passed on, no other file imports private modules of Ray, and tests/tuner/cluster/test_ray_private.py says what breaks.
They are imported inside the functions, because commands answer mistakes before ray is loaded, which takes a second.
"""

import contextlib
import copy
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ray.job_config import JobConfig

_START_SECONDS = 30.0
"""After which Ray itself says what is wrong."""


def resolved_address(address: str) -> str:
    """The ``host:port`` that `ray.init` would connect to, empty if there is none; for "auto", of this node's Ray."""
    from ray._private import services

    return services.canonicalize_bootstrap_address(address) or ""


def refusal(address: str) -> str | None:
    """Why the Ray at ``host:port`` refuses this process; None if it does not.

    `ray.init` would try twenty times, and print a line each time. Ray's C++ code prints to the descriptor itself.
    """
    sys.stderr.flush()
    stderr = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        _raylet().GcsClient(address=address)
    except Exception as error:  # noqa: BLE001 - which one it is, is not documented either
        return " ".join(str(error).split()) or type(error).__name__
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
    return None


def keep_nodes_silent() -> None:
    """Keep off the screen what nodes print through this process whatever the log level.

    There is no public switch: RAY_DEDUP_LOGS_SKIP_REGEX is read when ray is imported.
    """
    from ray._private import ray_logging

    for deduplicator in (ray_logging.stdout_deduplicator, ray_logging.stderr_deduplicator):
        deduplicator.skip_re = re.compile("")


@contextlib.contextmanager
def few_processes() -> Iterator[None]:
    """Have `ray.init` start, for a Ray of one machine, only what such a one uses.

    Left out are three Python processes that cost 3 s of CPU time: the autoscaler, which has nothing to start, the
    reader of logs, which nobody wants to see, and the server of a dashboard that is switched off.
    """
    from ray._private import node

    class Small(node.Node):
        def __init__(self, ray_params: Any, **settings: Any) -> None:
            ray_params.no_monitor = True
            ray_params.include_log_monitor = False
            super().__init__(ray_params, **settings)

        def start_api_server(self, **settings: Any) -> None:
            pass

    with _replaced(node, "Node", Small):
        yield


@contextlib.contextmanager
def impatient() -> Iterator[None]:
    """Have `ray.init` see at once that its node is there, which takes a good second: Ray looks once a second."""
    from ray import _private

    private: Any = _private  # half of which has no types
    services, state = private.services, private.state
    theirs = services.get_node

    def get_node(gcs_address: str, node_id: str) -> Any:
        nodes: Any = state.GlobalState()
        nodes._initialize_global_state(services._get_gcs_client_options(gcs_address))
        deadline = time.monotonic() + _START_SECONDS
        while all(node["NodeID"] != node_id for node in nodes.node_table()) and time.monotonic() < deadline:
            time.sleep(0.02)
        return theirs(gcs_address, node_id)

    with _replaced(services, "get_node", get_node):
        yield


@contextlib.contextmanager
def _replaced(owner: object, name: str, value: object) -> Iterator[None]:
    theirs = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, theirs)


def read_token_again() -> None:
    """Have Ray in this process read RAY_AUTH_MODE and RAY_AUTH_TOKEN again, as it did when it was imported."""
    _raylet().Config.initialize("")
    _raylet().AuthenticationTokenLoader.instance().reset_cache()


def _raylet() -> Any:
    """Ray's extension module, most of which its type stub leaves out."""
    from ray import _raylet

    return _raylet


@contextlib.contextmanager
def plain_workers() -> Iterator[None]:
    """Have Tune start workers without an environment of their own; they inherit that of the Ray they belong to.

    Otherwise Ray has a first Python start a bash that starts the worker: twice the time, and where there is no bash on
    the PATH, or a blank in that of the Python, no worker ever starts, and a search waits silently. Of no use on a
    cluster, where workers inherit from another machine.
    """
    import ray
    from ray.tune.execution import class_cache

    def get(self: Any, trainable: Any) -> Any:
        if trainable not in self._cache:
            self._cache[trainable] = ray.remote(trainable)
        return self._cache[trainable]

    with _replaced(class_cache._ActorClassCache, "get", get):
        yield


def ours_first(root: str) -> "JobConfig":
    """A configuration for `ray.init` with which workers look for modules in `root` before all other places.

    Ray has them look into the driver's current folder first, where a ``model.py`` of the user's would be taken for our
    package. Of the folders in its list the last one is looked into first, and it puts its own at the end. Of no use on
    a cluster, where each node has its own copy of our packages, which `tuner.cluster.ask_nodes` compares with this one.
    """
    from ray.job_config import JobConfig

    class _Folders(list[str]):
        def extend(self, others: Iterable[str]) -> None:
            self[:0] = others

    return JobConfig(_py_driver_sys_path=_Folders([root]))


def utilization_scorer() -> Callable[..., tuple[Any, ...] | None]:
    """Ray's own: the higher a node type's tuple, the better it fits what waits; None if nothing fits."""
    from ray.autoscaler._private.resource_demand_scheduler import _default_utilization_scorer

    return _default_utilization_scorer


def validate_cluster_config(config: dict[str, Any]) -> None:
    """Validate the content of a cluster file as `ray up` does; may raise and print anything."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(copy.deepcopy(config)))


def start_options() -> frozenset[str]:
    """The options of ``ray start``, such as ``--num-gpus``."""
    from ray.scripts.scripts import start

    return frozenset(name for option in start.params for name in (*option.opts, *option.secondary_opts))
