"""What a search found: its finalists' validation and test errors, mean and spread over seeds.

The run itself is the measurement; this only files what its ``finalists.json`` says, with what it was run on.
"""

import json
import sys
from pathlib import Path
from typing import Any

from benchmarks import _report


def main() -> int:
    """Print or file the result."""
    parser = _report.parser(__doc__, "search_result")
    parser.add_argument("run", type=Path, help="folder of a finished search")
    args = parser.parse_args()
    try:
        run = json.loads((args.run / "run.json").read_text(encoding="utf-8"))
        finalists = json.loads((args.run / "finalists.json").read_text(encoding="utf-8"))
    except OSError as error:
        return _report.skip(f"{args.run.name} is no finished search: {error.strerror}")
    settings = run["settings"]
    epochs: dict[str, int] = {}
    seconds = 0.0
    for line in (args.run / "epochs.jsonl").read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        if "epoch" not in entry:
            continue
        epochs[entry["key"]] = max(epochs.get(entry["key"], 0), entry["epoch"])
        seconds += entry["body"]["seconds"]
    results: dict[str, Any] = {
        "space": settings["space_name"],
        "tasks": [f"{t} [{u}]" for t, u in zip(settings["tasks"], settings["units"], strict=True)],
        "store_fingerprint": settings["fingerprint"],
        "split": settings["split"],
        "search": {
            "trials": len(epochs),
            "max_epochs": settings["max_epochs"],
            "stopping": settings.get("stopping", settings.get("asha")),
            "epochs_trained": sum(epochs.values()),
            "thread_seconds": round(seconds),
            "seed": settings["seed"],
        },
        "final_epochs": settings["final_epochs"] or settings["max_epochs"],
        "selected": finalists["selected"],
        "finalists": [
            {
                "trial": entry["trial"],
                "params": entry["params"],
                "seeds": len(entry["runs"]),
                "search_score": entry["search_score"],
                "validation_score": entry["validation_score"],
                "validation_mae": {task: metrics["mae"] for task, metrics in entry["validation"].items()},
                "test_mae": {task: metrics["mae"] for task, metrics in entry["test"].items()},
                "test_r2": {task: metrics["r2"] for task, metrics in entry["test"].items()},
                "test_mae_of_each_seed": [
                    {task: metrics["mae"] for task, metrics in training["test"].items()} for training in entry["runs"]
                ],
            }
            for entry in finalists["finalists"]
        ],
    }
    seeds = max((entry["seeds"] for entry in results["finalists"]), default=0)
    question = "How good is the best model that a search over this space finds?"
    return _report.finish(question, results, args.output, repeats=seeds, packages=("ray", "optuna"))


if __name__ == "__main__":
    sys.exit(main())
