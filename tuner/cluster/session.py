"""A running Ray: one of our own on this machine, or that of a cluster; its nodes, and what its autoscaler shall add."""

import contextlib
import logging
import os
import secrets
import shutil
import socket
import sys
from pathlib import Path
from typing import Any

import ray
from ray.autoscaler.sdk import request_resources
from ray.exceptions import AuthenticationError

from graphdb.cpus import usable_cpus
from graphdb.errors import first_line
from tuner.cluster import ray_private
from tuner.cluster.ask_nodes import alive_nodes, check_nodes
from tuner.cluster.resources import Resources
from tuner.cluster.temporary import remove_stale_folders, temporary_folder
from tuner.errors import SearchError

_ENVIRONMENT = {
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # the user's relative paths stay right in the workers
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_memory_monitor_refresh_ms": "0",  # its kill ends Tune's loop; after one by the kernel the search goes on
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # what Ray itself recommends; without it a warning on each worker
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_SCHEDULER_EVENTS": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # no second copy of every result in CSV, JSON and TensorBoard
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # ours ends at once: the state is on disk already
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_MAX_PENDING_TRIALS_PG": "1000",  # worker processes that start at a time; by default one after the other
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",  # Tune's own snapshots are never read: the study on disk is the truth
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # we print the first, and keep all
    "TUNE_FORCE_TRIAL_CLEANUP_S": "1",
    "TUNE_WARN_THRESHOLD_S": "60",
}
_WORKER_ENVIRONMENT = {
    # What a worker returns is sent at once. Above 100 kB, Ray would leave it in the memory of the worker's node until
    # it is asked for: with that node it would be lost, and Tune's loop ends when a result is lost.
    "RAY_max_direct_call_object_size": str(1 << 30),
}
_MAX_REQUESTED = 1000
_ANSWER_SECONDS = 10.0
"""In which a Ray must accept a connection."""
_SOCKET = "/ray/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store"
_LONGEST_FOLDER = (103 if sys.platform == "darwin" else 107) - len(_SOCKET)
"""In bytes, of the path around Ray's folder: that of a socket has at most so many."""
_SILENT: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL, "configure_logging": False}
_ROOT = str(Path(__file__).resolve().parents[2])


class Cluster:
    """A running Ray: of our own on this machine, or one that is there already."""

    def __init__(self, address: str | None, *, data_bytes: int = 0) -> None:
        """Prepare; nothing starts before ``with``.

        Args:
            address: of a running Ray ("auto" finds the one of this node); None starts one of our own.
            data_bytes: size of what all workers share.
        """
        self._address = address
        self._data_bytes = data_bytes
        self._temp: str | None = None
        self._asked_for: int | None = None
        self._environment: dict[str, str | None] = {}
        self._hooks = contextlib.ExitStack()

    def __enter__(self) -> "Cluster":
        """Start or connect; a SearchError if no Ray answers at the address."""
        environment = dict(_ENVIRONMENT)
        if self._address is None:  # the workers find this very package, also where it is not installed
            paths = [_ROOT, os.environ.get("PYTHONPATH", "")]
            environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
            # Ray's own way is to write a token that all may read to ~/.ray/auth_token, where that of clusters lies.
            environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        self._environment = {name: os.environ.get(name) for name in environment}
        os.environ.update(environment)
        for name in ("ray", "ray.tune", "ray.train"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        ray_private.keep_nodes_silent()
        remove_stale_folders()
        try:
            if self._address is None:
                self._start()
            else:
                self._connect(self._address)
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self) -> None:
        ray_private.read_token_again()
        # Ray opens its folder to everyone; the one around it stays closed.
        self._temp = temporary_folder("ray", longest=_LONGEST_FOLDER)
        self._hooks.enter_context(ray_private.plain_workers())
        with ray_private.few_processes(), ray_private.impatient():
            ray.init(
                "local",  # whatever else runs here, and whatever RAY_ADDRESS names
                num_cpus=usable_cpus(),
                include_dashboard=False,
                object_store_memory=max(100_000_000, 3 * self._data_bytes),
                _temp_dir=f"{self._temp}/ray",
                job_config=ray_private.ours_first(_ROOT),
                **_SILENT,
            )

    def _connect(self, address: str) -> None:
        try:
            _check_that_it_answers(address)
            ray.init(address=address, runtime_env={"env_vars": _WORKER_ENVIRONMENT}, **_SILENT)
        except (OSError, RuntimeError, ValueError, AuthenticationError) as error:
            raise SearchError(
                f"--address must name a running Ray, got {address!r}: {first_line(error)}; "
                "start one with `ray start --head`, or leave --address out"
            ) from error

    def __exit__(self, *_: object) -> None:
        """Stop or disconnect, and clean up."""
        if self._asked_for:
            self.ask_for_nothing()
        ray.shutdown()
        self._hooks.close()
        if self._temp is not None:
            shutil.rmtree(self._temp, ignore_errors=True)
        for name in self._environment:
            os.environ.pop(name, None)
        os.environ.update({name: value for name, value in self._environment.items() if value is not None})
        ray_private.read_token_again()

    def restart(self) -> None:
        """End all that runs."""
        self.__exit__()
        self.__enter__()

    def nodes(self) -> list[Resources]:
        """What each living node has."""
        return [
            Resources(cpus=node["Resources"].get("CPU", 0.0), gpus=node["Resources"].get("GPU", 0.0))
            for node in alive_nodes()
        ]

    def check_versions(self) -> None:
        """Ask every node; a SearchError names those whose Python, Ray, torch or crystune differs from ours."""
        check_nodes()

    def ask_for(self, spec: Resources, count: int) -> None:
        """Have the autoscaler, where there is one, start nodes for this many trainings.

        Tune alone would ask for one training after the other, and so for one node after the other.
        """
        wanted = min(count, _MAX_REQUESTED)
        if self._address is None or wanted == self._asked_for:
            return
        with contextlib.suppress(Exception):  # not every cluster has an autoscaler, and a search does without
            request_resources(bundles=[spec.as_bundle()] * wanted)
        self._asked_for = wanted

    def ask_for_nothing(self) -> None:
        """Withdraw what was asked for, also by a driver that was killed: the autoscaler may stop idle nodes."""
        self.ask_for(Resources(cpus=1, gpus=0), 0)


def _check_that_it_answers(address: str) -> None:
    """Raise at once; Ray itself tries for ever to reach one that is gone, as after a restart of the machine."""
    if "://" in address:
        return
    found = ray_private.resolved_address(address)
    host, _, port = found.rpartition(":")
    if not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_SECONDS).close()
    except OSError as error:
        raise ConnectionError(f"nothing answers at {found}") from error
    reason = ray_private.refusal(found)
    if reason is not None and "auth" in reason.lower():
        raise ConnectionError(f"the one at {found} takes another token than ours, as one that a search started itself")
    if reason is not None:
        raise ConnectionError(f"what answers at {found} is no Ray that works ({reason})")
