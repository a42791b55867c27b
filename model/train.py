"""Train one model without a search: ``python -m model.train STORE -o DIR [--tasks a,b] [--config config.toml]``."""

import argparse
import csv
import json
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from model.allocator import keep_freed_memory
from model.checkpoint import WEIGHTS, CheckpointError
from model.config import TrainConfig
from model.evaluate import metrics_table
from model.inference import choose_device, evaluate
from model.network import Architecture
from model.training import STATE, EpochReport, Trainer

_EVALUATION_BATCH = 512


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m model.train",
        description="Train one model. Interrupted, the same command goes on after the last finished epoch.",
    )
    parser.add_argument("store", metavar="STORE", help="store that graphdb.build wrote")
    parser.add_argument("-o", "--output", required=True, metavar="DIR", help="folder for the checkpoint")
    parser.add_argument("--tasks", help="properties to predict, separated by commas (default: all of the store)")
    parser.add_argument(
        "--config", metavar="FILE", help="TOML with tables [architecture] and [train], or config.json of a checkpoint"
    )
    parser.add_argument("--epochs", type=int, help="number of epochs (instead of the configuration's)")
    parser.add_argument("--seed", type=int, help="seed of weights and order (instead of the configuration's)")
    parser.add_argument("--device", default="auto", help="auto (the default), cpu, cuda or mps")
    parser.add_argument("--streaming", action="store_true", help="read batches from the store instead of from memory")
    parser.add_argument("--workers", type=int, default=0, help="processes that read ahead with --streaming")
    args = parser.parse_args(argv)
    keep_freed_memory()
    from graphdb.errors import GraphDBError

    try:
        architecture, config = read_config(args.config, epochs=args.epochs, seed=args.seed)
        train_model(
            args.store,
            Path(args.output),
            architecture,
            config,
            tasks=_choose_tasks(args.tasks, args.config),
            device=args.device,
            streaming=args.streaming,
            workers=args.workers,
        )
    except (CheckpointError, GraphDBError, ValueError, RuntimeError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted: the same command goes on after the last finished epoch", file=sys.stderr)
        return 130
    return 0


def read_config(
    path: str | None, *, epochs: int | None = None, seed: int | None = None
) -> tuple[Architecture, TrainConfig]:
    """Architecture and training settings of a file, with flags on top.

    Args:
        path: TOML with tables [architecture] and [train], a checkpoint's ``config.json``, or None for the defaults.
        epochs: instead of the file's.
        seed: instead of the file's.

    Raises:
        ValueError: names file and key for anything it does not know.
    """
    content: Mapping[str, Any] = {}
    if path is not None:
        text = Path(path).read_text(encoding="utf-8")
        try:
            is_json = path.endswith(".json")
            content = json.loads(text) if is_json else tomllib.loads(text)
        except ValueError as error:
            raise ValueError(f"{path} must be TOML, or the config.json of a checkpoint: {error}") from error
        if not isinstance(content, dict):
            raise ValueError(f"{path} must be the config.json of a checkpoint, got a {type(content).__name__}")
        unknown = set(content) - {"architecture", "train"}
        if unknown and not is_json:
            raise ValueError(
                f"{path} must have the tables [architecture] and [train], got {', '.join(sorted(unknown))}"
            )
    for name in ("architecture", "train"):
        if not isinstance(content.get(name, {}), dict):
            raise ValueError(f"{name} must be a table, [{name}], got {content[name]!r} ({path})")
    values = {"architecture": dict(content.get("architecture", {})), "train": dict(content.get("train", {}))}
    for table, kind in (("architecture", Architecture), ("train", TrainConfig)):
        known = [field.name for field in fields(kind)]
        wrong = sorted(set(values[table]) - set(known))
        if wrong:
            raise ValueError(f"[{table}] must have keys of {', '.join(known)}, got {', '.join(wrong)} ({path})")
    flags = {"epochs": epochs, "seed": seed}
    values["train"] |= {name: value for name, value in flags.items() if value is not None}
    try:
        return Architecture(**values["architecture"]), TrainConfig(**values["train"])
    except (ValueError, TypeError) as error:
        raise ValueError(f"{error} ({path or 'command line'})") from error


def _choose_tasks(flag: str | None, config: str | None) -> list[str] | None:
    """Those of the flag; else those of a checkpoint's configuration; else None for all of the store."""
    if flag:
        return [name.strip() for name in flag.split(",")]
    if config is not None and config.endswith(".json"):
        tasks = json.loads(Path(config).read_text(encoding="utf-8")).get("tasks") or []
        return [task["name"] for task in tasks] or None
    return None


def train_model(
    store: str,
    output: Path,
    architecture: Architecture,
    config: TrainConfig,
    *,
    tasks: Sequence[str] | None = None,
    device: str = "auto",
    streaming: bool = False,
    workers: int = 0,
) -> None:
    """Train on the training split of a store, keep the epoch that is best on validation, measure it on the test split.

    Prints a line per epoch. The state after each epoch lies in ``output`` until the run has finished.

    Raises:
        RuntimeError: when every epoch diverged, or `output` holds a finished model.
    """
    from graphdb.loader import InMemoryGraphs, Loader, StreamedGraphs
    from graphdb.split import split_by_id

    if (output / WEIGHTS).exists() and not (output / STATE).exists():
        raise RuntimeError(f"{output} must be a new folder or an interrupted run, it holds a finished model")
    graphs = StreamedGraphs(store, tasks) if streaming else InMemoryGraphs.from_store(store, tasks)
    split = split_by_id(graphs.material_ids)

    def loader(rows: Any, *, shuffle: bool = False) -> Loader:
        size = config.batch_size if shuffle else _EVALUATION_BATCH
        return Loader(graphs, rows, batch_size=size, shuffle=shuffle, seed=config.seed, num_workers=workers)

    trainer = Trainer(
        architecture=architecture,
        config=config,
        train=loader(split.train, shuffle=True),
        validation=loader(split.validation),
        device=choose_device(device),
    )
    if (output / STATE).exists():
        trainer.load_state(output)
        print(f"going on after epoch {trainer.epoch}")
    print(
        f"{trainer.model.num_parameters:,} parameters on {trainer.device}; crystals: {len(split.train)} train, "
        f"{len(split.validation)} validation, {len(split.test)} test"
    )
    while not trainer.finished:
        report = trainer.run_epoch()
        trainer.save_state(output)
        print(_line(report, config.epochs), flush=True)
    if not trainer.best_epoch:
        (output / STATE).unlink()  # another learning rate may use the folder
        raise RuntimeError("no epoch had a finite validation score: lower learning_rate; nothing was written")
    test = evaluate(trainer.best_model(), loader(split.test))
    trainer.save_best(
        output,
        {
            "graph": graphs.settings.as_dict(),
            "split": split.as_dict(),
            "store_fingerprint": graphs.fingerprint,
            "test_metrics": {name: metrics.as_dict() for name, metrics in test.items()},
        },
    )
    _write_history(output / "history.csv", trainer.history)
    (output / STATE).unlink()
    print(f"best epoch {trainer.best_epoch}; test split:\n{metrics_table(test, trainer.tasks)}")
    print(
        f"checkpoint of {', '.join(task.label for task in trainer.tasks)} in {output}\n"
        f"next: python -m model.predict {output} YOUR.cif"
    )


def _line(report: EpochReport, epochs: int) -> str:
    errors = "  ".join(f"{name} {m.mae:.4f}" for name, m in report.metrics.items())
    star = "*" if report.best_epoch == report.epoch else " "
    rate = report.num_crystals / report.seconds
    return (
        f"epoch {report.epoch:4d}/{epochs}  loss {report.train_loss:.4f}  score {report.score:.4f}{star}  "
        f"MAE: {errors}  {rate:,.0f} crystals/s  left {(epochs - report.epoch) * report.seconds / 60:.1f} min"
    )


def _write_history(path: Path, history: Sequence[EpochReport]) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        names = list(history[0].metrics)
        table.writerow(["epoch", "train_loss", "learning_rate", "score", *(f"mae_{n}" for n in names), "seconds"])
        for r in history:
            maes = [f"{r.metrics[name].mae:.6g}" for name in names]
            table.writerow(
                [r.epoch, f"{r.train_loss:.6g}", f"{r.learning_rate:.3g}", f"{r.score:.6g}", *maes, f"{r.seconds:.2f}"]
            )


if __name__ == "__main__":
    raise SystemExit(main())
