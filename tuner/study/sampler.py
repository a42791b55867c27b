"""Who proposes parameters: Optuna's samplers, seeded anew for each trial, over a space that is known beforehand."""

import contextlib
import json
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.samplers._tpe.sampler import default_gamma
from optuna.trial import FrozenTrial, TrialState

from tuner.seeds import derived_seed
from tuner.space.parameter import Parameter, Value
from tuner.space.space import Space
from tuner.study.divergence import Divergences
from tuner.study.grid import Grid, Tried

DRAWS, MORE_DRAWS = 5, 40
"""Draws of a point until it is one that was not tried; then the next of the grid is taken. Where there is no grid,
because only some of the points have a continuous parameter, the further draws are at random."""


class SeededSampler(BaseSampler):
    """Draws as a function of seed, trial number, the trials that the storage shows and the points that were tried.

    A point that was tried is drawn again. With TPE, parameters that exist under the same condition are drawn jointly;
    Optuna would look for those groups, and for the space itself, in all earlier trials, at each proposal; here they
    come from the space.
    """

    def __init__(self, space: Space, seed: int, *, jointly: bool, tried: Tried, divergences: Divergences) -> None:
        """Sort the parameters into groups.

        Args:
            space: to draw from.
            seed: of the search.
            jointly: with multivariate TPE; else at random.
            tried: points that shall not be drawn again.
            divergences: what is known of them.
        """
        self._seed = seed
        self._tried = tried
        self._divergences = divergences
        self._grid = Grid(space, seed) if space.size() is not None else None
        self._parameters = [(parameter, distribution_of(parameter)) for parameter in space.parameters]
        self._constant = {
            parameter.name: _only_value(parameter)
            for parameter, distribution in self._parameters
            if distribution.single() and not parameter.when
        }
        self._rows: _Rows = {}
        self._groups: list[dict[str, BaseDistribution]] = []
        if jointly:
            groups: dict[str, dict[str, BaseDistribution]] = {}
            for parameter in sorted(space.parameters, key=lambda parameter: parameter.name):
                distribution = distribution_of(parameter)
                if not distribution.single():
                    groups.setdefault(json.dumps(parameter.when, sort_keys=True), {})[parameter.name] = distribution
            self._groups = list(groups.values())

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """What is drawn by `sample_relative`: all that can vary."""
        return {parameter.name: its for parameter, its in self._parameters if not its.single()}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Draw a point that was not tried; one that is given, wholly or in part, is only completed."""
        fixed = trial.system_attrs.get("fixed_params", {})
        point = self._draw(study, trial, fixed, 0) if fixed else self._new(study, trial)
        return {name: value for name, value in point.items() if name in search_space}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Draw one parameter at random; each has its own seed, so that a draw cut short goes on as it would have."""
        return self._at_random(study, trial, param_name, param_distribution, 0)

    def _new(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, Value]:
        for draw in range(DRAWS if self._grid is not None else MORE_DRAWS):
            point = self._draw(study, trial, {}, draw)
            if point not in self._tried:
                return point
        untried = self._grid.first_not_in(self._tried) if self._grid is not None else None
        return untried if untried is not None else point

    def _draw(self, study: optuna.Study, trial: FrozenTrial, fixed: Mapping[str, Value], draw: int) -> dict[str, Value]:
        jointly = self._jointly(study, trial, draw) if draw < DRAWS else {}
        point: dict[str, Value] = {}
        for parameter, distribution in self._parameters:
            name = parameter.name
            if not parameter.is_active(point):
                continue
            if name in fixed:
                point[name] = fixed[name]
            elif distribution.single():
                point[name] = _only_value(parameter)
            elif name in jointly:
                point[name] = jointly[name]
            else:
                point[name] = self._at_random(study, trial, name, distribution, draw)
        return point

    def _jointly(self, study: optuna.Study, trial: FrozenTrial, draw: int) -> dict[str, Any]:
        """By TPE; nothing before enough trials have ended."""
        drawn: dict[str, Any] = {}
        if self._groups:
            with quiet():
                tpe = _Tpe(
                    self._tried,
                    self._constant,
                    self._divergences,
                    self._rows,
                    seed=derived_seed(self._seed, "sampler", trial.number, "jointly", *_again(draw)),
                    multivariate=True,
                    constant_liar=True,
                )
            for group in self._groups:
                drawn.update(tpe.sample_relative(study, trial, group))
        return drawn

    def _at_random(
        self, study: optuna.Study, trial: FrozenTrial, name: str, distribution: BaseDistribution, draw: int
    ) -> Any:
        sampler = RandomSampler(seed=derived_seed(self._seed, "sampler", trial.number, name, *_again(draw)))
        return sampler.sample_independent(study, trial, name, distribution)


