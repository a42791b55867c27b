"""In what share of the time of a search on this machine do its cores train?

A search as users start it, with real trainings that end after some seconds each. Counted is the time inside
`run_epoch`, on the clock and as processor time (which other processes of the search may take from a training), over the
number of slots times the time from the command's start, or from the first training step, to the command's end. What a
longer search would give follows from the parts: the start, each change of trial, the end.
"""

import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks._report import ROOT, finish, parser
from graphdb.cpus import usable_cpus
from tuner import data, trainer_factory
from tuner.cluster import session
from tuner.protocol import EpochTrainer, TrainingSpec
from tuner.trainer_factory import CrystalTrainerFactory

EVENTS, SECONDS = "CRYSTUNE_BENCHMARK_EVENTS", "CRYSTUNE_BENCHMARK_SECONDS"
PHASES = {
    "main": "start_python_and_torch",
    "loaded": "read_and_split_the_store",
    "ray": "start_ray",
    "handed": "hand_over_what_trials_share",
    "asked": "start_the_first_worker",
    "built": "build_the_training",
}
SPACE = """
[parameters]
learning_rate = {{ low = 1e-4, high = 1e-2, log = true }}
[fixed]
atom_dim = {width}
num_convs = 3
"""
MANY = 100


def note(name: str, *values: Any) -> None:
    """What has happened now, in which process."""
    line = json.dumps([name, time.time(), os.getpid(), *values])
    with open(os.environ[EVENTS], "a", encoding="utf-8") as file:
        file.write(line + "\n")


class TimedTrainer:
    """A training that ends after some seconds of epochs, and notes each."""

    def __init__(self, trainer: EpochTrainer, key: str) -> None:
        """At epoch 0."""
        self._trainer = trainer
        self._key = key
        self._left = float(os.environ[SECONDS])

    @property
    def epoch(self) -> int:
        """Of the training."""
        return self._trainer.epoch

    @property
    def best_epoch(self) -> int:
        """Of the training."""
        return self._trainer.best_epoch

    @property
    def finished(self) -> bool:
        """Once the seconds are used up."""
        return self._left <= 0 or self._trainer.finished

    def run_epoch(self) -> Any:
        """Train, and note from when to when."""
        start, processor = time.time(), time.process_time()
        report = self._trainer.run_epoch()
        seconds = time.time() - start
        self._left -= seconds
        note("epoch", self._key, start, seconds, time.process_time() - processor)
        return report

    def save_state(self, folder: Path) -> None:
        """Of the training."""
        self._trainer.save_state(folder)

    def load_state(self, folder: Path) -> None:
        """Of the training."""
        self._trainer.load_state(folder)

    def save_best(self, folder: Path, extra: dict[str, Any]) -> None:
        """Of the training."""
        self._trainer.save_best(folder, extra)


class TimedFactory(CrystalTrainerFactory):
    """Builds such trainings, and notes when."""

    def build(self, spec: TrainingSpec) -> Any:
        """At epoch 0."""
        note("asked")
        trainer = CrystalTrainerFactory.build(self, spec)
        note("built")
        return TimedTrainer(trainer, spec.key)


def drive() -> int:
    """The search itself, with notes of its phases."""
    note("main")
    from ray import tune

    from tuner import search

    def noted(name: str, function: Callable[..., Any]) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            result = function(*arguments, **named)
            note(name)
            return result

        return call

    def make(*arguments: Any, **named: Any) -> TimedFactory:
        made = make_factory(*arguments, **named)
        return TimedFactory(**{field.name: getattr(made, field.name) for field in fields(made)})

    make_factory, trainer_factory.make_factory = trainer_factory.make_factory, make
    data.load_crystals = noted("loaded", data.load_crystals)
    session.Cluster.__enter__ = noted("ray", session.Cluster.__enter__)  # type: ignore[method-assign]
    tune.with_parameters = noted("handed", tune.with_parameters)
    status = search.main(sys.argv[2:])
    note("ended", time.process_time())
    return status


@dataclass(frozen=True, kw_only=True, slots=True)
class Epoch:
    """One that was trained."""

    process: int
    trial: str
    start: float
    """In s since 1970, like the other times."""
    seconds: float
    processor_seconds: float

    @property
    def end(self) -> float:
        """When it was over."""
        return self.start + self.seconds


def search(arguments: Any, folder: Path) -> tuple[list[list[Any]], float, float]:
    """One search in a process of its own; its events, and when the command began and ended."""
    space, events = folder / "space.toml", folder / "events.jsonl"
    space.write_text(SPACE.format(width=arguments.width))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), EVENTS: str(events), SECONDS: str(arguments.seconds)}
    flags = f"--space {space} --trials {arguments.trials} --max-epochs 10000 --no-asha --finalists 0 --device cpu"
    data_flags = f"--store {arguments.store} --valid {arguments.valid} --test {arguments.test}"
    words = [*f"{flags} {data_flags} --name run".split(), "--runs", str(folder)]
    begun = time.time()
    subprocess.run(
        [sys.executable, "-m", "benchmarks.training_share", "--driver", *words],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        check=True,
    )
    ended = time.time()
    return [json.loads(line) for line in events.read_text(encoding="utf-8").splitlines()], begun, ended


