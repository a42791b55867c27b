"""What a training needs of its targets, checked before anything starts. NumPy only."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphdb.command import count
from graphdb.errors import GraphDBError
from graphdb.shapes import Float
from graphdb.split import DEFAULT_FRACTIONS, Split, split_by_id

MIN_VALIDATION = 2
"""Known values of each task in the validation split: the error of one crystal chooses no model."""
_LARGER = ((0.1, 0.1), (0.15, 0.15), (0.2, 0.1), (0.2, 0.2), (0.3, 0.2), (0.3, 0.3), (0.4, 0.3))
_ROLES = {"train": "training", "validation": "validation", "test": "test"}


class TargetsError(GraphDBError, ValueError):
    """The targets are not enough to train on, to choose the best epoch by, or to measure the result on."""


def shares(valid: float | None = None, test: float | None = None) -> tuple[float, float, float]:
    """Shares of training, validation and test split; the default for None.

    Raises:
        TargetsError: for shares that leave nothing to validate on or to train on.
    """
    valid = DEFAULT_FRACTIONS[1] if valid is None else valid
    test = DEFAULT_FRACTIONS[2] if test is None else test
    if not (0 < valid < 1 and 0 <= test < 1 and valid + test < 1):
        raise TargetsError(
            f"--valid must be a share above 0, --test one of at least 0, and both together must leave crystals to "
            f"train on, got --valid {valid:g} and --test {test:g}; 0.1 each is usual"
        )
    return 1.0 - valid - test if (valid, test) != DEFAULT_FRACTIONS[1:] else DEFAULT_FRACTIONS[0], valid, test


def checked_split(
    material_ids: Sequence[str],
    targets: Float[NDArray[Any], "crystals tasks"],
    names: Sequence[str],
    *,
    fractions: tuple[float, float, float] = DEFAULT_FRACTIONS,
    seed: int = 0,
    what: str = "the store",
) -> Split:
    """The split of some crystals, with targets that can be trained on.

    Args:
        material_ids: unique ids.
        targets: NaN where unknown.
        names: of the tasks.
        fractions: shares of training, validation and test split; those of `shares`.
        seed: of the split.
        what: where the crystals come from, for messages.

    Raises:
        TargetsError: says in one line which task lacks what in which split, and which flags help.
    """
    problem = _constant(targets, names)
    if problem:
        raise TargetsError(f"{problem} in {what}; {_leave_out(names)}")
    split, problem = _try(material_ids, targets, names, fractions, seed)
    if split is not None and not problem:
        return split
    advice = "take more crystals"
    found = _enough(material_ids, targets, names, fractions, seed)
    if found is not None:
        advice = f"--valid {found[0]:g} --test {found[1]:g} would do, or {advice}"
    elif len(names) > 1:
        for column, name in enumerate(names):
            alone = (material_ids, targets[:, column : column + 1], (name,), fractions, seed)
            if _enough(*alone) is None:
                problem, advice = _try(*alone)[1] or problem, f"leave {name} out with --tasks"
                break
        else:
            advice += ", or fewer of the tasks with --tasks"
    else:
        advice += ", or another task with --tasks"
    raise TargetsError(f"{problem} ({what}); {advice}")


def _constant(targets: Float[NDArray[Any], "crystals tasks"], names: Sequence[str]) -> str:
    """The first task that no split of these crystals could teach; empty if there is none."""
    for column, name in enumerate(names):
        known = targets[~np.isnan(targets[:, column]), column]
        if len(known) == 0:
            return f"every task must have known values, but {name} has none"
        if np.ptp(known) == 0:
            return f"every task must have at least two different values, but {name} is always {known[0]:g}"
    return ""


def _problem(targets: Float[NDArray[Any], "crystals tasks"], split: Split, names: Sequence[str]) -> str:
    """The first thing that is missing in a split; empty if nothing is."""
    for part, role in _ROLES.items():
        rows = getattr(split, part)
        if part == "test" and split.fractions[2] == 0:
            continue
        needed = MIN_VALIDATION if part == "validation" else 1
        for column, name in enumerate(names):
            known = targets[rows, column]
            known = known[~np.isnan(known)]
            if len(known) < needed:
                return (
                    f"the {role} split must have at least {count(needed, 'known value')} of each task, got "
                    f"{len(known)} of {name} in {count(len(rows), 'crystal')}"
                )
            if part == "train" and np.ptp(known) == 0:
                return (
                    f"the training split must have at least two different values of each task, got "
                    f"{count(len(known), 'value')} of {name}, always {known[0]:g}"
                )
    return ""


def _try(
    material_ids: Sequence[str],
    targets: Float[NDArray[Any], "crystals tasks"],
    names: Sequence[str],
    fractions: tuple[float, float, float],
    seed: int,
) -> tuple[Split | None, str]:
    try:
        split = split_by_id(material_ids, fractions, seed)
    except ValueError as error:
        return None, str(error).partition(";")[0]
    return split, _problem(targets, split, names)


def _enough(
    material_ids: Sequence[str],
    targets: Float[NDArray[Any], "crystals tasks"],
    names: Sequence[str],
    fractions: tuple[float, float, float],
    seed: int,
) -> tuple[float, float] | None:
    """Shares to validate and to test on that were tried and would do; None if there are none."""
    for valid, test in _LARGER:
        test = test if fractions[2] else 0.0
        split, problem = _try(material_ids, targets, names, shares(valid, test), seed)
        if split is not None and not problem:
            return valid, test
    return None


def _leave_out(names: Sequence[str]) -> str:
    return "leave it out with --tasks" if len(names) > 1 else "take other crystals, or another task with --tasks"
