"""Can one driver bear 10,000 trials on 800 GPU slots, and how often does a slot wait for it?

Simulated time, real bookkeeping: Study (TPE), Asha, SearchQueue with its log and journal on disk, the live table.
100 nodes of 8 slots and of three speeds come and go; trials repeat learning curves of a real search, see `_curves`.
The driver is a server with a queue: what it computes takes the processor time that it really took here, plus a fixed
amount for Tune and Ray per result and per trial start (more than driver_throughput measured), and for the disk.
Meanwhile the slots that asked for it wait; each result is on the way to the driver and back on top, and each slot of a
node that joins waits for its process to start. A slot is idle from the end of an epoch to the beginning of the next,
and from the joining of its node on, as long as there are trials to be had.

Nodes, curves and epoch times follow from the seed. In which order events meet the driver depends on its measured times;
--service-ms replaces those by a constant, and then two runs are equal.
"""

import argparse
import heapq
import io
import itertools
import math
import random
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks._curves import TASKS, Curves
from benchmarks._report import finish, parser
from benchmarks.search_overhead import table5
from graphdb.records import Value
from tests.tuner.logs import epochs_in
from tuner.protocol import EpochResult, Failure, TrainingSpec
from tuner.report.live import render
from tuner.report.summary import summarize_run
from tuner.report.written_files import write_report
from tuner.run.run_folder import RunFolder
from tuner.run.settings import SearchSettings
from tuner.run.trial_folder import pack
from tuner.seeds import derived_seed
from tuner.space.toml import read_space_text
from tuner.study.study import Study
from tuner.trials.restore import read_trials
from tuner.trials.search import SearchQueue
from tuner.trials.stopping.asha import Asha

MAX_EPOCHS, GRACE, REDUCTION = 18, 2, 3
"""As in the search mp-e4."""
SPEEDS = (1.0, 0.7, 0.4)
NOTICED_AFTER, NEXT_NODE_AFTER, LIFETIME = 20.0, 180.0, 1800.0
SLOTS_PER_NODE = 8
EXTRA_PER_RESULT, EXTRA_PER_START = 2.0, 6.0
"""Milliseconds of Tune and Ray: 0.8 to 1.2 and 2.6 to 3.8 with 24 processes (driver_throughput), and some more."""
PROCESS_START = 8.0
"""Seconds until a worker process is there: Python, torch, Ray (4.6 s and build 1.1 s, by first_step), and CUDA."""
ON_THE_WAY = 0.02
"""Seconds of a report and its answer, packing and sending of the state included, when the driver is free."""
MARKS = (100, 1_000, 10_000)
LOST = Failure(kind="lost worker", reason="spot reclaim", details="simulated")


@dataclass(eq=False)
class Slot:
    """A share of a GPU on one incarnation of a node."""

    node: "Node"
    spec: TrainingSpec | None = None
    epoch: int = 0
    idle_since: float | None = None
    ready_at: float = 0.0
    next_state: float = 0.0
    best_score: float = math.inf


@dataclass(eq=False)
class Node:
    """From joining to its reclaim."""

    speed: float
    dies_at: float
    slots: list[Slot] = field(default_factory=list)


@dataclass
class Driver:
    """One process that does one thing at a time."""

    extra_per_result: float
    extra_per_start: float
    fixed_service: float | None
    free_at: float = 0.0
    busy: float = 0.0
    computing: float = 0.0

    def serve(self, now: float, extra: float, work: Callable[[], Any]) -> Any:
        """Do something as soon as the driver is free; `free_at` is then when it is done."""
        start = time.process_time()
        result = work()
        own = time.process_time() - start if self.fixed_service is None else self.fixed_service
        self.free_at = max(self.free_at, now) + own + extra
        self.computing += own
        self.busy += own + extra
        return result


class TimedStudy(Study):
    """Notes how long proposals take."""

    seconds: list[float]

    def propose(self, number: int) -> dict[str, Value] | None:
        """As the study does."""
        start = time.process_time()
        point = super().propose(number)
        self.seconds.append(time.process_time() - start)
        return point


