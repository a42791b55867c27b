"""What a machine answered."""

from tuner.cluster.machine import Machine


def test_a_machine_is_named_by_its_host_once_it_has_answered() -> None:
    silent = Machine(address="10.0.0.2", head=False)
    answered = Machine(address="10.0.0.2", head=False, facts={"hostname": "gpu1", "versions": {"ray": "2.60.0"}})
    assert (silent.answered, silent.name, silent.versions) == (False, "10.0.0.2", {})
    assert (answered.answered, answered.name, answered.versions) == (True, "gpu1 (10.0.0.2)", {"ray": "2.60.0"})
