"""Targets that cannot be trained on are told from those that can, with advice that works when it is taken."""

import re
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from graphdb.check import TargetsError, checked_split, shares
from graphdb.split import split_by_id

NAN = np.nan


def crystals(number: int) -> list[str]:
    return [f"crystal-{i}" for i in range(number)]


def column(number: int, *, known: Sequence[int] | None = None, value: float | None = None) -> NDArray[np.float64]:
    """Targets of one task: all different unless a value is given, unknown but for some."""
    values = np.arange(float(number)) if value is None else np.full(number, value)
    if known is not None:
        values[np.setdiff1d(np.arange(number), known)] = NAN
    return values


SPLIT = split_by_id(crystals(100))


def without(part: NDArray[np.int64]) -> NDArray[np.float64]:
    return column(100, known=np.setdiff1d(np.arange(100), part).tolist())


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (column(100, value=3.0), "two different values, but gap is always 3 .*leave it out with --tasks"),
        (column(100, value=NAN), "known values, but gap has none .*leave it out with --tasks"),
        (without(SPLIT.validation), "validation split .* 2 known values of each task, got 0 of gap in .* crystals"),
        (without(SPLIT.test), "test split must have at least 1 known value of each task, got 0 of gap"),
        (without(SPLIT.train), "training split must have at least 1 known value of each task, got 0 of gap"),
        (
            np.where(np.isin(np.arange(100), SPLIT.train), 1.0, np.arange(100.0)),
            "training split must have at least two different values .* of gap, always 1",
        ),
    ],
)
def test_task_that_cannot_be_trained_is_named_with_its_split(second: NDArray[np.float64], message: str) -> None:
    targets = np.stack([column(100), second], axis=1)
    with pytest.raises(TargetsError, match=message) as caught:
        checked_split(crystals(100), targets, ["energy", "gap"])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("number", [3, 4, 5, 8, 12, 20, 30])
def test_shares_that_a_message_recommends_are_enough(number: int) -> None:
    targets = column(number)[:, None]
    try:
        checked_split(crystals(number), targets, ["energy"])
        return
    except TargetsError as error:
        flags = re.search(r"--valid (\S+) --test (\S+) would do", str(error))
        assert flags or "more crystals" in str(error)
    if flags:
        fractions = shares(float(flags[1]), float(flags[2]))
        split = checked_split(crystals(number), targets, ["energy"], fractions=fractions)
        assert len(split.validation) >= 2


def test_task_that_no_share_could_help_is_the_one_that_is_named() -> None:
    targets = np.stack([column(25), column(25, known=[0, 1, 2])], axis=1)
    with pytest.raises(TargetsError, match=r"split must .* of rare in .*; leave rare out with --tasks"):
        checked_split(crystals(25), targets, ["energy", "rare"])


def test_without_a_test_split_nothing_is_asked_of_it() -> None:
    split = checked_split(crystals(100), column(100)[:, None], ["energy"], fractions=shares(0.2, 0.0))
    assert len(split.test) == 0


def test_default_shares_give_the_default_split() -> None:
    split = checked_split(crystals(100), column(100)[:, None], ["energy"], fractions=shares())
    assert split.fractions == SPLIT.fractions
    assert np.array_equal(split.train, SPLIT.train)


@pytest.mark.parametrize("given", [(0.0, 0.1), (0.5, 0.5), (-0.1, 0.1), (0.1, -0.1), (NAN, 0.1), (0.1, 1.0)])
def test_shares_that_leave_nothing_are_refused(given: tuple[float, float]) -> None:
    with pytest.raises(TargetsError, match="--valid must be a share above 0"):
        shares(*given)
