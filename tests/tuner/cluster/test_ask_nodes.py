"""What nodes are asked, and which of them cannot train together."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from graphdb.cpus import usable_cpus
from tuner.cluster import ask_nodes, machine_facts
from tuner.cluster.ask_nodes import check_nodes, check_versions, probe_nodes
from tuner.cluster.machine import NodeFacts
from tuner.cluster.session import Cluster
from tuner.errors import SearchError

MINE = {"python": "3.12.3", "ray": "2.60.0", "torch": "2.13.0+cpu", "numpy": "2.3.0", "crystune": "0.1.0 (code aa)"}


def node(address: str, *, head: bool = False, cpus: float = 4, answered: bool = True, **versions: str) -> NodeFacts:
    return NodeFacts(
        node_id=address,
        address=address,
        head=head,
        cpus=cpus,
        gpus=0,
        object_store=10**9,
        facts={"hostname": f"host{address[-1]}", "versions": MINE | versions} if answered else {},
    )


def test_equal_nodes_pass_whatever_the_build_of_torch() -> None:
    check_versions([node("10.0.0.1", head=True, cpus=0), node("10.0.0.2", torch="2.13.0+cu130")], MINE)


def test_each_difference_is_named_once_with_all_nodes_that_have_it() -> None:
    nodes = [node(f"10.0.0.{i}", torch="2.12.0") for i in (2, 3)] + [node("10.0.0.4", crystune=machine_facts.ABSENT)]
    with pytest.raises(SearchError) as caught:
        check_versions(nodes, MINE)
    first, second, fix = str(caught.value).split("; ")
    assert first.endswith("host2 (10.0.0.2), host3 (10.0.0.3): torch 2.12.0 instead of 2.13.0+cpu")
    assert second == "host4 (10.0.0.4): crystune not installed instead of 0.1.0 (code aa)"
    assert "make wheel" in fix
    assert "\n" not in str(caught.value)


def test_a_head_that_trains_nothing_needs_only_the_same_python_and_ray() -> None:
    check_versions([node("10.0.0.1", head=True, cpus=0, torch=machine_facts.ABSENT)], MINE)
    with pytest.raises(SearchError, match="torch"):
        check_versions([node("10.0.0.1", head=True, cpus=2, torch=machine_facts.ABSENT)], MINE)
    with pytest.raises(SearchError, match=r"ray 2\.59\.0"):
        check_versions([node("10.0.0.1", head=True, cpus=0, ray="2.59.0")], MINE)


def test_another_build_of_the_same_version_of_crystune_is_another_version() -> None:
    with pytest.raises(SearchError, match=r"crystune 0\.1\.0 \(code bb\) instead of 0\.1\.0 \(code aa\)"):
        check_versions([node("10.0.0.2", crystune="0.1.0 (code bb)")], MINE)


def test_a_node_that_does_not_answer_is_named() -> None:
    with pytest.raises(SearchError, match=r"10\.0\.0\.9: no answer"):
        check_versions([node("10.0.0.9", answered=False)], MINE)


def test_the_probe_answers_where_nothing_is_installed(tmp_path: Path) -> None:
    program = Path(machine_facts.__file__).read_text() + "\nimport json; print(json.dumps(facts(('/tmp', '~/new'))))"
    process = subprocess.run(
        [sys.executable, "-I", "-S", "-"],
        input=program,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "HOME": str(tmp_path)},
    )
    facts = json.loads(process.stdout)
    assert facts["versions"]["ray"] == facts["versions"]["crystune"] == machine_facts.ABSENT
    assert facts["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert facts["memory"] > 0
    assert facts["free_disk"]["~/new"] > 0
    assert facts["torch_gpus"] is None


def test_the_version_of_crystune_names_its_code() -> None:
    assert "(code " in machine_facts.versions()["crystune"]


@pytest.fixture(scope="module")
def one_node() -> Iterator[None]:
    with Cluster(None):
        yield


def test_a_node_that_dies_while_it_is_asked_is_no_reason_to_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not answer, and Ray takes it for alive a little longer."""
    living = [["a", "b"], ["a", "b"], ["a"]]
    monkeypatch.setattr(machine_facts, "versions", lambda: MINE)
    monkeypatch.setattr(ask_nodes, "_AGAIN_SECONDS", 0.0)
    monkeypatch.setattr(ask_nodes, "probe_nodes", lambda timeout: [node("a"), node("b", answered=False)])
    monkeypatch.setattr(ask_nodes, "alive_nodes", lambda: [{"NodeID": name} for name in living.pop(0)])
    assert [found.node_id for found in check_nodes()] == ["a"]
    assert not living
    monkeypatch.setattr(ask_nodes, "_DYING_SECONDS", -1.0)
    monkeypatch.setattr(ask_nodes, "alive_nodes", lambda: [{"NodeID": "a"}, {"NodeID": "b"}])
    with pytest.raises(SearchError, match="no answer"):
        check_nodes()


def test_a_running_node_is_probed_and_agrees_with_its_driver(one_node: None) -> None:
    (found,) = check_nodes()
    assert found.head
    assert found.cpus == usable_cpus()
    assert found.versions == machine_facts.versions()
    (found,) = probe_nodes(with_clock=True, folders=("/tmp",))
    assert abs(found.clock_offset) <= found.clock_error + 0.01
    assert found.clock_error < 2
    assert found.facts["free_disk"]["/tmp"] > 0
