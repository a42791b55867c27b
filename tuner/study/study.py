"""The study on disk: parameters, curves and outcomes of all trials, in Optuna's journal.

The journal opens in optuna-dashboard. Proposals are a function of (seed, trial number, what is known of other trials),
see `proposals.py`: a resumed search proposes what the uninterrupted one would have.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from tuner.run.retry import once
from tuner.run.settings import Sampler
from tuner.space.parameter import Parameter, Value
from tuner.space.space import Space
from tuner.study.divergence import Divergences
from tuner.study.grid import Grid, Tried
from tuner.study.journal import BoundedStorage, JournalFile
from tuner.study.sampler import SeededSampler, distribution_of, quiet

Outcome = Literal["finished", "stopped", "diverged", "failed"]

WORST_SCORE = 100.0
"""Cap of the values that are told: a hundred times worse than predicting the mean."""

_NAME = "crystune"
_STATES = {
    "finished": TrialState.COMPLETE,
    "diverged": TrialState.PRUNED,
    "stopped": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialRecord:
    """What the study knows of a trial."""

    number: int
    outcome: Outcome | None
    """None while it runs."""
    params: Mapping[str, Value]
    curve: Mapping[int, float]
    """Score by epoch, as reported."""
    reason: str
    """Why it failed, else empty."""


class Study:
    """Asks for trials and remembers what became of them."""

    def __init__(
        self,
        journal: Path,
        space: Space,
        *,
        sampler: Sampler,
        seed: int,
        retry: Callable[[Callable[[], Any]], Any] = once,
    ) -> None:
        """Open the study, or begin it. One process at a time may do so (see `RunFolder.only_writer`).

        Args:
            journal: file to write.
            space: to draw from.
            sampler: who draws.
            seed: of the sampler.
            retry: how to write what must not be lost, see `tuner.run.retry`.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._space = space
        self._size = space.size()
        self._tried = Tried(space)
        self._divergences = Divergences(space)
        self._storage = BoundedStorage(JournalFile(journal, retry))
        proposer = SeededSampler(
            space, seed, jointly=sampler == "tpe", tried=self._tried, divergences=self._divergences
        )
        with quiet():
            self._study = optuna.create_study(
                storage=self._storage,
                study_name=_NAME,
                sampler=proposer,
                direction="minimize",
                load_if_exists=True,
            )
        self._trials: dict[int, optuna.trial.Trial] = {}
        self._grid = Grid(space, seed) if sampler == "grid" else None
        if not self._storage.num_trials and space.baseline is not None:
            self._study.enqueue_trial(dict(space.baseline))
        for trial in self._storage.every_trial():
            if space.is_whole(trial.params):  # else it waits, or a killed ask() left it undrawn
                self._tried.add(trial.params)
                self._count(trial)

    @property
    def num_trials(self) -> int:
        """Trials begun."""
        return self._storage.num_trials - len(self._storage.in_state(TrialState.WAITING))

    @property
    def exhausted(self) -> str | None:
        """Where every point of the space was tried, a sentence that says so; else None."""
        if self._size is None or len(self._tried) < self._size:
            return None
        which = f"all {self._size:,} points" if self._size > 1 else "the only point"
        return f"{which} of {self._space.source} {'have' if self._size > 1 else 'has'} been tried"

    def ask(self) -> tuple[int, dict[str, Value]] | None:
        """Begin a new trial: its number and parameters; None if no enqueued one waits and every point was tried.

        Whatever became of them, points are tried once. Trials that a killed process began must have been asked for by
        `running` before.
        """
        waiting = self._storage.in_state(TrialState.WAITING)
        if not waiting and self.exhausted:
            return None
        number = min(waiting, default=self._storage.num_trials)
        with self._storage.journal.together():
            if self._grid is not None and not waiting:
                point = self._grid.first_not_in(self._tried)
                assert point is not None, "else the space is exhausted"
                self._study.enqueue_trial(point)
            trial = self._study.ask()
            assert trial.number == number, (trial.number, number)
            self._trials[number] = trial
            return number, self._draw(trial)

    def enqueue(self, params: Mapping[str, Value]) -> None:
        """Have these parameters tried next, under a new number."""
        self._study.enqueue_trial(dict(params))

    def running(self) -> list[tuple[int, dict[str, Value]]]:
        """Trials begun and not ended, with their parameters; what a killed ask() left undrawn is drawn now."""
        return [(number, self._draw(self._trial(number))) for number in self._storage.in_state(TrialState.RUNNING)]

    def report(self, number: int, epoch: int, score: float) -> None:
        """Add a point to a trial's learning curve; a point that is there stays as it is."""
        trial = self._trial(number)
        if epoch not in self._storage.get_trial(number).intermediate_values:
            trial.report(score, epoch)

    def tell(self, number: int, outcome: Outcome, score: float | None = None, reason: str = "") -> None:
        """End a trial. A trial that has ended stays as it is.

        Args:
            number: of the trial.
            outcome: "finished" needs a score; "stopped" counts with its learning curve; "diverged" ranks last.
            score: best score of the trial, lower is better.
            reason: of a failure.
        """
        if self._storage.get_trial(number).state.is_finished():
            return
        trial = self._trial(number)
        trial.set_user_attr("outcome", outcome)
        if score is not None:
            trial.set_user_attr("best_score", score)
        if reason:
            trial.set_user_attr("reason", reason)
        value = None
        if outcome == "diverged":
            trial.set_user_attr("diverged", True)
        elif outcome == "finished":
            assert score is not None
            value = min(score, WORST_SCORE)
        self._study.tell(number, value, state=_STATES[outcome])
        self._count(self._storage.get_trial(number))
        self._trials.pop(number, None)

    def records(self) -> list[TrialRecord]:
        """All trials begun, by number."""
        return [_record(trial) for trial in self._storage.every_trial() if trial.state != TrialState.WAITING]

    def _count(self, trial: FrozenTrial) -> None:
        if trial.state in (TrialState.COMPLETE, TrialState.PRUNED):
            self._divergences.add(trial.number, trial.params, diverged=trial.user_attrs.get("outcome") == "diverged")

    def _trial(self, number: int) -> optuna.trial.Trial:
        if number not in self._trials:
            self._trials[number] = optuna.trial.Trial(self._study, number)
        return self._trials[number]

    def _draw(self, trial: optuna.trial.Trial) -> dict[str, Value]:
        chosen: dict[str, Value] = {}
        for parameter in self._space.parameters:
            if parameter.is_active(chosen):
                chosen[parameter.name] = _suggest(trial, parameter)
        self._tried.add(chosen)
        return chosen


