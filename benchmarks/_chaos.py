"""One search under faults; see chaos.py."""

import contextlib
import json
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.cluster import faults
from tests.cluster.claims import Table, attempts_that_ended, check_run
from tests.cluster.lab import HOSTS, Lab
from tests.cluster.raylab import TOKEN, ray_down, ray_up, workers_of
from tuner.run.jsonlines import write_json
from tuner.run.run_folder import RunFolder

DISK, DISK_MB = "/root/runs", 300
"""Of the head: a file system of its own, so that it can be full."""
FIGURES = "figures.json"
"""Written when a seed has come to its end."""
MORE_TRIALS = 5
"""Added when the search ends before the faults do."""
PATIENCE = 900.0
"""Seconds for the rest of the search, once the faults are over."""
AWAY = {
    "host off": (1.0, 40.0),
    "cable cut": (1.0, 40.0),
    "head off": (1.0, 10.0),
    "results folder full": (2.0, 20.0),
    "results folder gone": (2.0, 20.0),
}
"""Seconds until it is fixed."""
KINDS = ("training killed", "raylet killed", "driver killed", *AWAY)


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """Of the search, and of what happens to it."""

    sampler: str
    trials: int
    max_epochs: int
    minutes: float
    every: float
    """Seconds between faults."""

    @property
    def early_stopping(self) -> bool:
        """Whether ASHA is on."""
        return self.sampler == "tpe"

    def in_peace(self, trials: int) -> "Setting":
        """As many trials, without faults."""
        return replace(self, trials=trials, minutes=0.0)


