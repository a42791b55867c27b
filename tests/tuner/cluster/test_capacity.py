"""How many trials run at a time, and waiting for nodes."""

from typing import Any

import pytest

from tuner.cluster.capacity import ExecutionOptions, find_capacity, num_fitting
from tuner.cluster.resources import Resources
from tuner.errors import SearchError


def node(cpus: float, gpus: float = 0.0) -> Resources:
    return Resources(cpus=cpus, gpus=gpus)


class FakeCluster:
    """Nodes as they come, one list a look."""

    def __init__(self, *looks: list[Resources]) -> None:
        self._looks = list(looks)
        self.asked: list[tuple[Resources, int]] = []

    def nodes(self) -> list[Resources]:
        return self._looks.pop(0) if len(self._looks) > 1 else self._looks[0]

    def check_versions(self) -> None:
        self.checked = True

    def ask_for(self, spec: Resources, count: int) -> None:
        self.asked.append((spec, count))


def capacity(cluster: Any, said: list[str] | None = None, **options: Any) -> tuple[Resources, int | None]:
    say = [] if said is None else said
    return find_capacity(ExecutionOptions(**options), cluster, num_trials=40, say=say.append, check=lambda: None)


@pytest.mark.parametrize(
    ("trial", "nodes", "expected"),
    [
        (node(1), [node(4), node(2)], 6),
        (node(3), [node(4), node(2)], 1),  # it does not use two nodes together
        (node(1, 0.25), [node(4, 1), node(16, 8)], 4 + 16),
        (node(1, 0.4), [node(16, 1)], 2),
        (node(1, 2), [node(8, 3)], 1),
        (node(1, 0.25), [node(0, 0)], 0),
    ],
)
def test_trials_are_packed_by_need(trial: Resources, nodes: list[Resources], expected: int) -> None:
    assert num_fitting(trial, nodes) == expected


def test_the_first_worker_is_waited_for_and_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    said: list[str] = []
    cluster = FakeCluster([node(0)], [node(0)], [node(0), node(4, 1)])
    assert capacity(cluster, said, address="auto") == (node(1, 0.25), None)
    assert cluster.checked
    assert said == ["Waiting for a worker: a trial takes 1 CPU, and the cluster has no CPUs and no GPUs so far"]
    assert cluster.asked == [(node(1), 40)] * 2


def test_a_trial_that_no_node_can_hold_is_given_up_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    monkeypatch.setattr("tuner.cluster.capacity._WAIT_SECONDS", 0.0)
    with pytest.raises(SearchError, match="it asks for 1 CPU and 8 GPU of 2 x 4 CPUs and 1 GPU; lower"):
        capacity(FakeCluster([node(4, 1), node(4, 1)]), address="auto", gpus_per_trial=8)


def test_on_one_machine_as_many_as_fit_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    assert capacity(FakeCluster([node(4)])) == (node(1), 4)
    assert capacity(FakeCluster([node(4)]), concurrency=2, cpus_per_trial=2) == (node(2), 2)
    with pytest.raises(SearchError, match="--concurrent must be at most 2, got 3"):
        capacity(FakeCluster([node(4)]), concurrency=3, cpus_per_trial=2)
    with pytest.raises(SearchError, match="--cpus-per-trial must be at most 4, got 8: this machine has 4 CPUs"):
        capacity(FakeCluster([node(4)]), cpus_per_trial=8)
    with pytest.raises(SearchError, match="--gpus-per-trial must be at most 0, got 1: this machine has no GPUs"):
        capacity(FakeCluster([node(4)]), gpus_per_trial=1)