def _only_value(parameter: Parameter) -> Value:
    return (parameter.grid() or (parameter.low,))[0]


def _again(draw: int) -> tuple[int, ...]:
    """What makes the seed of a further draw another one."""
    return (draw,) if draw else ()


_Rows = dict[tuple[int, tuple[str, ...]], tuple[float, ...]]


class _Tpe(TPESampler):
    """Optuna's TPE, which keeps away from where trials diverge, and looks up what stands for a trial's parameters.

    By itself it avoids such points no more than any other that is not among the best, and returns to them while many
    trials run elsewhere. The look-up saves two thirds of the time of a proposal; an Optuna that calls
    `_get_internal_repr` no more is as right, and slower.
    """

    def __init__(
        self, tried: Tried, constant: Mapping[str, Value], divergences: Divergences, rows: _Rows, **how: Any
    ) -> None:
        """As TPESampler.

        Args:
            tried: points that shall not be drawn again.
            constant: parameters that belong to a point and are not drawn.
            divergences: what is known of them.
            rows: kept from one proposal to the next.
            how: as TPESampler.
        """
        super().__init__(**how)
        self._tried = tried
        self._constant = constant
        self._divergences = divergences
        self._rows = rows
        self._good: list[int] = []

    def _sample(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        shown = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
        usable = sum(trial.state == TrialState.COMPLETE or bool(trial.intermediate_values) for trial in shown)
        self._gamma = lambda num_ended: min(default_gamma(num_ended), usable)  # none that diverged is a good one
        self._space = search_space
        return super()._sample(study, trial, search_space)

    def _build_parzen_estimator(
        self,
        study: optuna.Study,
        search_space: dict[str, BaseDistribution],
        trials: list[FrozenTrial],
        *rest: Any,
        **how: Any,
    ) -> Any:
        if how.get("handle_below"):
            self._good = [trial.number for trial in trials]
        return super()._build_parzen_estimator(study, search_space, trials, *rest, **how)

    def _compute_acquisition_func(self, samples: dict[str, NDArray[Any]], *estimators: Any) -> NDArray[Any]:
        logarithm: NDArray[Any] = super()._compute_acquisition_func(samples, *estimators)
        against = np.zeros(len(logarithm))
        points: list[dict[str, Value]] = [dict(self._constant) for _ in logarithm]
        for name, values in samples.items():
            different, where = np.unique(values, return_inverse=True)
            external = [self._space[name].to_external_repr(value) for value in different]
            for point, index in zip(points, where, strict=True):
                point[name] = external[index]
            if self._divergences:
                its = [self._divergences.caution(name, value, self._good) for value in external]
                against = np.minimum(against, np.array(its)[where])
        # Of a point that has more parameters, as others are drawn with other conditions, nothing is known here.
        against[[point in self._tried for point in points]] = -np.inf
        logarithm += against
        return logarithm

    def _get_internal_repr(
        self, trials: list[FrozenTrial], search_space: dict[str, BaseDistribution], *unused: Any
    ) -> dict[str, NDArray[Any]]:
        names = tuple(search_space)
        rows = []
        for trial in trials:
            row = self._rows.get((trial.number, names))
            if row is None:
                params = trial.params
                if not search_space.keys() <= params.keys():
                    continue
                row = tuple(float(search_space[name].to_internal_repr(params[name])) for name in names)
                self._rows[trial.number, names] = row
            rows.append(row)
        table = np.array(rows, dtype=float).reshape(-1, len(names))
        return {name: table[:, column] for column, name in enumerate(names)}


def distribution_of(parameter: Parameter) -> BaseDistribution:
    """Evenly spaced integers become an integer range, so that the sampler sees their order."""
    if parameter.is_listed:
        values = [value for value in parameter.values if type(value) is int]
        if len(values) == len(parameter.values) and len(values) > 2:
            steps = {right - left for left, right in zip(sorted(values), sorted(values)[1:], strict=False)}
            if len(steps) == 1:
                return IntDistribution(min(values), max(values), step=steps.pop())
        return CategoricalDistribution(parameter.values)
    if parameter.integer:
        return IntDistribution(
            int(parameter.low), int(parameter.high), step=int(parameter.step or 1), log=parameter.log
        )
    return FloatDistribution(parameter.low, parameter.high, step=parameter.step, log=parameter.log)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without Optuna's warnings on what it calls experimental."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield
