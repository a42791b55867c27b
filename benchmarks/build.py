"""How long does it take to turn a CIF into a graph, against the original CGCNN recipe?

Random crystals of mp29k, on one core. The original recipe is the code of CGCNN's dataset: pymatgen parses the CIF,
`get_all_neighbors` within 8 Å, each list sorted by distance and cut after 12, distances expanded in 41 Gaussians (told
with and without that last step). Ours is what `graphdb.build` does with each text: parse, build the graph, encode it.

Source:
    cgcnn ``data.py:319-347@f42ab23``.
"""

import sys
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks._crystals import archive
from benchmarks._report import finish, parser, skip, spread
from graphdb.errors import GraphDBError
from graphdb.graphsettings import HardNeighbors, SoftNeighbors
from graphdb.ingest import build_one, text_digest
from graphdb.rawcrystal import RawCrystal
from graphdb.sources import open_source

CRYSTALS, REPEATS, SEED = 300, 3, 0
CUTOFF, NUM_NEIGHBORS, STEP = 8.0, 12, 0.2


def original_neighbors(text: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """Neighbor indices and distances, (atoms, 12) each, as the original recipe finds them."""
    from pymatgen.core.structure import Structure

    structure = Structure.from_str(text, fmt="cif")
    indices, distances = [], []
    for neighbors in structure.get_all_neighbors(CUTOFF, include_index=True):
        nearest = sorted(neighbors, key=lambda neighbor: neighbor[1])[:NUM_NEIGHBORS]
        missing = NUM_NEIGHBORS - len(nearest)
        indices.append([neighbor[2] for neighbor in nearest] + [0] * missing)
        distances.append([neighbor[1] for neighbor in nearest] + [CUTOFF + 1.0] * missing)
    return np.array(indices), np.array(distances)


def original_graph(text: str) -> NDArray[Any]:
    """The recipe with its Gaussians: (atoms, 12, 41)."""
    _, distances = original_neighbors(text)
    centres = np.arange(0, CUTOFF + STEP, STEP)
    features: NDArray[Any] = np.exp(-((distances[..., None] - centres) ** 2) / STEP**2)
    return features


def random_texts(source: str, count: int) -> list[RawCrystal]:
    """Some crystals of the archive as they lie there."""
    crystals = [entry for entry in open_source(source).entries() if isinstance(entry, RawCrystal)]
    chosen = np.random.default_rng(SEED).permutation(len(crystals))[:count]
    return [crystals[int(index)] for index in chosen]


def milliseconds_each(work: Callable[[RawCrystal], object], crystals: Sequence[RawCrystal]) -> float:
    """Processor time per crystal, so that what else the machine does counts less."""
    start = time.process_time()
    for crystal in crystals:
        work(crystal)
    return 1e3 * (time.process_time() - start) / len(crystals)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    flags = parser(__doc__, "build")
    flags.add_argument("--crystals", type=int, default=CRYSTALS, help="how many (default: %(default)s)")
    flags.add_argument("--repeats", type=int, default=REPEATS, help="rounds over them (default: %(default)s)")
    args = flags.parse_args(argv)
    try:
        crystals = random_texts(str(archive(args.shared)), args.crystals)
    except GraphDBError as error:
        return skip(str(error))
    warnings.simplefilter("ignore")  # pymatgen remarks on CIFs
    shell, cgcnn = SoftNeighbors(), HardNeighbors()
    recipes: dict[str, Callable[[RawCrystal], object]] = {
        "ours": lambda raw: build_one(raw, text_digest(raw), shell),
        "ours_with_the_original_choice": lambda raw: build_one(raw, text_digest(raw), cgcnn),
        "original": lambda raw: original_neighbors(raw.content.decode()),
        "original_with_gaussians": lambda raw: original_graph(raw.content.decode()),
    }
    times: dict[str, list[float]] = {name: [] for name in recipes}
    for recipe in recipes.values():
        milliseconds_each(recipe, crystals[:5])  # imports
    for _ in range(args.repeats):  # in turn, so that a busy moment meets all of them
        for name, recipe in recipes.items():
            times[name].append(milliseconds_each(recipe, crystals))
    results: dict[str, object] = {"crystals": len(crystals)}
    results |= {name: spread(values, "milliseconds_per_crystal") for name, values in times.items()}
    for name in ("original", "original_with_gaussians"):
        ratios = [theirs / ours for theirs, ours in zip(times[name], times["ours"], strict=True)]
        results[f"speed_against_{name}"] = spread(ratios, "times_faster")
    return finish(
        "How long does it take to turn a CIF into a graph, against the original CGCNN recipe?",
        results,
        args.output,
        repeats=args.repeats,
        packages=["pymatgen"],
    )


if __name__ == "__main__":
    sys.exit(main())
