"""How much each hyperparameter accounts for, in the ranking of the trials of a search.

Trials are ranked as they can be compared: finished ones by score; then stopped ones by how far they were let go, those
of one epoch by score; diverged ones share the last place. In that ranking, each parameter is worth the share of the
variance between the groups of trials that have the same value (one-way analysis of variance on ranks, as in the test of
Kruskal and Wallis, less what groups of that number explain by chance: omega squared). The one worth most is taken
first, its group means are subtracted, and the others are measured by what is left. So nothing counts twice, and a
parameter that the sampler only varied together with a decisive one gets little. What is missing to 1 is luck, and what
parameters do only together.

Not PED-ANOVA, which compares the best quarter with all trials: where a sampler has found the decisive value early, half
of the trials have it, and the most decisive parameter may come out last.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from graphdb.records import Value
from tuner.run.log import Training

MIN_TRIALS = 8
"""Fewer trials tell nothing."""
_MAX_GROUPS = 8
"""Numbers of more different values are grouped into fifths of the trials."""
_SHUFFLES = 100


def importances(trainings: Iterable[Training]) -> tuple[dict[str, float], float]:
    """Rate the parameters of a search.

    Args:
        trainings: its trials; those that run or failed do not count.

    Returns:
        Share by parameter, largest first, adding up to at most 1, empty where nothing can be told; and the share that
        the best of as many meaningless parameters exceeds in one of 20 searches.
    """
    trials = [trial for trial in trainings if trial.state in ("finished", "stopped", "diverged")]
    names = dict.fromkeys(name for trial in trials for name in trial.params)
    numbered = {name: _groups([trial.params.get(name) for trial in trials]) for name in names}
    groups = {name: found for name, found in numbered.items() if found is not None}
    ranks = _ranks(trials)
    if len(trials) < MIN_TRIALS or not groups or not ranks.any():
        return {}, 0.0
    total, degrees = float(ranks @ ranks), len(trials) - 1
    generator = np.random.default_rng(0)
    by_chance = [_best(groups, generator.permutation(ranks), degrees, total)[1] for _ in range(_SHUFFLES)]
    shares, left = dict.fromkeys(groups, 0.0), dict(groups)
    while left:
        name, share, used = _best(left, ranks, degrees, total)
        if share <= 0:
            break
        shares[name] = share
        ranks = ranks - _group_means(left.pop(name), ranks)
        degrees -= used
    ordered = dict(sorted(shares.items(), key=lambda item: -item[1]))
    return ordered, max(0.0, float(np.quantile(by_chance, 0.95)))


def _ranks(trials: Sequence[Training]) -> NDArray[np.float64]:
    """Centred ranks; equal ones share their mean rank."""
    keys = [_place(trial) for trial in trials]
    order = {key: index for index, key in enumerate(sorted(set(keys)))}
    _, where, counts = np.unique([order[key] for key in keys], return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[where]
    centred: NDArray[np.float64] = ranks - ranks.mean() if len(ranks) else ranks
    return centred


def _place(trial: Training) -> tuple[int, int, float]:
    if trial.state == "diverged" or not trial.curve:
        return 2, 0, 0.0
    score = min(trial.curve.values())
    return (0, 0, score) if trial.state == "finished" else (1, -max(trial.curve), score)


def _groups(values: Sequence[Value | None]) -> NDArray[np.intp] | None:
    """A number for each group of equal or similar values, -1 where the parameter does not exist; None if all agree."""
    there = [value for value in values if value is not None]
    different = set(map(repr, there))
    if len(different) < 2:
        return None
    numeric = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in there)
    if numeric and len(different) > _MAX_GROUPS:
        edges = np.quantile(np.array(there, dtype=float), [0.2, 0.4, 0.6, 0.8])
        return np.array([-1 if value is None else int(np.searchsorted(edges, float(value))) for value in values])
    numbers = {text: number for number, text in enumerate(sorted(different))}
    return np.array([-1 if value is None else numbers[repr(value)] for value in values])


def _best(
    groups: Mapping[str, NDArray[np.intp]], ranks: NDArray[np.float64], degrees: int, total: float
) -> tuple[str, float, int]:
    """The parameter that explains most, its share of the total, and its degrees of freedom."""
    best = ("", 0.0, 0)
    for name, its in groups.items():
        explained = float(np.square(_group_means(its, ranks)).sum())
        used = len(np.unique(its[its >= 0])) - 1
        if degrees - used < 1:
            continue
        noise = (float(ranks @ ranks) - explained) / (degrees - used)
        share = (explained - used * noise) / total
        if share > best[1]:
            best = (name, share, used)
    return best


def _group_means(groups: NDArray[np.intp], ranks: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each trial's group, from the mean of those where the parameter exists; 0 where it does not."""
    there = groups >= 0
    counts = np.bincount(groups[there])
    sums = np.bincount(groups[there], weights=ranks[there] - ranks[there].mean())
    means = np.zeros(len(ranks))
    means[there] = (sums / np.maximum(counts, 1))[groups[there]]
    return means
