"""One training to the end, with whatever tree of this repository is on the path; `equal_training` runs it."""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import torch

import model
from graphdb.loader import InMemoryGraphs, Loader
from graphdb.split import split_by_id
from model import Architecture, TrainConfig, Trainer
from model.allocator import keep_freed_memory


def train(args: argparse.Namespace) -> dict[str, Any]:
    """Validation score and errors of the best epoch, of the first `--crystals` and `--validation` of their parts."""
    keep_freed_memory()
    torch.set_num_threads(args.threads)
    graphs = InMemoryGraphs.from_store(args.store)
    split = split_by_id(graphs.material_ids)
    config = TrainConfig(epochs=args.epochs, seed=args.seed)
    trainer = Trainer(
        architecture=Architecture(),
        config=config,
        train=Loader(graphs, split.train[: args.crystals], batch_size=config.batch_size, shuffle=True, seed=args.seed),
        validation=Loader(graphs, split.validation[: args.validation], batch_size=512),
        device="cpu",
    )
    start = time.process_time()
    while not trainer.finished:
        trainer.run_epoch()
    best = trainer.history[trainer.best_epoch - 1]
    return {
        "tree": str(Path(model.__file__).parents[1]),
        "compiled": "model.gated_sum.by_numba" in sys.modules,
        "best_epoch": best.epoch,
        "validation_score": best.score,
        "validation_mae": {task.label: best.metrics[task.name].mae for task in graphs.tasks},
        "first_train_loss": trainer.history[0].train_loss,
        "last_train_loss": trainer.history[-1].train_loss,
        "processor_seconds": time.process_time() - start,
    }


if __name__ == "__main__":
    flags = argparse.ArgumentParser()
    flags.add_argument("store")
    for name in ("crystals", "validation", "epochs", "seed", "threads"):
        flags.add_argument(f"--{name}", type=int, required=True)
    print(json.dumps(train(flags.parse_args())))
