"""How far do predictions move when a crystal is only written down differently?

Random rotation, translation, order of atoms and a 2x1x1 supercell of random crystals of mp29k: the largest change of
a model's predictions, with its own graphs and, for comparison, with the original code's choice of neighbors.
"""

import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks._crystals import graph_of, predictions, random_crystals
from benchmarks._report import finish, parser, skip
from graphdb.crystal import Crystal
from graphdb.graphsettings import GraphSettings, HardNeighbors
from model.checkpoint import load_checkpoint
from model.errors import CheckpointError

CRYSTALS = 300
TOLERANCE = 1e-4


def rotated(crystal: Crystal, rng: np.random.Generator) -> Crystal:
    """Turned by a random rotation."""
    turn, upper = np.linalg.qr(rng.standard_normal((3, 3)))
    turn = turn * np.sign(np.diag(upper))  # uniform over the orthogonal group
    return Crystal(crystal.atomic_numbers, crystal.lattice @ (turn * np.linalg.det(turn)), crystal.frac_coords)


def translated(crystal: Crystal, rng: np.random.Generator) -> Crystal:
    """Moved by a random vector, atoms wrapped into the cell."""
    return Crystal(crystal.atomic_numbers, crystal.lattice, (crystal.frac_coords + rng.random(3)) % 1.0)


def permuted(crystal: Crystal, rng: np.random.Generator) -> Crystal:
    """Atoms in a random order."""
    order = rng.permutation(len(crystal.atomic_numbers))
    return Crystal(crystal.atomic_numbers[order], crystal.lattice, crystal.frac_coords[order])


def doubled(crystal: Crystal, rng: np.random.Generator) -> Crystal:
    """The 2x1x1 supercell."""
    half = np.array([0.5, 1.0, 1.0])
    positions = np.concatenate([crystal.frac_coords * half, crystal.frac_coords * half + [0.5, 0.0, 0.0]])
    lattice = crystal.lattice * np.array([[2.0], [1.0], [1.0]])
    return Crystal(np.tile(crystal.atomic_numbers, 2), lattice, positions)


def stretched(crystal: Crystal, rng: np.random.Generator) -> Crystal:
    """A cell 0.1 % longer along each axis: another crystal, which must move predictions, or nothing was measured."""
    return Crystal(crystal.atomic_numbers, crystal.lattice * 1.001, crystal.frac_coords)


TRANSFORMATIONS: dict[str, Callable[[Crystal, np.random.Generator], Crystal]] = {
    "rotation": rotated,
    "translation": translated,
    "permutation": permuted,
    "supercell_2x1x1": doubled,
    "control_cell_0.1_percent_longer": stretched,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    flags = parser(__doc__, "invariance")
    flags.add_argument("model", metavar="MODEL", help="checkpoint folder, or a model that ships")
    flags.add_argument("--crystals", type=int, default=CRYSTALS, help="how many (default: %(default)s)")
    flags.add_argument("--seed", type=int, default=0, help="of the choice and the transformations (default: 0)")
    args = flags.parse_args(argv)
    try:
        model, info = load_checkpoint(args.model)
        crystals = random_crystals(args.shared, args.crystals, args.seed)
    except (CheckpointError, FileNotFoundError) as error:
        return skip(str(error))
    rng = np.random.default_rng(args.seed)
    variants = {name: [change(c, rng) for _, c in crystals] for name, change in TRANSFORMATIONS.items()}
    own = GraphSettings.from_dict(info["graph"])
    results: dict[str, Any] = {"crystals": len(crystals), "seed": args.seed}
    for name, settings in {"own_graphs": own, "original_cgcnn_graphs": HardNeighbors()}.items():
        before = _predict(model, [crystal for _, crystal in crystals], settings)
        results[name] = {"settings": settings.as_dict(), "no_graph": int(np.isnan(before[:, 0]).sum())}
        for change, written in variants.items():
            moved = np.abs(_predict(model, written, settings) - before)
            results[name][change] = {
                task.label: _summary(moved[:, i], [material_id for material_id, _ in crystals])
                for i, task in enumerate(model.tasks)
            }
    question = "How far do predictions move when a crystal is only written down differently?"
    return finish(question, results, args.output, repeats=1, packages=["pymatgen"])


def _predict(model: Any, crystals: Sequence[Crystal], settings: GraphSettings) -> NDArray[Any]:
    """(N, T), NaN where the crystal has no graph."""
    graphs = [graph_of(crystal, settings) for crystal in crystals]
    result = np.full((len(graphs), len(model.tasks)), np.nan)
    there = [graph is not None for graph in graphs]
    result[there] = predictions(model, [graph for graph in graphs if graph is not None], settings)
    return result


def _summary(moved: NDArray[Any], ids: Sequence[str]) -> dict[str, Any]:
    return {
        "largest_change": float(f"{np.nanmax(moved):.3g}"),
        "mean_change": float(f"{np.nanmean(moved):.3g}"),
        "crystals_above_0.0001": int((moved > TOLERANCE).sum()),
        "farthest": ids[int(np.nanargmax(moved))],
    }


if __name__ == "__main__":
    sys.exit(main())
