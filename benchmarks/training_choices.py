"""Which defaults serve best: each choice alone against the recipe, on part of the Materials Project set.

Validation errors only; the test split is not read. Each training's result is kept in a folder at once, and one that is
there is not trained again; so this can be stopped at any time, and asked for more seeds or choices later.
"""

import dataclasses
import json
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import _report

_TASKS = ("formation_energy_per_atom", "band_gap", "fermi_energy")
_PAPER_ARCHITECTURE: dict[str, Any] = {
    "num_rbf": 41,
    "rbf_cutoff": 8.0,
    "num_ratio_rbf": 0,
    "pooling": "mean",
    "edge_norm": "batch",
}
_RECIPE: dict[str, Any] = {
    "num_rbf": 26,
    "rbf_cutoff": 6.0,
    "num_ratio_rbf": 30,
    "pooling": "mean_std",
    "edge_norm": "batch",
    "loss": "huber",
    "huber_delta": 0.3,
    "censored": True,
    "average": 0.998,
}
_PAPER: dict[str, Any] = {**_PAPER_ARCHITECTURE, "loss": "mse", "censored": False, "average": 0.0}
CHOICES: dict[str, dict[str, Any]] = {
    "the recipe": {},
    "the paper's of all these": _PAPER,
    "distances alone": {"num_rbf": 41, "rbf_cutoff": 8.0, "num_ratio_rbf": 0},
    "pooling mean": {"pooling": "mean"},
    "loss mse": {"loss": "mse"},
    "loss l1": {"loss": "l1"},
    "huber_delta 0.15": {"huber_delta": 0.15},
    "huber_delta 0.6": {"huber_delta": 0.6},
    "not censored": {"censored": False},
    "last weights": {"average": 0.0},
    "edge_norm none": {"edge_norm": "none"},
    "learning_rate 0.0025": {"learning_rate": 0.0025},
    "learning_rate 0.01": {"learning_rate": 0.01},
    "batch_size 64": {"batch_size": 64},
    "batch_size 256": {"batch_size": 256},
    "constant step size": {"schedule": "constant"},
    "no gradient clipping": {"grad_clip": None},
    "L2 1e-6": {"weight_decay": 1e-6},
    "L2 1e-5": {"weight_decay": 1e-5},
    "head_dim 128": {"head_dim": 128},
    "2 head layers": {"num_head_layers": 2},
    "4 convolutions": {"num_convs": 4},
    "2 convolutions": {"num_convs": 2},
    "atom_dim 96": {"atom_dim": 96},
}


@dataclass(frozen=True)
class Job:
    """One training."""

    choice: str
    seed: int
    store: str
    crystals: int
    epochs: int
    folder: str

    @property
    def kept(self) -> Path:
        """Where its result lies."""
        name = self.choice.replace(" ", "_").replace("'", "")
        return Path(self.folder) / f"{name}-seed{self.seed}-{self.crystals}x{self.epochs}.json"


def train(job: Job) -> None:
    """Train with one thread, and keep the result."""
    import torch

    from graphdb.loader import InMemoryGraphs, Loader
    from graphdb.split import split_by_id
    from model import Architecture, TrainConfig, Trainer
    from model.allocator import keep_freed_memory
    from model.threads import compute_with

    keep_freed_memory()
    compute_with(1)
    torch.set_num_threads(1)
    graphs = InMemoryGraphs.from_store(job.store, _TASKS)
    split = split_by_id(graphs.material_ids)
    chosen = {**_RECIPE, **CHOICES[job.choice]}
    sizes = {key: chosen.pop(key) for key in [f.name for f in dataclasses.fields(Architecture)] if key in chosen}
    config = TrainConfig(**{"epochs": job.epochs, "seed": job.seed, **chosen})
    train = np.sort(np.random.default_rng(0).permutation(split.train)[: job.crystals or None])
    trainer = Trainer(
        architecture=Architecture(**sizes),
        config=config,
        train=Loader(graphs, train, batch_size=config.batch_size, shuffle=True, seed=job.seed),
        validation=Loader(graphs, split.validation, batch_size=512),
        device="cpu",
    )
    while not trainer.finished:
        trainer.run_epoch()
    best = trainer.history[trainer.best_epoch - 1]
    result = {
        "score": best.score,
        "mae": {task: best.metrics[task].mae for task in _TASKS},
        "seconds": sum(report.seconds for report in trainer.history),
        "train_loss": trainer.history[-1].train_loss,
        "parameters": trainer.model.num_parameters,
    }
    job.kept.write_text(json.dumps(result), encoding="utf-8")


def table(jobs: list[Job]) -> dict[str, Any]:
    """Mean and spread over seeds of each choice, as far as trained."""
    results: dict[str, Any] = {}
    for choice in dict.fromkeys(job.choice for job in jobs):
        found = [json.loads(job.kept.read_text()) for job in jobs if job.choice == choice and job.kept.exists()]
        if not found:
            continue
        scores = [each["score"] for each in found]
        results[choice] = {
            "seeds": len(found),
            "validation_score_mean": round(float(np.mean(scores)), 4),
            "validation_score_spread": round(float(np.std(scores, ddof=1)), 4) if len(found) > 1 else None,
            "validation_mae_mean": {task: round(float(np.mean([e["mae"][task] for e in found])), 4) for task in _TASKS},
            "seconds_mean": round(float(np.mean([each["seconds"] for each in found])), 1),
            "parameters": found[0]["parameters"],
        }
    first = next(iter(results.values()))["validation_score_mean"]
    for values in results.values():
        values["percent_worse_than_the_first"] = round(100 * (values["validation_score_mean"] / first - 1), 1)
    return results


def main() -> int:
    """Print or file the result."""
    parser = _report.parser(__doc__, "training_choices")
    parser.add_argument("store", help="store of mp29k with its targets")
    parser.add_argument("--folder", required=True, help="where the result of each training is kept")
    parser.add_argument("--crystals", type=int, default=6000, help="of the training split, 0 for all (6000)")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--choices", nargs="+", default=list(CHOICES), metavar="NAME", help="(default: all)")
    parser.add_argument("--processes", type=int, default=2, help="trainings at a time, a thread each (2)")
    args = parser.parse_args()
    Path(args.folder).mkdir(parents=True, exist_ok=True)
    jobs = [
        Job(choice, seed, args.store, args.crystals, args.epochs, args.folder)
        for seed in args.seeds
        for choice in args.choices
    ]
    with ProcessPoolExecutor(args.processes, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        running = {pool.submit(train, job): job for job in jobs if not job.kept.exists()}
        for done in as_completed(running):
            done.result()
            kept = json.loads(running[done].kept.read_text())
            print(f"{running[done].kept.stem}: {kept['score']:.4f}", file=sys.stderr, flush=True)
    size = f"{args.crystals or 'all'} crystals"
    question = f"Which settings serve best after {args.epochs} epochs on {size}?"
    return _report.finish(question, {"tasks": list(_TASKS), **table(jobs)}, args.output, repeats=len(args.seeds))


if __name__ == "__main__":
    sys.exit(main())
