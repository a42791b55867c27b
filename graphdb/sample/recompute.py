"""``python -m graphdb.sample.recompute ID...``: repeat the DFT single point of rows of the sample with GPAW.

Protocol: PBE, plane waves of 400 eV, Gamma-centred k-points of 26 Å density, Fermi-Dirac smearing of 0.05 eV, no spin
polarisation, 8 empty bands; about 10 s a row on one core. GPAW is not a dependency of this package: Debian and Ubuntu
have it as ``gpaw`` and ``gpaw-data``, elsewhere ``pip install gpaw`` and ``gpaw install-data``.
"""

import argparse
import csv
import gzip
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphdb.sample import sample_csv

_TOLERANCE_EV = 1e-3
_FCC = ((0.0, 0.5, 0.5), (0.5, 0.0, 0.5), (0.5, 0.5, 0.0))
_BCC = ((-0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0.5, 0.5, -0.5))
_CUBIC = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
_ORIGIN, _CENTRE = (0.0, 0.0, 0.0), (0.5, 0.5, 0.5)
_QUARTER, _THREE_QUARTERS = (0.25, 0.25, 0.25), (0.75, 0.75, 0.75)
_FACES = ((0.0, 0.5, 0.5), (0.5, 0.0, 0.5), (0.5, 0.5, 0.0))


@dataclass(frozen=True, slots=True)
class Prototype:
    """A structure type.

    Attributes:
        cell: (3, 3) vectors as rows, in units of the lattice parameter.
        species: (A,) position in the row's list of elements.
        positions: (A, 3) fractional coordinates.
    """

    cell: tuple[tuple[float, ...], ...]
    species: tuple[int, ...]
    positions: tuple[tuple[float, ...], ...]


PROTOTYPES: dict[str, Prototype] = {
    "rocksalt": Prototype(_FCC, (0, 1), (_ORIGIN, _CENTRE)),
    "zincblende": Prototype(_FCC, (0, 1), (_ORIGIN, _QUARTER)),
    "cesiumchloride": Prototype(_CUBIC, (0, 1), (_ORIGIN, _CENTRE)),
    "fluorite": Prototype(_FCC, (0, 1, 1), (_ORIGIN, _QUARTER, _THREE_QUARTERS)),
    "halfheusler": Prototype(_FCC, (0, 1, 2), (_CENTRE, _QUARTER, _ORIGIN)),
    "L12": Prototype(_CUBIC, (0, 0, 0, 1), (*_FACES, _ORIGIN)),
    "fcc": Prototype(_FCC, (0,), (_ORIGIN,)),
    "bcc": Prototype(_BCC, (0,), (_ORIGIN,)),
    "sc": Prototype(_CUBIC, (0,), (_ORIGIN,)),
    "diamond": Prototype(_FCC, (0, 0), (_ORIGIN, _QUARTER)),
}


@dataclass(frozen=True, slots=True)
class SinglePoint:
    """Results of one calculation.

    Attributes:
        energy: eV per cell.
        fermi_energy: eV, raw.
        band_gap: eV, indirect on the k-mesh; 0 for a metal.
    """

    energy: float
    fermi_energy: float
    band_gap: float


def read_rows() -> dict[str, dict[str, str]]:
    """The sample's rows by id, as text."""
    with gzip.open(sample_csv(), "rt", encoding="utf-8", newline="") as stream:
        return {row["material_id"]: row for row in csv.DictReader(stream)}


def atoms_of(row: Mapping[str, str]) -> Any:
    """The crystal of a row as ASE atoms: the primitive cell of its prototype."""
    from ase import Atoms  # type: ignore[import-not-found, import-untyped, unused-ignore]

    prototype, elements = PROTOTYPES[row["prototype"]], row["elements"].split("-")
    return Atoms(
        [elements[i] for i in prototype.species],
        scaled_positions=prototype.positions,
        cell=float(row["a"]) * np.array(prototype.cell),
        pbc=True,
    )


def single_point(atoms: Any, cutoff: float = 400.0, density: float = 26.0) -> SinglePoint:
    """One self-consistent calculation.

    Args:
        atoms: ASE atoms.
        cutoff: of the plane waves, eV.
        density: of the k-points, Å: points along an axis times the spacing of its lattice planes.
    """
    from gpaw import GPAW, PW, FermiDirac  # type: ignore[import-not-found, import-untyped, unused-ignore]

    sampling = [max(1, int(np.ceil(density * length))) for length in atoms.cell.reciprocal().lengths()]
    calculator = GPAW(
        mode=PW(cutoff),
        xc="PBE",
        kpts={"size": sampling, "gamma": True},
        occupations=FermiDirac(0.05),
        nbands=-8,
        maxiter=120,
        txt=None,
    )
    atoms.calc = calculator
    energy = float(atoms.get_potential_energy())
    fermi = float(calculator.get_fermi_level())
    num_kpoints = len(calculator.get_ibz_k_points())
    bands = np.array([calculator.get_eigenvalues(kpt=index) for index in range(num_kpoints)])
    return SinglePoint(energy, fermi, indirect_gap(bands, fermi, calculator.get_number_of_electrons()))


def indirect_gap(bands: Any, fermi: float, num_electrons: float) -> float:
    """Lowest empty minus highest filled level in eV; 0 where a band crosses the Fermi level.

    Args:
        bands: (k-points, bands) eigenvalues, eV, ascending in each row.
        fermi: Fermi level, eV.
        num_electrons: in the cell, two per filled band.
    """
    occupied = (bands < fermi).sum(axis=1)
    filled = int(occupied[0])
    if (occupied != filled).any() or 2 * filled != round(num_electrons):
        return 0.0
    return max(0.0, float(bands[:, filled].min() - bands[:, filled - 1].max()))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns 1 if a row could not be reproduced, 2 for a wrong request."""
    parser = argparse.ArgumentParser(
        prog="python -m graphdb.sample.recompute", description="Repeat rows of the sample."
    )
    parser.add_argument("ids", metavar="ID", nargs="+", help="material_id, such as fcc-Al")
    wanted: list[str] = parser.parse_args(argv).ids
    rows = read_rows()
    if unknown := [name for name in wanted if name not in rows]:
        known = ", ".join([*rows][:3])
        print(f"error: ids must be in the sample ({known}, ...), got {', '.join(unknown)}", file=sys.stderr)
        return 2
    worst = 0.0
    for name in wanted:
        try:
            found = single_point(atoms_of(rows[name]))
        except ImportError as error:
            print(
                f"error: GPAW and ASE must be installed ({error}); on Debian: apt install gpaw gpaw-data",
                file=sys.stderr,
            )
            return 2
        shown = []
        for label in ("energy", "fermi_energy", "band_gap"):
            value, table = getattr(found, label), float(rows[name][label])
            worst = max(worst, abs(value - table))
            shown.append(f"{label} {value:.4f} (table {table:.4f})")
        print(f"{name}: {', '.join(shown)} eV", flush=True)
    return 0 if worst <= _TOLERANCE_EV else 1


if __name__ == "__main__":
    sys.exit(main())
