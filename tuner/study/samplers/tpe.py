"""Tree-structured Parzen estimator: Optuna's, over a space that is known beforehand, away from where trials diverge."""

import json
import warnings
from collections.abc import Container, Mapping
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState

from graphdb.records import Value
from tuner.run.log import Training
from tuner.space.parameter import Parameter
from tuner.space.space import Space
from tuner.study.history import History
from tuner.study.samplers.base import Sampler

WORST_SCORE = 100.0
"""Cap of the values that Optuna is given: a hundred times worse than predicting the mean."""
MAX_REPEATS = 5
"""Points that TPE draws for a trial until one is new; further ones are drawn at random."""
CANDIDATES = 24
"""Points to choose from before TPE begins, where trials diverge; as many as TPE chooses from."""
_Rows = dict[tuple[int, tuple[str, ...]], tuple[float, ...]]
_STATES = {
    "finished": TrialState.COMPLETE,
    "stopped": TrialState.PRUNED,
    "diverged": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}


class TPESampler(Sampler):
    """Draws jointly the parameters that exist under the same condition.

    Optuna would look for those groups, and for the space itself, in all earlier trials, at each proposal; here they
    come from the space.
    """

    def __init__(self, space: Space, seed: int, history: History) -> None:
        """As `Sampler`."""
        super().__init__(space, seed, history)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._distributions = {parameter.name: distribution_of(parameter) for parameter in space.parameters}
        groups: dict[str, dict[str, BaseDistribution]] = {}
        for parameter in sorted(space.parameters, key=lambda parameter: parameter.name):
            distribution = self._distributions[parameter.name]
            if not distribution.single():
                groups.setdefault(json.dumps(parameter.when, sort_keys=True), {})[parameter.name] = distribution
        self.groups = list(groups.values())
        """Parameters that are drawn together, with their distributions."""
        self._constant = {
            parameter.name: parameter.only_value()
            for parameter in space.parameters
            if not parameter.when and self._distributions[parameter.name].single()
        }
        self._known: dict[tuple[int, bool], FrozenTrial] = {}
        self._rows: _Rows = {}

    def draw(self, number: int, repeat: int) -> Mapping[str, Value]:
        """By TPE once enough trials have ended; before, away from where they diverge."""
        if repeat >= MAX_REPEATS:
            return {}
        storage = _Storage([self._frozen(trial) for trial in (*self._shown(), *self.history.running())])
        study = optuna.create_study(storage=storage)
        this = frozen(Training(key=str(number)), {})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            tpe = _CautiousTPE(self.history, self._rows, self._constant, seed=self.seed_of(number, "jointly", repeat))
        drawn: dict[str, Value] = {}
        for group in self.groups:
            tpe.group = group
            drawn.update(tpe.sample_relative(study, this, group))
        if drawn or not self.history.divergences:
            return drawn
        numbers = self.random(number, "candidates", repeat)
        candidates = [
            {parameter.name: parameter.draw(numbers) for parameter in self.space.parameters if not parameter.when}
            for _ in range(CANDIDATES)
        ]
        return max(candidates, key=self._least_caution)

    def _least_caution(self, point: Mapping[str, Value]) -> float:
        return min(self.history.caution(name, value) for name, value in point.items())

    def _shown(self) -> list[Training]:
        """Ended trials; of diverged ones so few that TPE, which takes a tenth for good, takes none of them."""
        ended = self.history.ended()
        usable = sum(trial.state != "diverged" for trial in ended)
        diverged = [trial.number for trial in ended if trial.state == "diverged"]
        hidden = set(diverged[: max(0, len(ended) - 10 * usable)])
        return [trial for trial in ended if trial.number not in hidden]

    def _frozen(self, trial: Training) -> FrozenTrial:
        key = trial.number, trial.has_ended
        if key not in self._known:
            self._known[key] = frozen(trial, self._distributions)
        return self._known[key]


