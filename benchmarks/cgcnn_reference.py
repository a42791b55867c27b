"""Do imported weights of the original CGCNN predict what the original code predicts?

The reference folder holds the authors' formation-energy weights and what their code gives for 600 crystals of mp29k.
The weights go through `model.import_cgcnn`, the crystals through the original choice of neighbors.

Among neighbors at one distance that choice can hang on the last bit of the cell, which NumPy's cosines round otherwise
on CPUs with AVX-512 than on others (the reference comes from one with it). A crystal counts as decided by the last bit
if moving one number of its cell by one bit gives the reference.
"""

import csv
import sys
from collections.abc import Sequence

import numpy as np

from benchmarks._crystals import archive, predictions, read_crystals
from benchmarks._report import finish, parser, skip
from graphdb.batch import Task
from graphdb.crystal import Crystal
from graphdb.graphsettings import HardNeighbors
from graphdb.neighbors import build_graph
from model.cgcnn_weights import convert, read_atom_init, read_original
from model.network import MTCGCNN

COLUMN = "predicted_formation_energy_per_atom"
TOLERANCE = 1e-4
"""eV/atom."""


def decided_by_the_last_bit(model: MTCGCNN, crystal: Crystal, settings: HardNeighbors, expected: float) -> bool:
    """Whether a cell that differs in the last bit of one number gives the expected prediction (eV/atom)."""
    graphs = []
    for i, j in zip(*np.nonzero(crystal.lattice), strict=True):
        for direction in (-np.inf, np.inf):
            lattice = crystal.lattice.copy()
            lattice[i, j] = np.nextafter(lattice[i, j], direction)
            graphs.append(build_graph(crystal.atomic_numbers, lattice, crystal.frac_coords, settings))
    return bool((np.abs(predictions(model, graphs, settings)[:, 0] - expected) < TOLERANCE).any())


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    args = parser(__doc__, "cgcnn_reference").parse_args(argv)
    folder = args.shared / "reference"
    table, weights = folder / "cgcnn_formation_energy.csv", folder / "formation-energy-per-atom.pth.tar"
    elements = folder / "atom_init.json"
    for path in (table, weights, elements, archive(args.shared)):
        if not path.is_file():
            return skip(f"the reference needs {path.name} in {path.parent}; --shared tells where it is")
    with open(table, encoding="utf-8", newline="") as file:
        expected = {row["material_id"]: float(row[COLUMN]) for row in csv.DictReader(file)}
    # Among neighbors at one distance the original takes those that come first: the order of sites matters.
    crystals = read_crystals(archive(args.shared), set(expected), keep_order=True)
    ids = sorted(crystals)
    model = convert(read_original(weights), read_atom_init(elements), [Task("formation_energy_per_atom", "eV/atom")])
    settings = HardNeighbors(cutoff=model.architecture.rbf_cutoff)
    graphs = [
        build_graph(crystal.atomic_numbers, crystal.lattice, crystal.frac_coords, settings)
        for crystal in (crystals[material_id] for material_id in ids)
    ]
    difference = np.abs(predictions(model, graphs, settings)[:, 0] - [expected[material_id] for material_id in ids])
    beyond = [ids[i] for i in np.flatnonzero(difference > TOLERANCE)]
    by_a_bit = [name for name in beyond if decided_by_the_last_bit(model, crystals[name], settings, expected[name])]
    results = {
        "crystals": len(ids),
        "missing_crystals": len(expected) - len(ids),
        "largest_difference_ev_per_atom": float(f"{difference.max():.3g}"),
        "mean_difference_ev_per_atom": float(f"{difference.mean():.3g}"),
        "crystals_beyond_0.0001_ev_per_atom": len(beyond),
        "of_these_decided_by_the_last_bit_of_the_cell": by_a_bit,
        "farthest": ids[int(difference.argmax())],
    }
    question = "Do imported weights of the original CGCNN predict what the original code predicts?"
    return finish(question, results, args.output, repeats=1, packages=["pymatgen"])


if __name__ == "__main__":
    sys.exit(main())
