"""The split: by id alone, so that neither order nor other crystals decide."""

import numpy as np
import pytest

from graphdb.split import Split, split_by_id

IDS = [f"mp-{i}" for i in range(3000)]


def members(split: Split, ids: list[str]) -> dict[str, str]:
    return {ids[i]: part for part in ("train", "validation", "test") for i in getattr(split, part)}


def test_every_crystal_is_in_exactly_one_part_of_about_its_share() -> None:
    split = split_by_id(IDS)
    parts = [split.train, split.validation, split.test]
    assert sorted(np.concatenate(parts).tolist()) == list(range(3000))
    np.testing.assert_allclose([len(part) / 3000 for part in parts], [0.8, 0.1, 0.1], atol=0.02)
    assert all((np.diff(part) > 0).all() for part in parts)


def test_part_of_a_crystal_depends_neither_on_order_nor_on_other_crystals() -> None:
    whole = members(split_by_id(IDS), IDS)
    shuffled = [IDS[i] for i in np.random.default_rng(0).permutation(3000)[:500]]
    assert members(split_by_id(shuffled), shuffled).items() <= whole.items()


def test_split_stays_the_same_in_every_version() -> None:
    assert "".join(members(split_by_id(IDS), IDS)[f"mp-{i}"][1] for i in range(20)) == "errrrrrrrrrerrrrerrr"


def test_seed_changes_the_split() -> None:
    assert members(split_by_id(IDS, seed=1), IDS) != members(split_by_id(IDS), IDS)


@pytest.mark.parametrize("fractions", [(1.0, 0.0, 0.0), (0.5, 0.0, 0.5), (0.7, 0.3, 0.0), (0.9, 0.1, 0.0)])
def test_parts_without_a_share_are_empty(fractions: tuple[float, float, float]) -> None:
    split = split_by_id(IDS, fractions)
    for part, fraction in zip((split.train, split.validation, split.test), fractions, strict=True):
        assert len(part) == pytest.approx(3000 * fraction, abs=90 * (fraction > 0))


@pytest.mark.parametrize("fractions", [(0.8, 0.1, 0.2), (1.2, -0.1, -0.1), (0.0, 0.5, 0.5), (float("nan"), 0.1, 0.1)])
def test_fractions_that_are_no_shares_are_refused(fractions: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="fractions must be shares"):
        split_by_id(IDS, fractions)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_part_that_gets_no_crystal_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match=f"split must have at least one crystal, got none of {count}"):
        split_by_id(IDS[:count])


@pytest.mark.parametrize(
    ("fractions", "advice"),
    [
        ((0.8, 0.1, 0.1), "use more crystals, or raise --valid"),
        ((0.8, 0.19, 0.01), "use more crystals, or raise --test"),
        ((0.001, 0.5, 0.499), "use more crystals, or lower --valid or --test"),
    ],
)
def test_a_part_without_a_crystal_names_the_flag_that_gives_it_some(
    fractions: tuple[float, float, float], advice: str
) -> None:
    ids = [f"mp-{i}" for i in (0, 2, 3, 4, 5)]
    with pytest.raises(ValueError, match=advice):
        split_by_id(ids, fractions)


def test_rule_is_remembered() -> None:
    rule = split_by_id(IDS, (0.6, 0.2, 0.2), seed=4).as_dict()
    assert (rule["seed"], rule["fractions"]) == (4, [0.6, 0.2, 0.2])
    assert rule["train"] + rule["validation"] + rule["test"] == 3000
