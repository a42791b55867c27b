"""The chaos harness itself, with a clock that runs by itself: what it does when things coincide (no lab, no Ray)."""

import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import _chaos
from benchmarks._chaos import MORE_TRIALS, Chaos, Setting

MINUTE = 60.0


class Clock:
    """Seconds pass when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Driver:
    """Ends by itself at its time, or is killed."""

    def __init__(self, clock: Clock, ends_at: float, code: int) -> None:
        self._clock, self._ends_at, self._code = clock, ends_at, code

    def poll(self) -> int | None:
        return self._code if self._clock.now >= self._ends_at else None

    def kill(self) -> None:
        self._ends_at, self._code = self._clock.now, -9

    def wait(self, timeout: float) -> int | None:
        return self.poll()


class Story(Chaos):
    """A search of 10 minutes, whose drivers and faults are told beforehand."""

    def __init__(
        self,
        folder: Path,
        clock: Clock,
        drivers: list[tuple[float, int]],
        faults: list[tuple[float, Callable[..., None]]],
    ) -> None:
        setting = Setting(sampler="tpe", trials=40, max_epochs=20, minutes=10.0, every=1.0)
        super().__init__(setting, folder, 0)
        self.clock, self.drivers, self.faults = clock, drivers, faults
        self.started: list[tuple[float, int]] = []
        self._lab: Any = SimpleNamespace(hide=lambda *_: None, show=lambda *_: None, fill=lambda *_: None)
        self._lab.clear = self._lab.power_off = self._lab.power_on = lambda *_: None

    def play(self) -> None:
        self._start()
        self._let_it_happen(0.0)

    def _start(self) -> None:
        assert not self._folder_away
        self.started.append((self.clock.now, self._trials))
        self._driver = Driver(self.clock, *self.drivers.pop(0))  # type: ignore[assignment]

    def _said(self) -> str:
        return "1 CPU, 1 GPU each\n"

    def _strike(self) -> bool:
        if not self.faults or self.clock.now < self.faults[0][0]:
            return False
        _, harm = self.faults.pop(0)
        try:
            harm(self)
        except _chaos._Impossible as error:
            self._note(str(error))
        return True

    def _count_at_work(self) -> None:
        pass

    def _mount(self) -> None:
        pass


def gone(seconds: float) -> Callable[[Chaos], None]:
    return lambda chaos: chaos._hide("", seconds)


def full(seconds: float) -> Callable[[Chaos], None]:
    return lambda chaos: chaos._fill("", seconds)


def killed(chaos: Chaos) -> None:
    chaos._kill_driver("", 0.0)


def head_off(chaos: Chaos) -> None:
    chaos._head_off("", 5.0)


def too_late(fault: Callable[[Chaos], None]) -> Callable[[Story], None]:
    """The driver ends by itself between the last look and the fault."""

    def harm(story: Story) -> None:
        story.clock.now += 0.5
        fault(story)

    return harm


LATER = (700.0, 0)
STORIES: tuple[tuple[str, list[tuple[float, int]], list[tuple[float, Any]], list[tuple[float, int]]], ...] = (
    ("it ends while the folder is gone", [(110.0, 0), LATER], [(100.0, gone(20))], [(120, 40 + MORE_TRIALS)]),
    ("it ends while the folder is full", [(110.0, 0), LATER], [(100.0, full(20))], [(120, 40 + MORE_TRIALS)]),
    ("it is killed while the folder is gone", [LATER, LATER], [(100.0, gone(20)), (105.0, killed)], [(120, 40)]),
    ("it ends, then a kill comes too late", [(100.0, 0), LATER], [(99.8, too_late(killed))], [(100, 40 + MORE_TRIALS)]),
    ("it ends, then the head goes off", [(100.0, 0), LATER], [(99.8, too_late(head_off))], [(100, 40 + MORE_TRIALS)]),
    (
        "it ends while the folder is gone, then the head shall go off, which waits for the folder",
        [(110.0, 0), LATER],
        [(100.0, gone(20)), (112.0, head_off)],
        [(120, 40 + MORE_TRIALS)],
    ),
    ("the head goes off", [LATER, LATER], [(100.0, head_off)], [(105, 40)]),
    ("it ends at the end, while the folder is gone", [(601.0, 0)], [(599.0, gone(20))], []),
    (
        "it ends just before the end, the folder comes back after it",
        [(599.5, 0), LATER],
        [(599.0, gone(20))],
        [(619, 45)],
    ),
)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    pretended = SimpleNamespace(monotonic=clock.monotonic, sleep=clock.sleep, strftime=time.strftime)
    monkeypatch.setattr(_chaos, "time", pretended)
    monkeypatch.setattr(_chaos, "ray_up", lambda *_, **__: None)
    monkeypatch.setattr(_chaos, "workers_of", lambda lab: ["gpu1"])
    return clock


@pytest.mark.parametrize(
    ("drivers", "faults", "restarts"), [story[1:] for story in STORIES], ids=[s[0] for s in STORIES]
)
def test_a_search_goes_on_when_its_folder_is_there(
    tmp_path: Path, clock: Clock, drivers: Any, faults: Any, restarts: list[tuple[float, int]]
) -> None:
    story = Story(tmp_path, clock, list(drivers), list(faults))
    story.play()
    expected = [(0.0, 40), *restarts]
    assert [trials for _, trials in story.started] == [trials for _, trials in expected]
    assert [then for then, _ in story.started] == pytest.approx([then for then, _ in expected], abs=0.5)
    assert not story.drivers
    assert not story.faults
    assert not story._mends
    assert clock.now >= 10 * MINUTE


@pytest.mark.parametrize("fault", [killed, head_off])
def test_a_driver_that_failed_is_not_taken_for_one_that_was_killed(
    tmp_path: Path, clock: Clock, fault: Callable[[Chaos], None]
) -> None:
    story = Story(tmp_path, clock, [(100.0, 2)], [(99.8, too_late(fault))])
    with pytest.raises(AssertionError, match="the driver ended with 2"):
        story.play()


def test_a_seed_that_came_to_its_end_is_recalled_and_one_that_did_not_is_none(tmp_path: Path) -> None:
    setting = Setting(sampler="tpe", trials=1, max_epochs=1, minutes=1.0, every=1.0)
    assert Chaos(setting, tmp_path, 1).recall() is None
