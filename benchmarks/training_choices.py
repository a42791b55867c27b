"""Which defaults of training serve best: each choice alone against the defaults, on part of the Materials Project set.

Validation errors only; the test split is not read.
"""

import sys
from typing import Any

import torch

from benchmarks import _report
from graphdb.loader import InMemoryGraphs, Loader
from graphdb.split import split_by_id
from model import Architecture, TrainConfig, Trainer
from model.allocator import keep_freed_memory

_TASKS = ("formation_energy_per_atom", "band_gap", "fermi_energy")
_CHOICES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "learning_rate 0.002": {"learning_rate": 0.002},
    "learning_rate 0.01": {"learning_rate": 0.01},
    "learning_rate 0.02": {"learning_rate": 0.02},
    "batch_size 64": {"batch_size": 64},
    "batch_size 256": {"batch_size": 256},
    "loss l1": {"loss": "l1"},
    "no gradient clipping": {"grad_clip": None},
    "constant step size": {"schedule": "constant"},
    "no warmup": {"warmup": 0.0},
    "L2 1e-6": {"weight_decay": 1e-6},
    "L2 1e-4": {"weight_decay": 1e-4},
}


def main() -> int:
    """Print or file the result."""
    parser = _report.parser(__doc__, "training_choices")
    parser.add_argument("store", help="store of mp29k with its targets")
    parser.add_argument("--crystals", type=int, default=8000, help="of the training split (8000)")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(args.threads)
    graphs = InMemoryGraphs.from_store(args.store, _TASKS)
    split = split_by_id(graphs.material_ids)
    results: dict[str, Any] = {}
    for name, change in _CHOICES.items():
        scores, maes = [], []
        for seed in range(args.seeds):
            config = TrainConfig(**{"epochs": args.epochs, "seed": seed, **change})
            trainer = Trainer(
                architecture=Architecture(),
                config=config,
                train=Loader(
                    graphs, split.train[: args.crystals], batch_size=config.batch_size, shuffle=True, seed=seed
                ),
                validation=Loader(graphs, split.validation, batch_size=512),
                device="cpu",
            )
            while not trainer.finished:
                trainer.run_epoch()
            scores.append(trainer.best_score)
            best = trainer.history[trainer.best_epoch - 1].metrics
            maes.append([round(best[task].mae, 4) for task in _TASKS])
            print(f"{name}, seed {seed}: {trainer.best_score:.4f}", file=sys.stderr, flush=True)
        results[name] = {"validation_score": [round(s, 4) for s in scores], "validation_mae_by_task": maes}
    question = f"Which training settings serve best after {args.epochs} epochs on {args.crystals} crystals?"
    return _report.finish(question, {"tasks": list(_TASKS), **results}, args.output, repeats=args.seeds)


if __name__ == "__main__":
    sys.exit(main())
