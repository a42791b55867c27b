"""Searches with fake trainings on the lab's cluster, and what can happen to them."""

import hashlib
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.cluster.claims import attempts_that_ended, check_run
from tests.cluster.lab import ROOT, Lab
from tests.cluster.raylab import TOKEN, raylet, wait_for_workers, workers_of
from tests.tuner.drive import Plan
from tests.tuner.logs import epochs_in
from tuner.run import jsonlines
from tuner.run.log import Training
from tuner.run.run_folder import RunFolder

# --- faults: (lab, worker) -> None; those that need fixing by hand have an opposite


def trainings(lab: Lab, worker: str) -> list[int]:
    """Process ids, on this machine, of what trains on a worker; Ray gives them one title at work and one between."""
    titles = ("ray::TrainingWorker", "ray::ResourceTrainable")
    return [pid for pid, command in lab.processes(worker).items() if command.startswith(titles)]


def kill_training(lab: Lab, worker: str) -> None:
    """End the process that trains, as the kernel does when memory runs out."""
    for pid in trainings(lab, worker):
        os.kill(pid, 9)


def kill_raylet(lab: Lab, worker: str) -> None:
    """End Ray's own process on a worker; with it go those that train."""
    os.kill(raylet(lab, worker), 9)


def power_off(lab: Lab, worker: str) -> None:
    """Pull the plug."""
    lab.power_off(worker)


def cut(lab: Lab, worker: str) -> None:
    """Pull the network cable."""
    lab.cut(worker)


def restore(lab: Lab) -> None:
    """Power and cables for all workers; they come back to the cluster by themselves."""
    for worker in workers_of(lab):
        if not lab.is_on(worker):
            lab.power_on(worker)
        lab.fix(worker)


# --- searches


@dataclass
class Search:
    """A search of `tests.tuner.drive` on the head, and all that can be seen of it from outside."""

    lab: Lab
    plan: Plan
    output: Path
    """Where its output goes, on this machine."""
    patience: float = 180.0
    """Seconds that any one wait may take."""
    processes: list[Any] = field(default_factory=list)

    @property
    def run(self) -> RunFolder:
        """Its folder on the head's disk."""
        return RunFolder(self.lab.path("head", self.plan.folder))

    def start(self) -> None:
        """Begin, or go on."""
        with self.output.open("a") as output:
            self.processes.append(
                self.lab.popen(
                    "head",
                    *(sys.executable, "-u", "-m", "tests.tuner.drive", self.plan.as_json()),
                    environment={**TOKEN, "COLUMNS": "200"},
                    cwd=str(ROOT),
                    output=output,
                )
            )

    def kill(self) -> None:
        """End the driver with SIGKILL."""
        self.processes[-1].kill()
        self.processes[-1].wait(20)

    def wait_for(self, condition: Callable[[], Any], *, alive: bool = True) -> float:
        """Seconds until it holds.

        Raises:
            AssertionError: if it never does, or the driver ends before.
        """
        began = time.monotonic()
        while not condition():
            ended = alive and self.processes[-1].poll() is not None and not condition()
            assert not ended, self.said()
            assert time.monotonic() - began < self.patience, f"waited in vain\n{self.said()}"
            time.sleep(0.05)
        return time.monotonic() - began

    def finish(self, expected: int = 0) -> str:
        """Wait for its end; what it said."""
        code = self.processes[-1].wait(self.patience)
        assert code == expected, self.said()
        return self.said()

    def said(self) -> str:
        """Output of all its processes."""
        return self.output.read_text()

    def lines(self) -> list[dict[str, Any]]:
        """The log of epochs."""
        return epochs_in(self.run.epochs)

    def begun(self, worker: str) -> list[dict[str, Any]]:
        """Epochs that trainings on a worker began: key, epoch and process id; kept on that worker's disk."""
        return jsonlines.read(self.lab.path(worker, self.plan.factory["side_log"]))

    def running_on(self, worker: str) -> str | None:
        """The trial that a worker is at, if it goes on after the epoch last reported."""
        if not (begun := self.begun(worker)):
            return None
        key = str(begun[-1]["key"])
        mine = [line for line in self.lines() if line["key"] == key]
        return key if mine and mine[-1]["decision"] == "continue" else None

    def busy_worker(self) -> str:
        """The one that has the first trial, once that has epochs behind and before it; ASHA stops others any time."""

        def found() -> list[str]:
            mine = [line["epoch"] for line in self.lines() if line["key"] == "0000"]
            assert not mine or mine[-1] < self.plan.max_epochs - 2, f"too late to harm trial 0000\n{self.said()}"
            return [worker for worker in workers_of(self.lab) if self.running_on(worker) == "0000"]

        self.wait_for(found)
        return found()[0]

    def retrained(self) -> int:
        """Epochs begun more than once, over all workers."""
        begun = Counter((line["key"], line["epoch"]) for worker in workers_of(self.lab) for line in self.begun(worker))
        return sum(count - 1 for count in begun.values())

    def check(self) -> list[Training]:
        """All that `check_run` asks for; the table."""
        return list(check_run(self.run.path).records)

    def fingerprint(self, key: str) -> str:
        """Of all files of a trial."""
        digest = hashlib.sha256()
        folder = self.run.trial(int(key))
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            digest.update(f"{path.relative_to(folder)}\0".encode() + path.read_bytes())
        return digest.hexdigest()


def new_search(lab: Lab, folder: Path, name: str, *, root: str = "/root/runs", **settings: Any) -> Search:
    """Trials of 9 epochs of half a second, two at a time; `settings` go to `Plan`, those of `factory` are added.

    The states are as large as real ones, since what is small travels through Ray by another way.
    """
    factory = {
        "seconds_per_epoch": 0.5,
        "state_bytes": 1_200_000,
        "side_log": f"/root/{name}.side.jsonl",
        **settings.pop("factory", {}),
    }
    plan = Plan(folder=f"{root}/{name}", address="auto", concurrency=0, factory=factory, **settings)
    lab.exec("head", "mkdir", "-p", root)
    return Search(lab, plan, folder / f"{name}.log")


def strike(search: Search, fault: Callable[[Lab, str], None], worker: str) -> dict[str, float]:
    """Let it happen to the trial on a worker; figures once that trial has got on, or again to where it was."""
    key = search.running_on(worker)
    before = attempts_that_ended(search.run.path)
    fault(search.lab, worker)
    struck = time.time()
    noticed = search.wait_for(lambda: len(attempts_that_ended(search.run.path)) > len(before))
    new = attempts_that_ended(search.run.path)[len(before) :]
    lost = {name: safe for name, _, safe in new}
    assert key in lost, f"trial {key} ran on {worker}, but {new} ended"
    search.wait_for(lambda: any(line["key"] == key and line["epoch"] == lost[key] + 1 for line in search.lines()))
    back = next(line["time"] for line in search.lines() if line["key"] == key and line["epoch"] == lost[key] + 1)
    return {"noticed after s": round(noticed, 1), "resumed after s": round(back - struck, 1)}


def wait_until_whole(lab: Lab) -> float:
    """Seconds until all workers are in the cluster again."""
    began = time.monotonic()
    restore(lab)
    wait_for_workers(lab, workers_of(lab))
    return round(time.monotonic() - began, 1)


def file_figures(fault: str, figures: dict[str, Any]) -> None:
    """Print them; also append them to the file that FAULT_FIGURES names (benchmarks/cluster_faults.py sets it)."""
    line = json.dumps({"fault": fault, **figures})
    print(f"\n{line}")
    if name := os.environ.get("FAULT_FIGURES"):
        with open(name, "a") as file:
            file.write(line + "\n")