class Simulation:
    """Nodes, slots, a clock, and a driver with the real bookkeeping."""

    def __init__(
        self, work: SearchQueue, driver: Driver, curves: Curves, *, nodes: int, state_bytes: int, seed: int
    ) -> None:
        """At time 0 all nodes join."""
        self.work, self.driver, self.curves = work, driver, curves
        self.state_bytes = state_bytes
        self._checkpoint = checkpoint(state_bytes // 20)
        self._numbers = random.Random(derived_seed(seed, "nodes"))
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._order = itertools.count()
        self._waiting: dict[Slot, None] = {}
        self._out_of_work_at: float | None = None
        self._console = Console(file=io.StringIO(), force_terminal=True, width=100)
        self._next_table = 0.0
        self.results = self.starts = self.reclaims = self.epochs_lost = self.epochs_repeated = 0
        self.slot_seconds = self.idle_seconds = self.idle_in_starting_processes = 0.0
        self.longest_wait = 0.0
        for index in range(nodes):
            self._at(0.0, lambda now, index=index: self._join(now, SPEEDS[index % len(SPEEDS)]))  # type: ignore[misc]

    @property
    def out_of_work_at(self) -> float | None:
        """When the last trial had been handed out."""
        return self._out_of_work_at

    def run(self) -> float:
        """Until the work is done; returns the simulated seconds."""
        now = 0.0
        while self._events and not (self._out_of_work_at is not None and self.work.done()):
            now, _, happen = heapq.heappop(self._events)
            if now >= self._next_table:
                self._next_table = max(now, self.driver.free_at) + 0.5
                self.driver.serve(now, 0.0, lambda: self._draw(now))  # noqa: B023 - called at once
            happen(now)
        return max(now, self.driver.free_at)

    def _draw(self, now: float) -> None:
        self._console.print(render(self.work.board, dict.fromkeys(TASKS, "eV"), max(now, 1e-3), None, 100))
        assert isinstance(self._console.file, io.StringIO)
        self._console.file.seek(0)
        self._console.file.truncate()

    def _at(self, when: float, happen: Callable[[float], None]) -> None:
        heapq.heappush(self._events, (when, next(self._order), happen))

    # Nodes.

    def _join(self, now: float, speed: float) -> None:
        node = Node(speed=speed, dies_at=now + self._numbers.expovariate(1 / LIFETIME))
        node.slots = [Slot(node, ready_at=now + PROCESS_START) for _ in range(SLOTS_PER_NODE)]
        self._at(node.dies_at, lambda then: self._reclaim(then, node))
        for slot in node.slots:
            self._free(now, slot)

    def _reclaim(self, now: float, node: Node) -> None:
        self.reclaims += 1
        self._at(now + NEXT_NODE_AFTER, lambda then: self._join(then, node.speed))
        for slot in node.slots:
            self._stop_waiting(now, slot)
            if slot.spec is not None:
                self.epochs_lost += 1
                self._at(now + NOTICED_AFTER, lambda then, slot=slot: self._lost(then, slot))  # type: ignore[misc]

    def _lost(self, now: float, slot: Slot) -> None:
        spec, slot.spec = slot.spec, None
        if spec is not None:
            self.driver.serve(now, self.driver.extra_per_start, lambda: self.work.on_failure(spec.key, LOST))
            self._hand_out(now)

    # Slots.

    def _free(self, now: float, slot: Slot) -> None:
        slot.spec = None
        slot.idle_since = now
        self._waiting[slot] = None
        self._hand_out(now)

    def _hand_out(self, now: float) -> None:
        """The driver fills the free slots; each start takes its time."""
        while self._waiting:
            slot = next(iter(self._waiting))
            spec = self.driver.serve(now, 0.0, self.work.next_training)
            if spec is None:
                self._out_of_work_at = self._out_of_work_at or self.driver.free_at
                return
            del self._waiting[slot]
            self.driver.serve(now, self.driver.extra_per_start, lambda spec=spec: self.work.on_start(spec.key))  # type: ignore[misc]
            self.starts += 1
            state = self.driver.serve(now, 0.0, lambda spec=spec: self.work.saved_state(spec.key))  # type: ignore[misc]
            slot.spec, slot.epoch = spec, int(state) if state is not None else 0
            slot.next_state, slot.best_score = 0.0, math.inf
            self._train(slot)

    def _train(self, slot: Slot) -> None:
        """The next epoch begins when the driver has said so."""
        answered = self.driver.free_at + ON_THE_WAY
        begins = max(answered, slot.ready_at)
        if begins > answered:
            self.idle_in_starting_processes += begins - max(answered, slot.idle_since or 0.0)
        self._stop_waiting(begins, slot)
        assert slot.spec is not None
        slot.epoch += 1
        seconds = self.curves.seconds(slot.spec, slot.epoch, slot.node.speed)
        if begins + seconds < slot.node.dies_at:
            self.slot_seconds += seconds
            self._at(begins + seconds, lambda then: self._epoch_ends(then, slot))

    def _epoch_ends(self, now: float, slot: Slot) -> None:
        spec, epoch = slot.spec, slot.epoch
        assert spec is not None
        slot.idle_since = now
        if self.curves.fails(spec, epoch):
            failure = Failure(kind="exception", reason="RuntimeError: no luck", details="simulated")
            self.driver.serve(now, self.driver.extra_per_result, lambda: self.work.on_failure(spec.key, failure))
            self._free(now, slot)
            return
        self.results += 1
        finished = epoch == spec.epochs
        body = self._body(spec, epoch)
        state = best = None
        if not finished and now >= slot.next_state:
            state, slot.next_state = str(epoch).encode().ljust(self.state_bytes), now + spec.state_every
        if body["score"] is not None and body["score"] < slot.best_score:
            best, slot.best_score = self._checkpoint, body["score"]
        self.epochs_repeated += epoch <= self.work.board.trainings[spec.key].epoch
        report = EpochResult(epoch=epoch, finished=finished, body=body, state=state, best=best)
        goes_on = self.driver.serve(now, self.driver.extra_per_result, lambda: self.work.on_result(spec.key, report))
        if goes_on:
            self._train(slot)
        else:
            self._free(now, slot)

    def _body(self, spec: TrainingSpec, epoch: int) -> dict[str, Any]:
        score = self.curves.score(spec, epoch)
        metrics = {t: {"mae": score, "rmse": score, "r2": 0.5, "mae_over_mad": score, "count": 2900} for t in TASKS}
        return {
            "epoch": epoch,
            "train_loss": score,
            "learning_rate": 0.01,
            "score": score,
            "metrics": metrics,
            "diverged": score is None,
            "seconds": 10.0,
            "num_crystals": 26_000,
        }

    def _stop_waiting(self, now: float, slot: Slot) -> None:
        self._waiting.pop(slot, None)
        if slot.idle_since is None:
            return
        begin, slot.idle_since = slot.idle_since, None
        until = min(now, slot.node.dies_at, self._out_of_work_at or math.inf)
        waited = max(0.0, until - begin)
        self.slot_seconds += waited
        self.idle_seconds += waited
        self.longest_wait = max(self.longest_wait, waited)


def checkpoint(size: int) -> bytes:
    """A best checkpoint as a worker hands it over; small, because each of the trials keeps one on disk."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text("{}")
        (Path(folder) / "model.safetensors").write_bytes(bytes(size))
        return pack(Path(folder))


def settings(trials: int, seed: int) -> SearchSettings:
    """Of a run folder that tuner.report can read."""
    return SearchSettings(
        space_name="table5",
        space_text=read_space_text("table5")[1],
        store=None,
        fingerprint="none",
        tasks=TASKS,
        units=("eV",) * len(TASKS),
        split={"train": 23_000, "validation": 3_000, "test": 3_000, "rule": "none", "seed": 0},
        seed=seed,
        sampler="tpe",
        stopping={"rule": "asha", "grace_epochs": GRACE, "reduction": REDUCTION},
        max_epochs=MAX_EPOCHS,
        trials=trials,
        finalists=0,
        finalist_seeds=1,
    )


def bookkeeping(run: RunFolder, trials: int, seed: int) -> tuple[TimedStudy, SearchQueue, Asha]:
    """Begin a search, or go on with it."""
    study = TimedStudy(table5(), sampler="tpe", seed=seed)
    study.seconds = []
    asha = Asha(grace_epochs=GRACE, reduction=REDUCTION, max_epochs=MAX_EPOCHS)
    work = SearchQueue(
        run,
        study,
        rule=asha,
        num_trials=trials,
        max_epochs=MAX_EPOCHS,
        seed=seed,
        notice=lambda queue, what, training: None,
    )
    return study, work, asha


def check(run: RunFolder, work: SearchQueue, asha: Asha, trials: int) -> None:
    """Each trial exactly once; what is read, log, table and rungs agree.

    Raises:
        AssertionError: if they do not.
    """
    records = list(read_trials(run).values())
    curves: dict[int, dict[int, float]] = {}
    epochs: dict[int, list[int]] = {}
    for line in epochs_in(run.epochs):
        epochs.setdefault(int(line["key"]), []).append(line["epoch"])
        if line["body"]["score"] is not None:
            curves.setdefault(int(line["key"]), {})[line["epoch"]] = line["body"]["score"]
    assert [record.number for record in records] == list(range(trials))
    assert list(work.board.trainings) == [f"{number:04d}" for number in range(trials)]
    for record in records:
        training = work.board.trainings[f"{record.number:04d}"]
        assert record.state == training.state, (record, training)
        assert dict(record.curve) == curves.get(record.number, {}), record
        assert epochs.get(record.number, []) == list(range(1, training.epoch + 1)), record
        assert dict(record.params) == dict(training.params), record
    for rung, values in asha.rungs().items():
        for number, value in values.items():
            assert value == min(score for epoch, score in curves[number].items() if epoch <= rung), (rung, number)
        assert set(values) == {number for number, curve in curves.items() if rung in curve}, rung


def main(argv: Sequence[str] | None = None) -> int:
    command = parser(__doc__, "simulate_cluster")
    add = command.add_argument
    add("--trials", type=int, default=10_000, metavar="N")
    add("--nodes", type=int, default=100, metavar="N", help="of 8 slots each (100)")
    add("--epoch-seconds", type=float, default=10.0, metavar="S", help="of a usual epoch on the fastest nodes (10)")
    add("--extra-per-result", type=float, default=EXTRA_PER_RESULT, metavar="MS", help="of Tune and Ray")
    add("--extra-per-start", type=float, default=EXTRA_PER_START, metavar="MS", help="of Tune and Ray")
    add(
        "--disk",
        type=float,
        default=2.0,
        metavar="MS",
        help="until a line is on disk, per result and start (2)",
    )
    add("--state-bytes", type=int, default=1_200_000, metavar="N", help="of a training's state (1,200,000)")
    add("--folder", metavar="DIR", help="for the run, which may write 200 GB: a folder in memory, say /dev/shm")
    add("--service-ms", type=float, metavar="MS", help="constant in place of the measured time of the bookkeeping")
    add("--seed", type=int, default=0, metavar="S")
    arguments = command.parse_args(argv)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        results = simulate(arguments, RunFolder(Path(folder)))
    question = (__doc__ or "").partition("\n")[0]
    return finish(question, results, arguments.output, repeats=1, packages=["optuna", "ray"])


def simulate(arguments: argparse.Namespace, run: RunFolder) -> dict[str, Any]:
    """One search from its first trial to its last, a restart, a report."""
    run.write({"settings": settings(arguments.trials, arguments.seed).as_dict(), "status": "searching"})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    study, work, asha = bookkeeping(run, arguments.trials, arguments.seed)
    driver = Driver(
        extra_per_result=(arguments.extra_per_result + arguments.disk) / 1000,
        extra_per_start=(arguments.extra_per_start + arguments.disk) / 1000,
        fixed_service=None if arguments.service_ms is None else arguments.service_ms / 1000,
    )
    curves = Curves(arguments.epoch_seconds, arguments.seed)
    simulation = Simulation(
        work, driver, curves, nodes=arguments.nodes, state_bytes=arguments.state_bytes, seed=arguments.seed
    )
    ended = simulation.run()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    check(run, work, asha, arguments.trials)
    best = work.board.best()
    assert best is not None
    whole = simulation.out_of_work_at or ended
    results = {
        "slots": arguments.nodes * SLOTS_PER_NODE,
        "usual_epoch_seconds_on_the_fastest_nodes": arguments.epoch_seconds,
        "tune_and_ray_milliseconds_per_result": arguments.extra_per_result,
        "tune_and_ray_milliseconds_per_start": arguments.extra_per_start,
        "disk_milliseconds_per_result_and_start": arguments.disk,
        "seconds_until_a_process_has_started": PROCESS_START,
        "milliseconds_of_a_report_on_its_way": 1000 * ON_THE_WAY,
        "state_bytes": arguments.state_bytes,
        "trials_each_exactly_once": arguments.trials,
        "trials_by_outcome": {
            state: work.board.count(state) for state in ("finished", "stopped", "diverged", "failed")
        },
        "study_table_log_and_rungs_agree": True,
        "results": simulation.results,
        "nodes_reclaimed": simulation.reclaims,
        "epochs_cut_short": simulation.epochs_lost,
        "epochs_trained_again": simulation.epochs_repeated,
        "simulated_seconds": round(ended),
        "simulated_seconds_until_the_last_trial_began": round(whole),
        "results_per_second": round(simulation.results / ended, 1),
        "results_per_second_that_the_driver_bears": round(simulation.results / driver.busy, 1),
        "results_per_second_of_the_bookkeeping_alone": round(simulation.results / driver.computing, 1),
        "driver_busy_percent": round(100 * driver.busy / ended, 1),
        "slots_idle_percent": round(100 * simulation.idle_seconds / simulation.slot_seconds, 2),
        "of_which_waiting_for_processes_to_start_percent": round(
            100 * simulation.idle_in_starting_processes / simulation.slot_seconds, 2
        ),
        "of_which_reports_on_their_way_percent": round(
            100 * ON_THE_WAY * (simulation.results + simulation.starts) / simulation.slot_seconds, 2
        ),
        "longest_wait_of_a_slot_seconds": round(simulation.longest_wait, 2),
        **{
            f"milliseconds_per_suggestion_at_{mark}_trials": round(
                1000 * statistics.median(study.seconds[max(0, mark - 40) : mark]), 1
            )
            for mark in MARKS
            if mark <= arguments.trials
        },
        "driver_peak_memory_megabytes": round(peak / 1000),
        "of_which_before_the_search_megabytes": round(before / 1000),
        "best_score": best.best_score,
        "floor_of_the_best_trial": round(curves.floor(best.params), 4),
    }
    start = time.perf_counter()
    _, again, asha = bookkeeping(run, arguments.trials, arguments.seed)
    results["seconds_to_open_the_run_again"] = round(time.perf_counter() - start, 1)
    check(run, again, asha, arguments.trials)
    start = time.perf_counter()
    write_report(summarize_run(run))
    results["seconds_for_a_report"] = round(time.perf_counter() - start, 1)
    results["journal_megabytes"] = round(run.journal.stat().st_size / 1e6, 1)
    return results


if __name__ == "__main__":
    sys.exit(main())
