"""How many proposals of TPE lie where trials diverge, shown as they were before and as they are now?

A search of 250 trials over table5 for each seed, with ASHA, in simulated time and with the real study: 8 or 64 workers,
each busy for as long as its trial's epochs take. Learning curves are those of `_curves`: real ones, shifted by what the
parameters are made up to be worth, with noise. At a learning rate of 0.1, a quarter of the space, trials diverge in one
of their first five epochs: 40 % of them, or all. Counted are the proposals after the first 50. As control, the same
with diverged trials taken for finished ones of score 100, as it was done until November 2026.
"""

import heapq
import itertools
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from benchmarks._curves import Curves
from benchmarks._report import finish, parser
from benchmarks.search_overhead import table5
from tuner.protocol import TrainingSpec
from tuner.run.log import Decision, Training, key_of
from tuner.seeds import derived_seed
from tuner.study.samplers.tpe import WORST_SCORE
from tuner.study.study import Study
from tuner.trials.stopping.asha import Asha

MAX_EPOCHS, GRACE, REDUCTION = 18, 2, 3
"""As in the search mp-e4."""
TRIALS, FIRST = 250, 50
DIVERGING_RATE = 0.1


class StudyAsItWas(Study):
    """Takes diverged trials for finished ones of the worst score."""

    def add(self, trial: Training) -> None:
        """As it was done."""
        if trial.state == "diverged":
            trial = replace(trial, state="finished", best_score=WORST_SCORE)
        super().add(trial)


class Replay:
    """One search."""

    def __init__(self, study: Study, seed: int, share: float) -> None:
        """Begin it."""
        self._study = study
        self._seed = seed
        self._curves = Curves(10.0, seed, diverging=share)
        self._asha = Asha(grace_epochs=GRACE, reduction=REDUCTION, max_epochs=MAX_EPOCHS)
        self.rates: list[float] = []
        self.best = float("inf")

    def run(self, workers: int) -> None:
        """Until the last trial has ended."""
        events = [(0.0, worker) for worker in range(workers)]
        at_work: dict[int, tuple[TrainingSpec, Training]] = {}  # by worker
        while events:
            now, worker = heapq.heappop(events)
            step = self._after_epoch(*at_work.pop(worker)) if worker in at_work else None
            if step is None and len(self.rates) < TRIALS:
                step = self._begin()
            if step is not None:
                at_work[worker] = step
                spec, training = step
                heapq.heappush(events, (now + self._curves.seconds(spec, training.epoch + 1, 1.0), worker))

    def _begin(self) -> tuple[TrainingSpec, Training]:
        number = len(self.rates)
        point = self._study.propose(number)
        assert point is not None
        self.rates.append(float(point["learning_rate"]))
        training = Training(key=key_of(number), params=point)
        self._study.add(training)
        seed = derived_seed(self._seed, "trial", number)
        return TrainingSpec(key=str(number), params=point, seed=seed, epochs=MAX_EPOCHS), training

    def _after_epoch(self, spec: TrainingSpec, training: Training) -> tuple[TrainingSpec, Training] | None:
        epoch = training.epoch + 1
        score = self._curves.score(spec, epoch)
        decision: Decision = "diverged"
        if score is not None:
            best = min(score, math.inf if training.best_score is None else training.best_score)
            goes_on = self._asha.record(training.number, epoch, best)
            decision = "finished" if epoch == MAX_EPOCHS else "continue" if goes_on else "stopped"
        training.add({"key": training.key, "epoch": epoch, "decision": decision, "body": {"score": score}})
        if decision == "continue":
            return spec, training
        self._study.add(training)
        if decision == "finished" and training.best_score is not None:
            self.best = min(self.best, training.best_score)
        return None


def measure(kind: type[Study], share: float, workers: int, seeds: Sequence[int]) -> dict[str, Any]:
    """One search a seed."""
    percent, best = [], []
    for seed in seeds:
        replay = Replay(kind(table5(), sampler="tpe", seed=seed), seed, share)
        replay.run(workers)
        counted = replay.rates[FIRST:]
        percent.append(round(100 * counted.count(DIVERGING_RATE) / len(counted), 1))
        best.append(round(replay.best, 3))
    return {"percent_of_proposals_at_the_rate": percent, "best_score": best}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    command = parser(__doc__, "diverged_proposals")
    command.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4], metavar="S")
    command.add_argument("--workers", type=int, nargs="+", default=[8, 64], metavar="N")
    arguments = command.parse_args(argv)
    results: dict[str, Any] = {"trials": TRIALS, "first_trials_not_counted": FIRST}
    for share, workers in itertools.product((0.4, 1.0), arguments.workers):
        name = f"{workers}_workers_{round(100 * share)}_percent_diverge"
        results[name] = {
            "before": measure(StudyAsItWas, share, workers, arguments.seeds),
            "now": measure(Study, share, workers, arguments.seeds),
        }
        print(json.dumps({name: results[name]}), file=sys.stderr, flush=True)
    question = (__doc__ or "").partition("\n")[0]
    return finish(question, results, arguments.output, repeats=len(arguments.seeds), packages=["optuna"])


if __name__ == "__main__":
    sys.exit(main())
