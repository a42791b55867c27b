"""Which symmetry a CIF means: of several readings, the one with which the rest of the file agrees."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from graphdb.cifgroup import Symmetry
from graphdb.cifsites import Sites
from graphdb.crystal import Note, check_size
from graphdb.errors import Reason, Unusable
from graphdb.formula import formula_agrees
from graphdb.orbits import expand, independent, merge_equal, same_crystal
from graphdb.shapes import Float
from graphdb.symmetry import GroupNames, Operations, SymmetryError, identity, listed_operations, settings

#: How equal the distances of one crystal are in two settings, computed by us.
_EXACTLY = 1e-3
#: How different the misfits of two settings may be where the cell tells nothing of them; 90.003 degrees are more.
_SAME_SHAPE = 5e-5
#: Atoms of a cell up to which that tells settings apart: a single atom elsewhere shows among 1,728, not among 2,744.
_MAX_COMPARED = 500
_SHAPE = "the cell does not have the shape that its symmetry operations ask for"

_Atoms = tuple[NDArray[np.int64], NDArray[np.float64], int]


@dataclass(frozen=True, slots=True)
class Contents:
    """What a block says of its cell; by this a reading of its symmetry is judged."""

    lattice: Float[NDArray[np.float64], "3 3"]
    """Rows, Å."""
    sites: Sites
    formula: dict[int, float]
    """Counts by atomic number; empty if unknown."""
    num_units: float
    """Formula units in the cell (Z); 0 if unknown."""
    remarks: list[Note]
    """What is worth a note is added."""

    def atoms_by(self, symmetry: Symmetry) -> _Atoms:
        """Atomic numbers and coordinates of all atoms of the cell, and how many were there twice."""
        names, texts = symmetry.names, symmetry.operations
        try:
            operations = listed_operations(texts, symmetry.centerings) if texts else None
        except SymmetryError as error:
            raise Unusable(Reason.UNKNOWN_SYMMETRY, str(error)) from error
        if not names and (operations is None or (len(operations) == 1 and operations.is_group())):
            operations = self._without_name(symmetry)
        is_magnetic = symmetry.is_magnetic
        if operations is None:
            named = self._named(names)
            return self._best(named, names)
        order = self._order(names) if names and not is_magnetic else set()
        is_part = names and not is_magnetic and (len(operations) == 1 or len(operations) < min(order, default=0))
        if is_part or not operations.is_group():
            return self._doubtful(operations, names)
        if order and len(operations) not in order:
            counts = "" if len(order) > 1 else f" ({min(order)})"
            message = f"{len(operations)} operations are listed, not those of {names}{counts}; the list counts"
            self.remarks.append(Note(Reason.SYMMETRY_DIFFERS, message))
        if not operations.fit(self.lattice):
            raise Unusable(Reason.INVALID_CELL, _SHAPE)
        return self._atoms(operations)

    def _without_name(self, symmetry: Symmetry) -> Operations:
        """The operations of P 1, where no group is named and no other operation listed.

        Raises:
            Unusable: if no operation is listed, but the file says something of another group.
        """
        listed_alone = bool(symmetry.operations)
        if symmetry.magnetic and not listed_alone:
            message = "a magnetic space group is named; list its operations in the file"
            raise Unusable(Reason.UNKNOWN_SYMMETRY, message)
        if symmetry.others and not listed_alone:
            message = (
                f"{symmetry.others[0]!r} does not tell the space group; name it, or list its operations in the file"
            )
            raise Unusable(Reason.UNKNOWN_SYMMETRY, message)
        if symmetry.others:
            message = f"only the operation x, y, z is listed, but the file has {symmetry.others[0]!r}; the list counts"
            self.remarks.append(Note(Reason.SYMMETRY_DIFFERS, message))
        elif symmetry.system not in ("", "triclinic"):
            message = f"the cell is {symmetry.system}, but no space group is named: taken as P 1"
            self.remarks.append(Note(Reason.SYMMETRY_DIFFERS, message))
        return identity()

    def _named(self, names: GroupNames) -> list[Operations]:
        """The settings that the names fit, of those that the cell fits."""
        try:
            candidates = settings(names)
        except SymmetryError as error:
            raise Unusable(Reason.UNKNOWN_SYMMETRY, str(error)) from error
        fitting = [operations for operations in candidates if operations.fit(self.lattice)]
        if not fitting:
            raise Unusable(Reason.INVALID_CELL, f"the cell does not have the shape of the space group named: {names}")
        return fitting

    def _order(self, names: GroupNames) -> set[int]:
        """How many operations the group that is named may have in this cell; empty if that cannot be told."""
        try:
            candidates = settings(names)
        except SymmetryError:
            return set()
        fitting = {len(operations) for operations in candidates if operations.fit(self.lattice)}
        return fitting or set(map(len, candidates))

    def _best(self, candidates: list[Operations], names: GroupNames) -> _Atoms:
        """The atoms by the one candidate that agrees with all that the file says.

        Raises:
            Unusable: if several do, with different crystals.
        """
        if len(candidates) == 1:
            return self._atoms(candidates[0])
        good = []
        for operations in candidates:
            _, of_site = expand(self.sites.fractions, operations, self.lattice)
            counts = np.bincount(of_site, minlength=len(self.sites.numbers))
            told = self.sites.multiplicities
            if (counts != told)[told > 0].any():
                continue
            atoms = self._atoms(operations)
            if not self._tells_count or self._is_of_formula(atoms):
                good.append((operations, atoms))
        if not good:
            message = (
                f"no setting of the space group named ({names}) agrees with the sites; list its operations in the file"
            )
            raise Unusable(Reason.UNKNOWN_SYMMETRY, message)
        if len(good) > 1:
            good = self._closest(good)
        first = good[0][1]
        if (
            len(good) > 1
            and len(first[0]) <= _MAX_COMPARED
            and all(
                same_crystal((first[0], self.lattice, first[1]), (other[0], self.lattice, other[1]), _EXACTLY)
                for _, other in good[1:]
            )
        ):
            return first
        if len(good) > 1:
            some = ", ".join(operations.name for operations, _ in good[:4]) + (", ..." if len(good) > 4 else "")
            message = f"{names} may be {some}: add _space_group_name_H-M_alt with the setting, or list the operations"
            raise Unusable(Reason.UNKNOWN_SYMMETRY, message)
        return first

    def _closest(self, good: list[tuple[Operations, _Atoms]]) -> list[tuple[Operations, _Atoms]]:
        """Those settings whose shape the cell has best; of monoclinic ones in a rectangular cell those along b."""
        misfits = [operations.misfit(self.lattice) for operations, _ in good]
        closest = [one for one, misfit in zip(good, misfits, strict=True) if misfit <= min(misfits) + _SAME_SHAPE]
        return [one for one in closest if one[0].is_monoclinic_along_b()] or closest

    def _doubtful(self, operations: Operations, names: GroupNames) -> _Atoms:
        """The atoms where the list of operations may be incomplete: no group, or a smaller one than the one named."""
        is_whole = operations.is_group()
        is_alone = len(operations) == 1
        listed = "only the operation x, y, z is listed" if is_alone else f"{len(operations)} operations are listed"
        agrees = is_whole and self._tells_count and self._is_of_formula(self._atoms(operations))
        if is_whole and is_alone and (agrees or self._order(names) == {1}):
            return self._atoms(operations)
        if not names:
            message = "the operations listed are not all of a space group; list them all"
            raise Unusable(Reason.UNKNOWN_SYMMETRY, message)
        if not is_whole:
            atoms = self._best(self._named(names), names)
            message = f"the {len(operations)} operations listed are not all of {names}; those of the group count"
            self.remarks.append(Note(Reason.SYMMETRY_DIFFERS, message))
            return atoms
        if self._tells_count and not agrees:
            try:
                atoms = self._best(self._named(names), names)
            except Unusable:
                pass  # the list remains
            else:
                if self._is_of_formula(atoms):
                    message = f"{listed}, but by formula and Z those of {names} count"
                    self.remarks.append(Note(Reason.SYMMETRY_DIFFERS, message))
                    return atoms
        if not operations.fit(self.lattice):
            raise Unusable(Reason.INVALID_CELL, _SHAPE)
        self.remarks.append(Note(Reason.SYMMETRY_DIFFERS, f"{listed}, but {names} is named; the list counts"))
        return self._atoms(operations)

    @property
    def _tells_count(self) -> bool:
        """Whether formula and Z are there; without Z, proportions prove nothing."""
        return bool(self.formula and self.num_units)

    def _is_of_formula(self, atoms: _Atoms) -> bool:
        """Whether the atoms are those of formula times Z."""
        return formula_agrees(self.formula, self.num_units, Counter(atoms[0].tolist()))

    def _atoms(self, operations: Operations) -> _Atoms:
        first = independent(self.sites.numbers, self.sites.fractions, operations, self.lattice)
        images, of_site = expand(self.sites.fractions[first], operations, self.lattice)
        numbers = self.sites.numbers[first][of_site]
        keep = merge_equal(numbers, images, self.lattice)
        check_size(int(keep.sum()))
        return numbers[keep], images[keep], len(self.sites.numbers) - len(np.unique(of_site[keep]))
