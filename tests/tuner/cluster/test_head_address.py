"""The head of a cluster that `ray up` has started: its address and key, or a line that says how to start it."""

from typing import Any

import pytest
from ray.autoscaler import sdk

from tuner.cluster.head_address import find_head_node
from tuner.errors import SearchError


def test_a_key_that_the_file_names_is_not_asked_of_the_cloud(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sdk, "get_head_node_ip", lambda config: "10.0.0.1")
    assert find_head_node("cluster.yaml", {"auth": {"ssh_private_key": "~/key.pem"}}) == ("10.0.0.1", "~/key.pem")


def test_the_key_that_ray_made_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sdk, "get_head_node_ip", lambda config: "10.0.0.1")
    monkeypatch.setattr(sdk, "bootstrap_config", lambda config: {"auth": {"ssh_private_key": "~/.ssh/ray.pem"}})
    assert find_head_node("cluster.yaml", {"auth": {}}) == ("10.0.0.1", "~/.ssh/ray.pem")


@pytest.mark.parametrize(
    ("error", "reason"),
    [(RuntimeError("Head node\nnot found"), "Head node not found"), (SystemExit(), "printed before it gives up")],
)
def test_a_cluster_that_is_not_up_is_answered_with_how_to_start_it(
    error: BaseException, reason: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(config: Any) -> str:
        print("printed before it gives up")
        raise error

    monkeypatch.setattr(sdk, "get_head_node_ip", fail)
    with pytest.raises(SearchError, match=rf"its head is not to be found: {reason}; start it with: ray up 'my .*yaml'"):
        find_head_node("my cluster.yaml", {})
    assert capsys.readouterr().out == ""