class _CautiousTPE(optuna.samplers.TPESampler):
    """Optuna's TPE, which keeps away from where trials diverge, and looks up what stands for a trial's parameters.

    By itself it avoids such points no more than any other that is not among the best, and returns to them while many
    trials run elsewhere. Four ways of drawing again instead, by what Optuna documents, left 4 to 23 % of the proposals
    of 8 workers there, this leaves 0 to 3 % (`benchmarks.diverged_proposals` measures this one). The look-up saves two
    thirds of the time of a proposal. An Optuna that calls these two methods no more is as right, but slower and less
    cautious.
    """

    def __init__(self, history: History, rows: "_Rows", constant: Mapping[str, Value], *, seed: int) -> None:
        super().__init__(seed=seed, multivariate=True, constant_liar=True)
        self._history = history
        self._rows = rows
        self._constant = constant
        self.group: Mapping[str, BaseDistribution] = {}

    def _compute_acquisition_func(self, samples: dict[str, NDArray[Any]], *estimators: Any) -> NDArray[Any]:
        logarithm: NDArray[Any] = super()._compute_acquisition_func(samples, *estimators)
        against = np.zeros(len(logarithm))
        points: list[dict[str, Value]] = [dict(self._constant) for _ in logarithm]
        for name, values in samples.items():
            different, where = np.unique(values, return_inverse=True)
            external = [self.group[name].to_external_repr(value) for value in different]
            for point, index in zip(points, where, strict=True):
                point[name] = external[index]
            if self._history.divergences:
                cautions = [self._history.caution(name, value) for value in external]
                against = np.minimum(against, np.array(cautions)[where])
        # Of a point that has more parameters, as others are drawn with other conditions, nothing is known here.
        against[[point in self._history.tried for point in points]] = -np.inf
        return logarithm + against

    def _get_internal_repr(
        self, trials: list[FrozenTrial], search_space: dict[str, BaseDistribution], *unused: Any
    ) -> dict[str, NDArray[Any]]:
        names = tuple(search_space)
        rows = []
        for trial in trials:
            row = self._rows.get((trial.number, names))
            if row is None:
                if not search_space.keys() <= trial.params.keys():
                    continue
                row = tuple(float(search_space[name].to_internal_repr(trial.params[name])) for name in names)
                self._rows[trial.number, names] = row
            rows.append(row)
        table = np.array(rows, dtype=float).reshape(-1, len(names))
        return {name: table[:, column] for column, name in enumerate(names)}


class _Storage(InMemoryStorage):
    """Shows a sampler these trials and no others."""

    def __init__(self, trials: list[FrozenTrial]) -> None:
        super().__init__()
        self._shown = sorted(trials, key=lambda trial: trial.number)

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        return [trial for trial in self._shown if states is None or trial.state in states]

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Forget what TPE leaves for samplers in other processes: there are none."""


def frozen(trial: Training, distributions: Mapping[str, BaseDistribution], *, with_curve: bool = False) -> FrozenTrial:
    """A trial in Optuna's terms.

    Args:
        trial: begun or ended.
        distributions: of all parameters.
        with_curve: whether diverged and running trials have their learning curves; a sampler must not see those.
    """
    state = _STATES.get(trial.state, TrialState.RUNNING)
    with_curve |= trial.state in ("finished", "stopped")
    return FrozenTrial(
        number=trial.number,
        trial_id=trial.number,
        state=state,
        value=min(trial.best_score, WORST_SCORE)
        if trial.state == "finished" and trial.best_score is not None
        else None,
        datetime_start=datetime.fromtimestamp(trial.started, UTC),
        datetime_complete=datetime.fromtimestamp(trial.updated, UTC) if trial.has_ended else None,
        params=dict(trial.params),
        distributions={name: distributions[name] for name in trial.params},
        user_attrs={},
        system_attrs={},
        intermediate_values=dict(trial.curve) if with_curve else {},
    )


def distribution_of(parameter: Parameter) -> BaseDistribution:
    """Evenly spaced integers become an integer range, so that the sampler sees their order."""
    if parameter.is_listed:
        values = [value for value in parameter.values if type(value) is int]
        if len(values) == len(parameter.values) and len(values) > 2:
            steps = {right - left for left, right in pairwise(sorted(values))}
            if len(steps) == 1:
                return IntDistribution(min(values), max(values), step=steps.pop())
        return CategoricalDistribution(parameter.values)
    if parameter.integer:
        return IntDistribution(
            int(parameter.low), int(parameter.high), step=int(parameter.step or 1), log=parameter.log
        )
    return FloatDistribution(parameter.low, parameter.high, step=parameter.step, log=parameter.log)
