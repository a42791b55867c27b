"""Do two versions of the code, trained to the end with the same seeds, reach the same validation errors?

The shipped defaults (width 64, 3 convolutions, batches of 128, cosine) on part of the Materials Project set, three
tasks. Float32 sums in another order give other last digits; whether these grow to a difference that counts beside that
of two seeds is the question. Validation errors only; the test split is not read.

Each training's result is kept in a folder at once, and one that is there is not trained again.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._report import ROOT, commit, finish, parser, run_with

_PACKAGES = ("graphdb", "model")
_SIZES = {"crystals": 6000, "validation": 1500, "epochs": 30, "threads": 1}


def training(tree: Path, folder: Path, store: Path, seed: int, sizes: dict[str, int]) -> dict[str, Any]:
    """The result of one training with a tree's code, from the folder if it is there."""
    name = "-".join(str(part) for part in (commit(tree, *_PACKAGES), seed, *sizes.values()))
    kept = folder / f"{name}.json"
    if not kept.is_file():
        words = [word for size, value in sizes.items() for word in (f"--{size}", value)]
        result = run_with(tree, "_training", store.resolve(), "--seed", seed, *words)
        if Path(result.pop("tree")) != tree.resolve():
            raise RuntimeError(f"the training must run with the packages of {tree}, but others come first on the path")
        kept.write_text(json.dumps(result), encoding="utf-8")
    found: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
    print(f"{name}: {found['validation_score']:.4f}", file=sys.stderr, flush=True)
    return found


def compared(before: Sequence[float], now: Sequence[float]) -> dict[str, Any]:
    """Values by seed, means and spreads of both versions, and the difference of the means in units of the spread."""
    spread = float(np.sqrt((np.var(before, ddof=1) + np.var(now, ddof=1)) / 2))
    difference = float(np.mean(now) - np.mean(before))
    rounded = {"before": before, "now": now}
    return {
        **{f"{name}_by_seed": [round(value, 8) for value in values] for name, values in rounded.items()},
        **{f"{name}_mean": round(float(np.mean(values)), 5) for name, values in rounded.items()},
        **{f"{name}_spread_over_seeds": round(float(np.std(values, ddof=1)), 5) for name, values in rounded.items()},
        "largest_difference_of_a_seed": float(f"{np.abs(np.subtract(now, before)).max():.2g}"),
        "difference_of_means": float(f"{difference:.2g}"),
        "difference_over_spread": float(f"{difference / spread:.2g}"),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Print or file the result."""
    flags = parser(__doc__, "equal_training")
    flags.add_argument("store", type=Path, help="store of mp29k with its targets")
    flags.add_argument("--before", type=Path, required=True, metavar="DIR", help="checkout of the other version")
    flags.add_argument("--folder", type=Path, required=True, help="where the result of each training is kept")
    flags.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    flags.add_argument("--only", choices=["before", "now"], help="train with this version alone and stop")
    for name, value in _SIZES.items():
        flags.add_argument(f"--{name}", type=int, default=value, help="(default: %(default)s)")
    args = flags.parse_args(argv)
    args.folder.mkdir(parents=True, exist_ok=True)
    sizes = {name: getattr(args, name) for name in _SIZES}
    trees = {"before": args.before, "now": ROOT}
    found = {
        name: [training(tree, args.folder, args.store, seed, sizes) for seed in args.seeds]
        for name, tree in trees.items()
        if args.only in (None, name)
    }
    if args.only:
        return 0
    results: dict[str, Any] = {
        **sizes,
        "last_commits_to_the_packages": {name: commit(tree, *_PACKAGES) for name, tree in trees.items()},
    }
    results["compiled_loops"] = {name: [run["compiled"] for run in runs] for name, runs in found.items()}
    results["processor_seconds"] = {
        name: [round(run["processor_seconds"]) for run in runs] for name, runs in found.items()
    }
    for key in ("validation_score", "first_train_loss", "last_train_loss"):
        results[key] = compared(*([run[key] for run in runs] for runs in found.values()))
    results["validation_mae"] = {
        task: compared(*([run["validation_mae"][task] for run in runs] for runs in found.values()))
        for task in found["now"][0]["validation_mae"]
    }
    question = "Do two versions of the code, trained with the same seeds, reach the same validation errors?"
    return finish(question, results, args.output, repeats=len(args.seeds), packages=["numba"])


if __name__ == "__main__":
    sys.exit(main())
