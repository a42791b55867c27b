"""Which elements a model has seen in training: predictions for others are guesses, and are said to be."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from graphdb.batch import GraphBatch
from graphdb.shapes import Bool, Int, UInt
from model.elements import element_symbols
from model.errors import CheckpointError

KEY = "training_elements"
"""Of a checkpoint's ``config.json``."""


@dataclass(frozen=True, slots=True)
class SeenElements:
    """The elements of the training crystals with a known target, task by task."""

    tasks: tuple[str, ...]
    seen: Bool[NDArray[np.bool_], "tasks elements"]
    """True where an element of this atomic number was in training."""

    @classmethod
    def nothing(cls, tasks: Sequence[str]) -> Self:
        """Before training."""
        return cls(tuple(tasks), np.zeros((len(tasks), len(element_symbols())), bool))

    @classmethod
    def from_info(cls, info: Mapping[str, Any], tasks: Sequence[str]) -> Self | None:
        """What a checkpoint's configuration tells; None for one that does not know.

        Raises:
            CheckpointError: for an entry that is no list of elements by task.
        """
        if info.get(KEY) is None:
            return None
        found = cls.nothing(tasks)
        symbols = element_symbols()
        try:
            for row, task in enumerate(tasks):
                found.seen[row, [symbols.index(symbol) for symbol in info[KEY][task]]] = True
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"{KEY} of a checkpoint must list the elements of each task, got {str(info[KEY])[:80]} "
                f"({type(error).__name__}: {error}); export it again"
            ) from error
        return found

    def as_info(self) -> dict[str, list[str]]:
        """Symbols by task, in order of atomic number."""
        symbols = element_symbols()
        return {
            task: [symbols[z] for z in np.flatnonzero(row)] for task, row in zip(self.tasks, self.seen, strict=True)
        }

    def add(self, batch: GraphBatch) -> None:
        """Remember the elements of a training batch (on the CPU)."""
        numbers = batch.atomic_numbers.numpy()
        crystal = np.repeat(np.arange(batch.num_crystals), np.diff(batch.atom_ptr.numpy()))
        known = batch.target_mask.numpy()[crystal]
        for task in range(len(self.tasks)):
            self.seen[task, numbers[known[:, task]]] = True

    def add_known(self, known: Bool[NDArray[np.bool_], "tasks numbers"]) -> None:
        """Remember the elements (by atomic number) of each task's training crystals."""
        for row, numbers in zip(self.seen, known, strict=True):
            row[np.flatnonzero(numbers)] = True

    def warnings(
        self,
        atomic_numbers: Int[NDArray[Any], " atoms"] | UInt[NDArray[Any], " atoms"],
        atom_ptr: Int[NDArray[Any], " crystals_and_end"],
    ) -> dict[int, str]:
        """What `warning` says of those of many crystals of which it says anything, by position.

        Args:
            atomic_numbers: of all of them, end to end.
            atom_ptr: crystal n has those at ``atom_ptr[n]:atom_ptr[n + 1]``.
        """
        some = crystals_with(np.logical_not(self.seen.all(axis=0)), atomic_numbers, atom_ptr)
        return {crystal: self.warning(elements) for crystal, elements in some.items()}

    def warning(self, atomic_numbers: Iterable[int]) -> str:
        """What to say of a crystal with these elements: empty, or which of them the training did not have."""
        numbers = np.unique(np.asarray(list(atomic_numbers), np.int64))
        unseen = [tuple(numbers[~row[numbers]]) for row in self.seen]
        if len(set(unseen)) == 1:
            return f"elements not in training: {_names(unseen[0])}" if unseen[0] else ""
        return "; ".join(
            f"elements not in training of {task}: {_names(missing)}"
            for task, missing in zip(self.tasks, unseen, strict=True)
            if missing
        )


def crystals_with(
    wanted: Bool[NDArray[np.bool_], " elements"],
    atomic_numbers: Int[NDArray[Any], " atoms"] | UInt[NDArray[Any], " atoms"],
    atom_ptr: Int[NDArray[Any], " crystals_and_end"],
) -> dict[int, list[int]]:
    """Positions of the crystals with any of some elements, and these elements.

    Args:
        wanted: by atomic number.
        atomic_numbers: of all crystals, end to end.
        atom_ptr: crystal n has those at ``atom_ptr[n]:atom_ptr[n + 1]``.
    """
    atoms = np.flatnonzero(wanted[atomic_numbers])
    crystals = np.searchsorted(atom_ptr, atoms, side="right") - 1
    found: dict[int, list[int]] = {}
    for crystal, number in np.unique(np.stack([crystals, atomic_numbers[atoms]], axis=1), axis=0).tolist():
        found.setdefault(crystal, []).append(number)
    return found


def _names(numbers: Iterable[int]) -> str:
    return " ".join(sorted(element_symbols()[z] for z in numbers))
