"""Who proposes parameters: Optuna's samplers, seeded anew for each trial, over a space that is known beforehand."""

import contextlib
import json
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial

from tuner.parameters import Parameter
from tuner.seeds import derived_seed
from tuner.space import Space


class SeededSampler(BaseSampler):
    """Draws as a function of seed, trial number and the trials that the storage shows.

    With TPE, parameters that exist under the same condition are drawn jointly. Optuna would look for those groups, and
    for the space itself, in all earlier trials, at each proposal; here they come from the space.
    """

    def __init__(self, space: Space, seed: int, *, jointly: bool) -> None:
        """Sort the parameters into groups.

        Args:
            space: to draw from.
            seed: of the search.
            jointly: with multivariate TPE; else at random.
        """
        self._seed = seed
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
        """What is drawn jointly."""
        return {name: distribution for group in self._groups for name, distribution in group.items()}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Draw jointly; nothing before enough trials have ended."""
        drawn: dict[str, Any] = {}
        if self._groups:
            with quiet():
                tpe = _Tpe(
                    seed=derived_seed(self._seed, "sampler", trial.number, "jointly"),
                    multivariate=True,
                    constant_liar=True,
                )
            tpe.rows = self._rows
            for group in self._groups:
                drawn.update(tpe.sample_relative(study, trial, group))
        return drawn

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Draw one parameter at random; each has its own seed, so that a draw cut short goes on as it would have."""
        random = RandomSampler(seed=derived_seed(self._seed, "sampler", trial.number, param_name))
        return random.sample_independent(study, trial, param_name, param_distribution)


_Rows = dict[tuple[int, tuple[str, ...]], tuple[float, ...]]


class _Tpe(TPESampler):
    """Optuna's TPE, which looks up the numbers that stand for a trial's parameters, rather than asking for each anew.

    That is two thirds of the time of a proposal. An Optuna that calls this method no more is as right, and slower.
    """

    rows: _Rows
    """Numbers by trial and names; kept from one proposal to the next."""

    def _get_internal_repr(
        self, trials: list[FrozenTrial], search_space: dict[str, BaseDistribution], *unused: Any
    ) -> dict[str, NDArray[Any]]:
        names = tuple(search_space)
        rows = []
        for trial in trials:
            row = self.rows.get((trial.number, names))
            if row is None:
                params = trial.params
                if not search_space.keys() <= params.keys():
                    continue
                row = tuple(float(search_space[name].to_internal_repr(params[name])) for name in names)
                self.rows[trial.number, names] = row
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
