"""What does a search cost besides training: to start, per trial, per epoch, to stop, per proposal?

Trainings that do nothing, through the real thing: Ray, Tune, Optuna's journal, the log of epochs, states on disk. Per
trial and per epoch follow from two searches that differ in the number of epochs alone. Proposals are timed without Ray,
at 10, 100 and 500 trials known.
"""

import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks._report import finish, parser, spread
from tuner.cluster.executor import execute
from tuner.cluster.resources import Resources
from tuner.cluster.session import Cluster
from tuner.protocol import TrainingSpec
from tuner.run import jsonlines
from tuner.run.log import Training, key_of
from tuner.run.run_folder import RunFolder
from tuner.signals import Signals
from tuner.space.space import Space
from tuner.space.toml import parse_space, read_space_text
from tuner.study.study import Study
from tuner.trials.search import SearchQueue
from tuner.trials.stopping import SECTIONS
from tuner.trials.stopping.none import NoStopping

TRIALS, FEW_EPOCHS, MANY_EPOCHS, REPEATS = 30, 1, 11, 3
PROPOSALS = (10, 100, 500)
KNOWN = ("num_convs", "atom_dim", "head_dim", "num_head_layers", "weight_decay", "learning_rate")


@dataclass
class NoReport:
    """An epoch of nothing."""

    epoch: int
    score: float

    def as_dict(self) -> dict[str, Any]:
        """As `model.training.EpochReport` does."""
        metrics = {task: {"mae": self.score} for task in ("a", "b", "c")}
        return {"epoch": self.epoch, "score": self.score, "metrics": metrics, "seconds": 0.0, "num_crystals": 1}


class NoTraining:
    """Counts epochs."""

    def __init__(self, spec: TrainingSpec) -> None:
        """At epoch 0."""
        self.spec, self.epoch, self.best_epoch = spec, 0, 0

    @property
    def finished(self) -> bool:
        """Whether all epochs are counted."""
        return self.epoch >= self.spec.epochs

    def run_epoch(self) -> NoReport:
        """Count one."""
        self.epoch += 1
        self.best_epoch = self.epoch
        return NoReport(self.epoch, 1 / self.epoch)

    def save_state(self, folder: Path) -> None:
        """A small file."""
        jsonlines.write_json(folder / "state.json", {"epoch": self.epoch})

    def load_state(self, folder: Path) -> None:
        """Never asked for here."""
        raise NotImplementedError

    def save_best(self, folder: Path, extra: dict[str, Any]) -> None:
        """A small file."""
        jsonlines.write_json(folder / "config.json", extra)


class NoTrainingFactory:
    """Makes trainings of nothing."""

    def build(self, spec: TrainingSpec) -> NoTraining:
        """At epoch 0."""
        return NoTraining(spec)

    def provenance(self, spec: TrainingSpec) -> dict[str, Any]:
        """Nothing to tell."""
        return {}


def table5() -> Space:
    """Table 5 for three tasks."""
    return parse_space(
        read_space_text("table5")[1], "table5.toml", ("a", "b", "c"), KNOWN, lambda name, value: None, SECTIONS
    )


def search(epochs: int) -> float:
    """Seconds for TRIALS trials of some epochs, one at a time, on a Ray that runs."""
    with tempfile.TemporaryDirectory() as folder:
        run = RunFolder(Path(folder))
        work = SearchQueue(
            run,
            Study(table5(), sampler="tpe", seed=0),
            rule=NoStopping(max_epochs=3),
            num_trials=TRIALS,
            max_epochs=epochs,
            seed=0,
            notice=lambda queue, what, training: None,
        )
        start = time.perf_counter()
        execute(
            work,
            NoTrainingFactory(),
            resources=Resources(cpus=1, gpus=0),
            concurrency=1,
            signals=Signals(),
            tick=lambda: True,
        )
        return time.perf_counter() - start


def proposals() -> dict[str, float]:
    """Milliseconds to propose a trial when so many are known."""
    found = {}
    study = Study(table5(), sampler="tpe", seed=0)
    for number in range(max(PROPOSALS) + 5):
        start = time.perf_counter()
        point = study.propose(number)
        seconds = time.perf_counter() - start
        assert point is not None
        training = Training(key=key_of(number), params=point)
        study.add(training)
        training.add({"key": training.key, "epoch": 1, "decision": "finished", "body": {"score": 1.0 + number % 7}})
        study.add(training)
        if number in PROPOSALS:
            found[f"milliseconds_per_proposal_at_{number}_trials"] = 1000 * seconds
    return found


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser(__doc__, "search_overhead").parse_args(argv)
    starts, stops, few, many = [], [], [], []
    for _ in range(REPEATS):
        start = time.perf_counter()
        with Cluster(None):
            starts.append(time.perf_counter() - start)
            few.append(search(FEW_EPOCHS))
            many.append(search(MANY_EPOCHS))
            start = time.perf_counter()
        stops.append(time.perf_counter() - start)
    epochs = TRIALS * (MANY_EPOCHS - FEW_EPOCHS)
    per_epoch = [1000 * (long - short) / epochs for short, long in zip(few, many, strict=True)]
    results = {
        "start_of_ray": spread(starts, "seconds"),
        "stop_of_ray": spread(stops, "seconds"),
        f"search_of_{TRIALS}_trials_of_1_epoch": spread(few, "seconds"),
        "per_trial_of_1_epoch": spread([1000 * seconds / TRIALS for seconds in few], "milliseconds"),
        "per_epoch": spread(per_epoch, "milliseconds"),
        "proposal": proposals(),
    }
    question = (__doc__ or "").partition("\n")[0]
    return finish(question, results, arguments.output, repeats=REPEATS, packages=["ray", "optuna"])


if __name__ == "__main__":
    sys.exit(main())
