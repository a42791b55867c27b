"""Do imported weights of the original CGCNN predict what the original code predicts?

The reference folder holds the authors' formation-energy weights and what their code gives for 600 crystals of mp29k.
The weights go through `model.import_cgcnn`, the crystals through the original choice of neighbors.
"""

import csv
import sys
from collections.abc import Sequence

import numpy as np

from benchmarks._crystals import archive, predictions, read_crystals
from benchmarks._report import finish, parser, skip
from graphdb.batch import Task
from graphdb.graph import GraphSettings, build_graph
from model.cgcnn_weights import convert, read_atom_init, read_original

COLUMN = "predicted_formation_energy_per_atom"


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
    settings = GraphSettings(neighbors="cgcnn", cutoff=model.architecture.rbf_cutoff)
    graphs = [
        build_graph(crystal.atomic_numbers, crystal.lattice, crystal.frac_coords, settings)
        for crystal in (crystals[material_id] for material_id in ids)
    ]
    difference = np.abs(predictions(model, graphs, settings)[:, 0] - [expected[material_id] for material_id in ids])
    results = {
        "crystals": len(ids),
        "missing_crystals": len(expected) - len(ids),
        "largest_difference_ev_per_atom": float(f"{difference.max():.3g}"),
        "mean_difference_ev_per_atom": float(f"{difference.mean():.3g}"),
        "crystals_beyond_0.0001_ev_per_atom": int((difference > 1e-4).sum()),
        "farthest": ids[int(difference.argmax())],
    }
    question = "Do imported weights of the original CGCNN predict what the original code predicts?"
    return finish(question, results, args.output, repeats=1, packages=["pymatgen"])


if __name__ == "__main__":
    sys.exit(main())