def read_records(journal: Path) -> list[TrialRecord]:
    """All trials of a study that somebody else may be writing; empty if there is none yet."""
    study = _load(journal)
    trials = study.get_trials(deepcopy=False) if study is not None else []
    return [_record(trial) for trial in trials if trial.state != TrialState.WAITING]


def _load(journal: Path) -> optuna.Study | None:
    if not journal.exists():
        return None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        return optuna.load_study(
            study_name=_NAME,
            storage=optuna.storages.JournalStorage(JournalFileBackend(str(journal))),
            sampler=optuna.samplers.RandomSampler(seed=0),
        )
    except KeyError:
        return None


def _record(trial: FrozenTrial) -> TrialRecord:
    outcome: Outcome | None = None
    if trial.state.is_finished():
        default = {TrialState.COMPLETE: "finished", TrialState.PRUNED: "stopped"}.get(trial.state, "failed")
        outcome = trial.user_attrs.get("outcome", default)
    return TrialRecord(
        number=trial.number,
        outcome=outcome,
        params=dict(trial.params),
        curve=dict(sorted(trial.intermediate_values.items())),
        reason=str(trial.user_attrs.get("reason", "")),
    )


def _suggest(trial: optuna.trial.Trial, parameter: Parameter) -> Value:
    distribution = distribution_of(parameter)
    if isinstance(distribution, CategoricalDistribution):
        value: Value = trial.suggest_categorical(parameter.name, distribution.choices)  # type: ignore[assignment]
        return value
    if isinstance(distribution, IntDistribution):
        return trial.suggest_int(
            parameter.name, distribution.low, distribution.high, step=distribution.step, log=distribution.log
        )
    assert isinstance(distribution, FloatDistribution)
    return trial.suggest_float(
        parameter.name, distribution.low, distribution.high, step=distribution.step, log=distribution.log
    )