class Chaos:
    """A lab, a search, and what happens to it."""

    def __init__(self, setting: Setting, folder: Path, seed: int | None) -> None:
        """Prepare; nothing starts before `execute`. Without a seed nothing will happen."""
        self._setting = setting
        self._folder = folder
        self._draw = random.Random(seed)
        self._trials = setting.trials
        self._driver: subprocess.Popen[str] | None = None
        self._mends: list[tuple[float, str, Callable[[], None]]] = []
        self._folder_away = False
        self._all_trials_done = False
        self._said_before = 0
        self._faults: Counter[str] = Counter()
        self._at_work_when_killed = 0
        self.figures: dict[str, Any] = {}

    def execute(self) -> Table:
        """From `ray up` to `ray down`.

        Raises:
            AssertionError: if the driver ends by itself, or the run is not what it must be.
        """
        self._folder.mkdir(parents=True)
        hosts = {**HOSTS, "gpu3": "10.77.0.5"}
        with Lab(self._folder / "lab", hosts) as self._lab:
            self._lab.exec("head", "bash", "-c", f"truncate -s {DISK_MB}M disk.img && mkfs.ext4 -q disk.img")
            self._mount()
            ray_up(self._lab)
            began = time.monotonic()
            self._start()
            try:
                self._let_it_happen(began)
            finally:
                with contextlib.suppress(OSError, RuntimeError):  # for those who want to know what happened
                    shutil.copytree(self._run.path, self._folder / "run")
            seconds = time.monotonic() - began
            table = check_run(self._run.path)
            outcomes = [r.state for r in table.records]
            assert set(outcomes) <= {"finished", "stopped", "diverged"}, outcomes
            assert "Traceback" not in self._said(), self._said()
            assert "error:" not in self._said(), self._said()
            ended = attempts_that_ended(self._run.path)
            assert {kind for _, kind, _ in ended} <= {"lost worker"}, ended
            ray_down(self._lab)
        self.figures |= {
            "trials": len(table.records),
            "epochs": len(table.lines),
            "seconds": round(seconds, 1),
            "faults_survived": dict(sorted(self._faults.items())),
            "faults": sum(self._faults.values()),
            "trials_taken_up_again_after_a_lost_worker": len(ended),
            "trials_taken_up_again_after_a_lost_driver": self._at_work_when_killed,
            "epochs_retrained_at_most": len(ended) + self._at_work_when_killed,
        }
        write_json(self._folder / FIGURES, self.figures)
        return table

    def recall(self) -> Table | None:
        """What an earlier command found with this seed; None if there is nothing, or it did not come to its end."""
        if not (self._folder / FIGURES).exists():
            return None
        self.figures = json.loads((self._folder / FIGURES).read_text())
        return check_run(self._folder / "run")

    def _let_it_happen(self, began: float) -> None:
        end, next_fault = began + 60 * self._setting.minutes, began + self._setting.every
        while True:
            now = time.monotonic()
            for fix in [fix for fix in self._mends if fix[0] <= now]:
                self._mends.remove(fix)
                self._note(f"fixed: {fix[1]}")
                fix[2]()
            self._see_whether_it_ended()
            if self._all_trials_done and now < end:
                self._trials += MORE_TRIALS
                self._all_trials_done = False
            if self._all_trials_done and not self._mends:
                return
            # A search that has ended may do so while its folder is away; it is not found, and not extended, before.
            if self._driver is None and not self._all_trials_done and not self._folder_away:
                self._start()
            if next_fault <= now < end and self._strike():  # else another one is drawn at the next turn
                next_fault = max(next_fault + self._setting.every, time.monotonic())
            assert now < end + PATIENCE, f"the search does not end:\n{self._said()[-5000:]}"
            time.sleep(0.1)

    def _see_whether_it_ended(self) -> None:
        if self._driver is not None and (code := self._driver.poll()) is not None:
            assert code == 0, f"the driver ended with {code}:\n{self._said()[-5000:]}"
            self._driver, self._all_trials_done = None, True

    def _lose_driver(self, harm: Callable[[], None]) -> None:
        """Unless it ends by itself just before: then it may have failed, and there is nothing to lose."""
        if self._driver is not None and self._driver.poll() is not None:
            raise _Impossible("the driver has just ended")
        self._count_at_work()
        harm()
        if self._driver is not None:
            self._driver.wait(60)
            self._driver = None

    # --- faults

    def _strike(self) -> bool:
        kind = self._draw.choice(KINDS)
        worker = self._draw.choice(workers_of(self._lab))
        seconds = self._draw.uniform(*AWAY.get(kind, (0.0, 0.0)))
        where = f" {worker}" if kind in _OF_WORKERS else ""
        try:
            _FAULTS[kind](self, worker, seconds)
        except _Impossible as error:
            self._note(f"not {kind}{where}: {error}")
            return False
        self._faults[kind] += 1
        self._note(f"{kind}{where}" + (f" for {seconds:.0f} s" if seconds else ""))
        return True

    def _kill_training(self, worker: str, seconds: float) -> None:
        self._must_be_whole(worker)
        if not faults.trainings(self._lab, worker):
            raise _Impossible("nothing trains there")
        with _may_end_by_itself():
            faults.kill_training(self._lab, worker)

    def _kill_raylet(self, worker: str, seconds: float) -> None:
        self._must_be_whole(worker)
        if sum("/raylet/raylet " in command for command in self._lab.processes(worker).values()) != 1:
            raise _Impossible("it has not come back yet")
        with _may_end_by_itself():
            faults.kill_raylet(self._lab, worker)

    def _power_off(self, worker: str, seconds: float) -> None:
        self._must_be_whole(worker)
        self._lab.power_off(worker)
        self._later(seconds, f"{worker} on", lambda: self._lab.power_on(worker))

    def _cut(self, worker: str, seconds: float) -> None:
        self._must_be_whole(worker)
        self._lab.cut(worker)
        self._later(seconds, f"{worker} plugged in", lambda: self._lab.fix(worker))

    def _kill_driver(self, worker: str, seconds: float) -> None:
        if self._driver is None:
            raise _Impossible("none runs")
        self._lose_driver(self._driver.kill)

    def _head_off(self, worker: str, seconds: float) -> None:
        if self._folder_away:
            raise _Impossible("its disk is in trouble already")
        self._lose_driver(lambda: self._lab.power_off("head"))
        time.sleep(seconds)
        self._lab.power_on("head")
        self._mount()
        ray_up(self._lab, awaited=())

    def _fill(self, worker: str, seconds: float) -> None:
        self._trouble_folder(seconds, self._lab.fill, self._lab.clear)

    def _hide(self, worker: str, seconds: float) -> None:
        if self._driver is None or " GPU each\n" not in self._said()[self._said_before :]:
            raise _Impossible("the search has not begun, and refuses a folder that is not there")
        self._trouble_folder(seconds, self._lab.hide, self._lab.show)

    def _trouble_folder(
        self, seconds: float, harm: Callable[[str, str], None], fix: Callable[[str, str], None]
    ) -> None:
        if self._folder_away:
            raise _Impossible("it is in trouble already")
        self._folder_away = True
        harm("head", DISK)

        def again() -> None:
            fix("head", DISK)
            self._folder_away = False

        self._later(seconds, "results folder", again)

    def _must_be_whole(self, worker: str) -> None:
        if any(worker in what for _, what, _ in self._mends):
            raise _Impossible("it is off or cut off already")

    def _later(self, seconds: float, what: str, fix: Callable[[], None]) -> None:
        self._mends.append((time.monotonic() + seconds, what, fix))

    # --- the search

    def _start(self) -> None:
        assert not self._folder_away, "whether there is a run to resume cannot be seen"
        asha = [] if self._setting.early_stopping else ["--no-asha"]
        new = ["--space", "table5", "--max-epochs", str(self._setting.max_epochs), "--finalists", "0"]
        begin = [*new, "--sampler", self._setting.sampler, *asha]
        self._said_before = len(self._said())
        with self._log.open("a") as output:
            self._driver = self._lab.popen(
                "head",
                *(sys.executable, "-u", "-m", "tuner.search", "--address", "auto", "--name", "chaos", "--runs", DISK),
                *("--trials", str(self._trials), *(["--resume"] if self._run.exists() else begin)),
                environment={**TOKEN, "COLUMNS": "200"},
                output=output,
            )

    def _count_at_work(self) -> None:
        if self._driver is not None and self._driver.poll() is None:
            self._at_work_when_killed += sum(
                len(faults.trainings(self._lab, worker)) for worker in workers_of(self._lab) if self._lab.is_on(worker)
            )

    def _mount(self) -> None:
        self._lab.exec("head", "bash", "-c", f"mkdir -p {DISK} && mount -o loop disk.img {DISK}")

    @property
    def _run(self) -> RunFolder:
        return RunFolder(self._lab.path("head", f"{DISK}/chaos"))

    @property
    def _log(self) -> Path:
        return self._folder / "search.log"

    def _said(self) -> str:
        return self._log.read_text() if self._log.exists() else ""

    def _note(self, text: str) -> None:
        line = f"{time.strftime('%H:%M:%S')} --- {text}\n"
        for name in ("faults.log", "search.log"):
            with contextlib.suppress(OSError), (self._folder / name).open("a") as file:
                file.write(line)


class _Impossible(Exception):
    """A fault that cannot happen now."""


@contextlib.contextmanager
def _may_end_by_itself() -> Iterator[None]:
    """Between being found and being killed."""
    try:
        yield
    except ProcessLookupError as error:
        raise _Impossible("it has just ended") from error


_FAULTS: dict[str, Callable[[Chaos, str, float], None]] = {
    "training killed": Chaos._kill_training,
    "raylet killed": Chaos._kill_raylet,
    "driver killed": Chaos._kill_driver,
    "host off": Chaos._power_off,
    "cable cut": Chaos._cut,
    "head off": Chaos._head_off,
    "results folder full": Chaos._fill,
    "results folder gone": Chaos._hide,
}
_OF_WORKERS = ("training killed", "raylet killed", "host off", "cable cut")
