"""Train, validation and test: decided by each material's id alone."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphdb.shapes import Int

DEFAULT_FRACTIONS = (0.8, 0.1, 0.1)
#: One crystal in each part is the least.
_FEW_CRYSTALS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Positions of the crystals of each part, ascending, and how they were chosen."""

    train: Int[NDArray[np.int64], " train"]
    validation: Int[NDArray[np.int64], " validation"]
    test: Int[NDArray[np.int64], " test"]
    fractions: tuple[float, float, float]
    seed: int

    def as_dict(self) -> dict[str, Any]:
        """Sizes and rule as JSON-able values."""
        return {
            "rule": "sha256 of 'seed:material_id'",
            "seed": self.seed,
            "fractions": list(self.fractions),
            "train": len(self.train),
            "validation": len(self.validation),
            "test": len(self.test),
        }


def split_by_id(
    material_ids: Sequence[str], fractions: tuple[float, float, float] = DEFAULT_FRACTIONS, seed: int = 0
) -> Split:
    """Assign each crystal to a part by a hash of its id.

    A crystal stays in its part whatever else is in the store, in whatever order; parts of a store that grows only grow.

    Args:
        material_ids: unique ids.
        fractions: expected shares of train, validation and test; they add up to 1 and train is positive.
        seed: another seed, another split.

    Raises:
        ValueError: for fractions that are no shares, or a part that should have crystals and got none.
    """
    if not (min(fractions) >= 0 and fractions[0] > 0 and abs(sum(fractions) - 1) <= 1e-6):  # NaN is refused
        raise ValueError(f"fractions must be shares of train, validation and test that add up to 1, got {fractions}")
    place = np.array([_uniform(f"{seed}:{material_id}") for material_id in material_ids], dtype=np.float64)
    part = np.searchsorted(np.cumsum(fractions)[:2], place, side="right")
    members = [np.flatnonzero(part == p) for p in range(3)]
    for name, fraction, member in zip(("train", "validation", "test"), fractions, members, strict=True):
        if fraction > 0 and len(member) == 0:
            raise ValueError(
                f"the {name} split must have at least one crystal, got none of {len(material_ids)} at a share of "
                f"{fraction:g}; {_advice(name, len(material_ids))}"
            )
    return Split(train=members[0], validation=members[1], test=members[2], fractions=fractions, seed=seed)


def _advice(name: str, num_crystals: int) -> str:
    if num_crystals < _FEW_CRYSTALS:
        return "use more crystals"
    flags = {"train": "lower --valid or --test", "validation": "raise --valid", "test": "raise --test"}
    return f"use more crystals, or {flags[name]}"


def _uniform(text: str) -> float:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64
