"""The best few trials, trained again with several seeds; then, once, the test split."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tuner.protocol import TrainingSpec
from tuner.run.log import Training, trainings_of
from tuner.run.run_folder import RunFolder
from tuner.run.trial_folder import BEST, TrialFolder
from tuner.seeds import derived_seed
from tuner.trials.board import Board
from tuner.trials.bookkeeper import Bookkeeper, Notice, TrialLimits

Evaluate = Callable[[Path], Mapping[str, Mapping[str, float | None]]]
"""Metrics by task of a checkpoint on the test split."""


MOST = 3
"""Finalists, and trainings of each, that are chosen by default."""
_SHARE = 3
"""Finalists take one in so many of the epochs that trials trained."""


def choose_numbers(trained: int, each: int, finalists: int | None = None, seeds: int | None = None) -> tuple[int, int]:
    """How many trials are trained again, and how often each: what a third of the search's epochs pays for.

    At least one training, at most 3 x 3; rather more finalists than more trainings of each. It depends on nothing but
    the log, so a resumed search decides the same.

    Args:
        trained: epochs of all trials.
        each: epochs of a finalist's training.
        finalists: as the user wants it, or None.
        seeds: likewise.
    """
    affordable = trained // (_SHARE * each)
    if finalists is None and seeds is None:
        pairs = [(k, s) for k in range(1, MOST + 1) for s in range(1, MOST + 1) if k * s <= max(1, affordable)]
        return max(pairs, key=lambda pair: (pair[0] * pair[1], pair[0]))
    if finalists is None:
        assert seeds is not None
        return max(1, min(MOST, affordable // seeds)), seeds
    if seeds is None:
        return finalists, max(1, min(MOST, affordable // max(1, finalists)))
    return finalists, seeds


class FinalistQueue(Bookkeeper):
    """Each of the best trials with each seed, to the full number of epochs. Resumable like the search."""

    def __init__(
        self,
        run: RunFolder,
        trials: Sequence[Training],
        *,
        num_seeds: int,
        max_epochs: int,
        seed: int,
        notice: Notice,
        limits: TrialLimits | None = None,
    ) -> None:
        """Begin, or go on where the log ends.

        Args:
            run: where the files are.
            trials: the finalists, best first.
            num_seeds: trainings of each.
            max_epochs: of each training.
            seed: of the study.
            notice: called with what happens.
            limits: what every training is granted.
        """
        board = Board(title="finalists", planned=len(trials) * num_seeds, max_epochs=max_epochs)
        super().__init__(board, run.finalist_epochs, run.failures, notice, limits)
        self._folders: dict[str, TrialFolder] = {}
        specs = {}
        for repeat in range(num_seeds):
            for trial in trials:
                number = int(trial.key)
                folder = run.finalist(number, repeat)
                self._folders[folder.name] = TrialFolder(folder)
                specs[folder.name] = TrainingSpec(
                    key=folder.name,
                    params=dict(trial.params),
                    seed=derived_seed(seed, "finalist", number, repeat),
                    epochs=max_epochs,
                )
        lines = [line for line in self._log.lines() if line["key"] in specs]
        for line in lines:
            self._learn(line)
        begun = trainings_of(lines)
        self._pending: list[TrainingSpec] = []
        for key, spec in specs.items():
            training = begun.get(key)
            if training is not None:
                training.params = spec.params
                self.board.trainings[key] = training
            if training is not None and training.has_ended:
                self._folders[key].conclude()
            else:
                self._pending.append(spec)
                if training is not None:
                    training.state = "waiting"

    @property
    def keys(self) -> tuple[str, ...]:
        """Of all trainings, begun or not."""
        return tuple(self._folders)

    def plan(self) -> str:
        """What is done, gone on with and begun, in words."""
        done = self.board.num_ended
        begun = len(self.board.trainings) - done
        parts = [
            (done, "done already"),
            (begun, "gone on with"),
            (len(self._pending) - begun, "to begin"),
        ]
        return ", ".join(f"{number} {what}" for number, what in parts if number)

    def _folder(self, key: str) -> TrialFolder:
        return self._folders[key]

    def _new_training(self) -> TrainingSpec | None:
        return self._pending.pop(0) if self._pending else None


def summarize(
    run: RunFolder, trials: Sequence[Training], board: Board, units: Mapping[str, str], evaluate: Evaluate
) -> dict[str, Any] | None:
    """Read the test split with every finalist's checkpoint.

    The winner is the trial with the lowest mean validation score; of its trainings, the one with the lowest validation
    score is the one to ship. The test split decides nothing.

    Returns:
        What finalists.json shall hold; None if no finalist could be trained.
    """
    entries: list[dict[str, Any]] = []
    for trial in trials:
        runs: list[dict[str, Any]] = []
        for key, training in sorted(board.trainings.items()):
            if not key.startswith(f"{trial.key}-seed") or training.state != "finished" or training.best_score is None:
                continue
            folder = run.finalists_json.parent / "finalists" / key / BEST
            runs.append(
                {
                    "key": key,
                    "folder": str(folder.relative_to(run.path)),
                    "best_epoch": training.best_epoch,
                    "validation_score": training.best_score,
                    "validation": dict(training.best_metrics),
                    "test": {task: dict(metrics) for task, metrics in evaluate(folder).items()},
                }
            )
        if runs:
            scores = [entry["validation_score"] for entry in runs]
            entries.append(
                {
                    "trial": int(trial.key),
                    "params": dict(trial.params),
                    "search_score": trial.best_score,
                    "validation_score": mean_and_spread(scores),
                    "validation": _over_seeds(runs, "validation", units),
                    "test": _over_seeds(runs, "test", units),
                    "runs": runs,
                }
            )
    if not entries:
        return None
    entries.sort(key=lambda entry: entry["validation_score"]["mean"])
    runs_of_winner: list[dict[str, Any]] = entries[0]["runs"]
    best_run = min(runs_of_winner, key=lambda entry: float(entry["validation_score"]))
    return {
        "selected": {"trial": entries[0]["trial"], "key": best_run["key"], "folder": best_run["folder"]},
        "units": dict(units),
        "finalists": entries,
    }


def mean_and_spread(values: Sequence[float]) -> dict[str, float | None]:
    """Mean and sample standard deviation; the latter is None for a single value."""
    mean = sum(values) / len(values)
    if len(values) < 2:
        return {"mean": mean, "std": None}
    return {"mean": mean, "std": math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))}


def _over_seeds(runs: Sequence[Mapping[str, Any]], part: str, units: Mapping[str, str]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for task in units:
        result[task] = {}
        for metric in ("mae", "rmse", "r2", "mae_over_mad"):
            values = [value for entry in runs if (value := entry[part].get(task, {}).get(metric)) is not None]
            if values:
                result[task][metric] = mean_and_spread(values)
    return result