def results_of(found: list[list[Any]], begun: float, ended: float, slots: int) -> dict[str, Any]:
    """Shares and parts of a search."""
    firsts: dict[str, float] = {}
    for name, moment, *_ in found:
        firsts.setdefault(name, moment)
    epochs = sorted(
        (
            Epoch(process=process, trial=key, start=start, seconds=seconds, processor_seconds=processor)
            for name, _, process, key, start, seconds, processor in (line for line in found if line[0] == "epoch")
        ),
        key=lambda epoch: epoch.start,
    )
    first, last = epochs[0].start, max(epoch.end for epoch in epochs)
    trained, processor = sum(e.seconds for e in epochs), sum(e.processor_seconds for e in epochs)
    between_epochs: list[float] = []
    between_trials: list[float] = []
    starts, idle = [], []
    for process in {epoch.process for epoch in epochs}:
        its = [epoch for epoch in epochs if epoch.process == process]
        starts.append(its[0].start - first)
        idle.append(last - its[-1].end)
        for before, after in pairwise(its):
            (between_epochs if before.trial == after.trial else between_trials).append(after.start - before.end)
    moments = [begun, *(firsts[name] for name in PHASES), first]
    names = [*PHASES.values(), "first_batch"]
    per_trial = trained / len({epoch.trial for epoch in epochs})
    reports = len(between_epochs) / len({epoch.trial for epoch in epochs})
    change, report = statistics.fmean(between_trials), statistics.fmean(between_epochs or [0.0])
    many = begun_to_first = first - begun
    many += sum(starts) / slots + MANY / slots * (per_trial + reports * report + change) + ended - last
    return {
        "trials": len({epoch.trial for epoch in epochs}),
        "slots": slots,
        "processes_that_trained": len(starts),
        "seconds_per_trial": round(per_trial, 2),
        "epochs_per_trial": round(reports + 1, 2),
        "share_on_the_clock_since_the_first_step": round(trained / slots / (ended - first), 4),
        "share_on_the_clock_since_the_command": round(trained / slots / (ended - begun), 4),
        "share_of_processor_since_the_first_step": round(processor / slots / (ended - first), 4),
        "share_of_processor_since_the_command": round(processor / slots / (ended - begun), 4),
        "seconds_to_the_first_step": {
            "in_all": round(begun_to_first, 3),
            **{name: round(later - sooner, 3) for name, (sooner, later) in zip(names, pairwise(moments), strict=True)},
        },
        "seconds_until_the_last_slot_trains": round(max(starts), 3),
        "milliseconds_between_epochs": _of(between_epochs),
        "milliseconds_between_trials": _of(between_trials),
        "seconds_that_slots_wait_for_the_last_trial": round(sum(idle), 2),
        "seconds_from_the_last_step_to_the_end": round(ended - last, 3),
        "processor_seconds_of_the_driver": round(next(line[3] for line in found if line[0] == "ended"), 2),
        f"derived_share_of_{MANY}_trials_since_the_first_step": round(
            MANY * per_trial / slots / (many - begun_to_first), 4
        ),
        f"derived_share_of_{MANY}_trials_since_the_command": round(MANY * per_trial / slots / many, 4),
    }


def _of(seconds: Sequence[float]) -> dict[str, float]:
    values = sorted(1000 * value for value in seconds)
    if not values:
        return {}
    mean, ninety = statistics.fmean(values), values[math.ceil(0.9 * len(values)) - 1]
    return {"median": round(statistics.median(values), 1), "mean": round(mean, 1), "of_nine_in_ten": round(ninety, 1)}


def main(argv: Sequence[str] | None = None) -> int:
    command = parser(__doc__, "training_share")
    add = command.add_argument
    add("--store", type=Path, required=True, metavar="STORE", help="crystals, written by graphdb.build")
    add("--trials", type=int, default=24, metavar="N", help="of the search (24)")
    add("--seconds", type=float, default=10.0, metavar="S", help="that each trial trains (10)")
    add("--width", type=int, default=64, metavar="N", help="atom_dim of the networks (64)")
    add("--valid", type=float, default=0.02, metavar="SHARE", help="of the crystals, to validate on (0.02)")
    add("--test", type=float, default=0.9, metavar="SHARE", help="of the crystals, left out (0.9)")
    arguments = command.parse_args(argv)
    arguments.store = arguments.store.absolute()
    with tempfile.TemporaryDirectory() as folder:
        results = results_of(*search(arguments, Path(folder)), usable_cpus())
    question = (__doc__ or "").partition("\n")[0]
    return finish(question, results, arguments.output, repeats=1, packages=["ray", "optuna"])


if __name__ == "__main__":
    # The workers unpickle `TimedFactory`, and look for it in a module that has its name.
    from benchmarks import training_share

    sys.exit(training_share.drive() if sys.argv[1:2] == ["--driver"] else training_share.main())
