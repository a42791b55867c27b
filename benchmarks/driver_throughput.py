"""How many trials and results a second does one driver handle, with Tune and Ray in between?

Trainings that do nothing, in real worker processes, through the real executor; the bookkeeping is a counter, because
simulate_cluster runs the real one. Costs are processor time of the driver's main thread, which is what a search waits
for; those per result and per trial start follow from two searches that differ in the number of epochs alone. Workers
and driver share this machine, so results per second on the clock are what *this machine* bears.
"""

import cProfile
import itertools
import math
import pstats
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks._report import finish, parser
from benchmarks.search_overhead import NoTraining, NoTrainingFactory
from graphdb.cpus import usable_cpus
from tuner.cluster.executor import execute
from tuner.cluster.resources import Resources
from tuner.cluster.session import Cluster
from tuner.protocol import EpochResult, Failure, TrainingSpec
from tuner.signals import Signals

FEW_EPOCHS, MANY_EPOCHS = 1, 16
WINDOW = 250


class Training(NoTraining):
    """Counts epochs; its state has the size of a real one."""

    def __init__(self, spec: TrainingSpec, state_bytes: int) -> None:
        """At epoch 0."""
        super().__init__(spec)
        self._state_bytes = state_bytes

    def save_state(self, folder: Path) -> None:
        """Bytes of nothing."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "state.bin").write_bytes(bytes(self._state_bytes))


class Factory(NoTrainingFactory):
    """Makes trainings of nothing."""

    def __init__(self, state_bytes: int) -> None:
        """Of this size of state."""
        self._state_bytes = state_bytes

    def build(self, spec: TrainingSpec) -> Training:
        """At epoch 0."""
        return Training(spec, self._state_bytes)


class Counter:
    """Jobs that all run to their end; notes the time at each end."""

    def __init__(self, specs: int, epochs: int) -> None:
        """So many trainings of so many epochs."""
        self._specs = specs
        self._epochs = epochs
        self._numbers = itertools.count()
        self.running: set[str] = set()
        self.starts = self.results = 0
        self.marks: list[tuple[int, int, float, float]] = []
        """Ended trainings, results, processor time of this thread, time of the clock."""
        self._ended = 0

    def next_training(self) -> TrainingSpec | None:
        """The next one."""
        if self.starts >= self._specs:
            return None
        number = next(self._numbers)
        self.starts += 1
        key = f"{number:05d}"
        self.running.add(key)
        return TrainingSpec(key=key, params={"a": 1}, seed=number, epochs=self._epochs)

    def done(self) -> bool:
        """Whether all have ended."""
        return not self.running

    def saved_state(self, key: str) -> bytes | None:
        """None goes on from a state."""
        return None

    def on_start(self, key: str) -> None:
        """Nothing to note."""

    def on_result(self, key: str, report: EpochResult) -> bool:
        """Count."""
        self.results += 1
        if report.finished:
            self.running.discard(key)
            self._ended += 1
            self.marks.append((self._ended, self.results, time.thread_time(), time.perf_counter()))
        return not report.finished

    def on_failure(self, key: str, failure: Failure) -> None:
        """Not expected.

        Raises:
            RuntimeError: always.
        """
        raise RuntimeError(f"training {key}: {failure.details}")


def search(actors: int, specs: int, epochs: int, state_bytes: int) -> list[tuple[int, int, float, float]]:
    """One search on a Ray that runs; what it noted, once all actors had started."""
    work = Counter(specs, epochs)
    execute(
        work,
        Factory(state_bytes),
        resources=Resources(cpus=math.floor(10_000 * usable_cpus() / actors) / 10_000, gpus=0),
        concurrency=actors,
        signals=Signals(),
        tick=lambda: True,
    )
    return work.marks[actors:-actors]


def per_job(marks: Sequence[tuple[int, int, float, float]]) -> tuple[float, float]:
    """Milliseconds per training: of the driver's main thread, and on the clock."""
    (first, _, began, clock), (last, _, ended, later) = marks[0], marks[-1]
    return 1000 * (ended - began) / (last - first), 1000 * (later - clock) / (last - first)


def measure(actors: int, specs: int, state_bytes: int) -> dict[str, float]:
    """Costs per result and per start with so many worker processes."""
    few, few_clock = per_job(search(actors, specs + 2 * actors, FEW_EPOCHS, state_bytes))
    many, many_clock = per_job(search(actors, specs // 4 + 2 * actors, MANY_EPOCHS, state_bytes))
    per_result = (many - few) / (MANY_EPOCHS - FEW_EPOCHS)
    return {
        "driver_milliseconds_per_result": round(per_result, 2),
        "driver_milliseconds_per_trial_start_and_end": round(few - FEW_EPOCHS * per_result, 2),
        "results_per_second_on_this_machine": round(1000 * MANY_EPOCHS / many_clock, 1),
        "trials_per_second_on_this_machine": round(1000 / few_clock, 1),
    }


def growth(actors: int, specs: int) -> dict[str, float]:
    """Driver milliseconds per trial of one epoch, as ended trials add up."""
    marks = search(actors, specs + 2 * actors, FEW_EPOCHS, 0)
    found = {}
    for begin in range(0, len(marks) - WINDOW, max(WINDOW, (len(marks) // 6 // WINDOW) * WINDOW)):
        found[f"after_{begin}_trials"] = round(per_job(marks[begin : begin + WINDOW])[0], 2)
    return found


def main(argv: Sequence[str] | None = None) -> int:
    command = parser(__doc__, "driver_throughput")
    add = command.add_argument
    add("--actors", type=int, nargs="+", default=[8, 32, 64], metavar="N", help="worker processes (8 32 64)")
    add("--trials", type=int, default=400, metavar="N", help="of one epoch, for each number of processes (400)")
    add("--state-bytes", type=int, default=1_200_000, metavar="N", help="of a training's state (1,200,000)")
    add("--growth-trials", type=int, default=4_000, metavar="N", help="one after the other in one search (4,000)")
    add("--profile", action="store_true", help="print where the driver spends its time; file nothing")
    arguments = command.parse_args(argv)
    results: dict[str, Any] = {}
    for actors in arguments.actors:
        with Cluster(None):
            if arguments.profile:
                profile = cProfile.Profile()
                profile.runcall(search, actors, arguments.trials, MANY_EPOCHS, 0)
                pstats.Stats(profile).sort_stats("tottime").print_stats(40)
                continue
            results[f"{actors}_actors"] = measure(actors, arguments.trials, 0)
            results[f"{actors}_actors_with_state"] = measure(actors, arguments.trials, arguments.state_bytes)
    if arguments.profile:
        return 0
    with Cluster(None):
        results["driver_milliseconds_per_trial_of_one_epoch"] = growth(8, arguments.growth_trials)
    results["driver_peak_memory_megabytes"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000)
    question = (__doc__ or "").partition("\n")[0]
    return finish(question, results, arguments.output, repeats=1, packages=["ray"])


if __name__ == "__main__":
    sys.exit(main())
