"""Which Ray a search uses: an address that nothing usable answers at is refused in one line, before Ray hangs."""

import socket
from typing import Any

import pytest
import ray._private.utils

from tuner.cluster.session import _ENVIRONMENT, _LONGEST_FOLDER, Cluster
from tuner.errors import SearchError

RAY: Any = ray._private.utils  # without types


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ConnectionError("Could not find any running Ray instance.\nAnd more."), "Could not find any running Ray .*"),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_an_address_without_a_ray_behind_it_is_refused_in_a_line(
    error: OSError, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("tuner.cluster.ray_private.resolved_address", nobody)
    with pytest.raises(SearchError, match=f"must name a running Ray, got 'auto': {reason}; start one with") as told:
        Cluster("auto").__enter__()
    assert "\n" not in str(told.value)


def test_processes_start_side_by_side_also_without_a_number_to_run_at_a_time() -> None:
    assert int(_ENVIRONMENT["TUNE_MAX_PENDING_TRIALS_PG"]) >= 800


def test_an_address_that_a_dead_ray_left_behind_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray itself would try for ever."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.setattr("tuner.cluster.ray_private.resolved_address", lambda _: f"127.0.0.1:{port}")
    with pytest.raises(SearchError, match=f"got 'auto': nothing answers at 127.0.0.1:{port}"):
        Cluster("auto").__enter__()


@pytest.mark.ray
def test_the_longest_temporary_folder_leaves_space_for_rays_sockets() -> None:
    assert len("/tmp/crystune-ray-4194304-abcdefgh") <= _LONGEST_FOLDER
    folder = "/" + "x" * (_LONGEST_FOLDER - 1)
    RAY.validate_socket_filepath(f"{folder}/ray/session_2026-11-27_23-52-11_726354_4194304/sockets/plasma_store")
