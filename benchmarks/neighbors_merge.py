"""What does merging equivalent atoms save, what does it cost, and does it change predictions?

The graphs of random crystals of mp29k, built merged and unmerged in turns. The predictions of one model on both must
agree but for rounding.
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks._crystals import graph_of, predictions, random_crystals
from benchmarks._report import finish, parser, skip, spread
from graphdb.graph import CrystalGraph
from graphdb.graphsettings import SoftNeighbors
from model.checkpoint import load_checkpoint
from model.errors import CheckpointError

CRYSTALS = 2000


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    flags = parser(__doc__, "neighbors_merge")
    flags.add_argument("model", metavar="MODEL", help="checkpoint folder, or a model that ships")
    flags.add_argument("--crystals", type=int, default=CRYSTALS, help="how many (default: %(default)s)")
    args = flags.parse_args(argv)
    try:
        model, _ = load_checkpoint(args.model)
        crystals = random_crystals(args.shared, args.crystals, seed=0)
    except (CheckpointError, FileNotFoundError) as error:
        return skip(str(error))
    merging = SoftNeighbors()
    kinds = {"unmerged": replace(merging, merge_tolerance=0.0), "merged": merging}
    graphs: dict[str, list[CrystalGraph]] = {name: [] for name in kinds}
    seconds: dict[str, list[float]] = {name: [] for name in kinds}
    for _, crystal in crystals:
        built: dict[str, CrystalGraph] = {}
        for name, settings in kinds.items():
            start = time.process_time()
            graph = graph_of(crystal, settings)
            if graph is None:  # too sparse, merged or not
                break
            seconds[name].append(time.process_time() - start)
            built[name] = graph
        else:
            for name, graph in built.items():
                graphs[name].append(graph)
    difference = np.abs(
        predictions(model, graphs["merged"], merging) - predictions(model, graphs["unmerged"], kinds["unmerged"])
    )
    num_atoms = np.array([graph.num_atoms for graph in graphs["merged"]])
    results: dict[str, Any] = {"crystals": len(num_atoms), "without_graph": len(crystals) - len(num_atoms)}
    sizes = {name: _sizes(graphs[name]) for name in kinds}
    for i, what in enumerate(("nodes", "edges")):
        before, after = sizes["unmerged"][:, i], sizes["merged"][:, i]
        results[what] = {
            "unmerged_mean_per_crystal": round(float(before.mean()), 2),
            "merged_mean_per_crystal": round(float(after.mean()), 2),
            "unmerged_median_per_crystal": float(np.median(before)),
            "merged_median_per_crystal": float(np.median(after)),
            "saved_factor_of_sums": round(float(before.sum() / after.sum()), 3),
            "saved_factor_median_crystal": round(float(np.median(before / after)), 3),
            "crystals_with_nothing_saved": int((before == after).sum()),
        }
    for name in kinds:
        milliseconds = 1e3 * np.array(seconds[name][: len(num_atoms)])
        results[f"building_{name}"] = {
            "mean_processor_milliseconds_per_crystal": float(f"{milliseconds.mean():.4g}"),
            **spread(milliseconds.tolist(), "processor_milliseconds_per_crystal"),
        }
    results["largest_difference_of_predictions"] = {
        task.label: float(f"{difference[:, i].max():.3g}") for i, task in enumerate(model.tasks)
    }
    question = "What does merging equivalent atoms save, what does it cost, and does it change predictions?"
    return finish(question, results, args.output, repeats=1, packages=["pymatgen"])


def _sizes(graphs: Sequence[CrystalGraph]) -> NDArray[Any]:
    """(N, 2) nodes and edges."""
    return np.array([[len(graph.atomic_numbers), len(graph.neighbor_index)] for graph in graphs])


if __name__ == "__main__":
    sys.exit(main())
