"""CPUs that a process may use, where a batch system gave it a part of the machine."""

import os

import pytest

from graphdb.cpus import usable_cpus


@pytest.mark.parametrize(("affinity", "in_all", "expected"), [({0, 3}, 8, 2), (None, 8, 8), (None, None, 1)])
def test_only_the_cpus_that_were_given_count(
    affinity: set[int] | None, in_all: int | None, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: in_all)
    if affinity is None:  # as on macOS
        monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    else:
        monkeypatch.setattr(os, "sched_getaffinity", lambda process: affinity, raising=False)
    assert usable_cpus() == expected
