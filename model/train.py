"""Train one model without a search: ``python -m model.train STORE -o DIR [--tasks a,b] [--config config.toml]``."""

import argparse
import contextlib
import csv
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphdb.command import Parser, invocation, load, run
from model.errors import TrainingFailed
from model.flags import folder, share, task_names, whole_number
from model.shipped import STATE

if TYPE_CHECKING:
    from graphdb.loader import InMemoryGraphs, StreamedGraphs
    from model.hyperparameter_file import Hyperparameters
    from model.training import EpochReport

_EVALUATION_BATCH = 512


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = Parser(
        "model.train",
        "Train one model. Interrupted, the same command goes on after the last finished epoch.",
        examples=[
            "my.lmdb -o my_model",
            "my.lmdb -o my_model --tasks band_gap --epochs 200 --device cuda",
            "my.lmdb -o my_model --config exports/best/hyperparameters.toml",
        ],
    )
    parser.add_argument("store", metavar="STORE", help="store that graphdb.build wrote")
    parser.add_argument(
        "-o", "--output", required=True, metavar="DIR", type=folder, help="new folder for the checkpoint"
    )
    parser.add_argument(
        "--tasks",
        metavar="NAMES",
        type=task_names,
        help="properties to predict, separated by commas (default: all of the store)",
    )
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="TOML with tables [architecture] and [train], such as the hyperparameters.toml of tuner.export, or "
        "config.json of a checkpoint, which brings its tasks along",
    )
    parser.add_argument(
        "--epochs", metavar="N", type=whole_number(1), help="number of epochs (instead of the configuration's)"
    )
    parser.add_argument(
        "--seed",
        metavar="N",
        type=whole_number(0, 2**63 - 1),
        help="seed of weights and order (instead of the configuration's)",
    )
    parser.add_argument("--valid", metavar="SHARE", type=share, help="share of crystals to validate on (default: 0.1)")
    parser.add_argument("--test", metavar="SHARE", type=share, help="share of crystals to test on (default: 0.1)")
    parser.add_argument("--device", default="auto", help="auto (the default), cpu, cuda or mps")
    parser.add_argument("--streaming", action="store_true", help="read batches from the store instead of from memory")
    parser.add_argument(
        "--workers", metavar="N", type=whole_number(0), default=0, help="processes that read ahead with --streaming"
    )
    return run(parser, _train, argv, interrupted="nothing was changed; the same command begins anew or goes on")


def _train(arguments: argparse.Namespace) -> int:
    load("numpy")
    from graphdb.check import shares
    from model.output import check_folder

    fractions = shares(arguments.valid, arguments.test)
    check_folder(arguments.output, lambda folder: (folder / STATE).is_file(), "an interrupted run of model.train")
    load("torch")
    from model.allocator import keep_freed_memory
    from model.eager import leave_out_compiler
    from model.hyperparameter_file import Hyperparameters
    from model.threads import compute_with

    keep_freed_memory()
    leave_out_compiler()
    compute_with()
    train_model(
        arguments.store,
        arguments.output,
        Hyperparameters.read(arguments.config, epochs=arguments.epochs, seed=arguments.seed),
        tasks=arguments.tasks,
        fractions=fractions,
        device=arguments.device,
        streaming=arguments.streaming,
        workers=arguments.workers,
    )
    return 0


def train_model(
    store: str,
    output: Path,
    hyperparameters: "Hyperparameters",
    *,
    tasks: Sequence[str] | None = None,
    fractions: tuple[float, float, float] | None = None,
    device: str = "auto",
    streaming: bool = False,
    workers: int = 0,
) -> None:
    """Train on the training split of a store, keep the epoch that is best on validation, measure it on the test split.

    Prints a line per epoch. The state after each epoch lies in ``output`` until the run has finished.

    Args:
        store: path of a store.
        output: folder for the checkpoint, new, empty or with the state of an interrupted run.
        hyperparameters: of network and training; they may bring tasks along.
        tasks: names of the properties; those of the hyperparameters, or else all of the store, when None.
        fractions: shares of training, validation and test split; the default when None.
        device: see `choose_device`.
        streaming: read batches from the store instead of from memory.
        workers: processes that read ahead.

    Raises:
        CrystuneError: for what the user has to fix: tasks, targets, device, an output of another run, divergence.
    """
    from graphdb.check import checked_split
    from graphdb.loader import Loader
    from graphdb.split import DEFAULT_FRACTIONS
    from model.evaluate import metrics_table
    from model.gated_sum.choice import warm_up
    from model.inference import choose_device, evaluate
    from model.training import Trainer

    chosen_device = choose_device(device)
    graphs = _open(store, tasks, hyperparameters, streaming)
    names = [task.name for task in graphs.tasks]
    config, unused = hyperparameters.train_config(names)
    if unused:
        print(f"note: {store} has no {', '.join(unused)}: their weights of the loss are left out", file=sys.stderr)
    split = checked_split(
        graphs.material_ids, graphs.targets, names, fractions=fractions or DEFAULT_FRACTIONS, what=store
    )
    origin: dict[str, Any] = {
        "store_fingerprint": graphs.fingerprint,
        "split": split.as_dict(),
        "loader": {"max_atoms": hyperparameters.max_atoms},
    }

    def loader(rows: Any, *, shuffle: bool = False) -> Loader:
        return Loader(
            graphs,
            rows,
            batch_size=config.batch_size if shuffle else _EVALUATION_BATCH,
            shuffle=shuffle,
            seed=config.seed,
            max_atoms=hyperparameters.max_atoms,
            num_workers=workers,
        )

    trainer = Trainer(
        architecture=hyperparameters.architecture,
        config=config,
        train=loader(split.train, shuffle=True),
        validation=loader(split.validation),
        device=chosen_device,
    )
    if (output / STATE).exists():
        trainer.load_state(output, origin)
        print(f"going on after epoch {trainer.epoch}")
    print(
        f"{trainer.model.num_parameters:,} parameters on {trainer.device}; crystals: {len(split.train)} train, "
        f"{len(split.validation)} validation, {len(split.test)} test",
        flush=True,
    )
    if trainer.device.type == "cpu":
        warm_up()  # or the first epoch would take the time that the loops take to compile
    with _keeping(output):
        while not trainer.finished:
            report = trainer.run_epoch()
            trainer.save_state(output, origin)
            print(_line(report, config.epochs), flush=True)
        if not trainer.best_epoch:
            (output / STATE).unlink()  # another learning rate may use the folder
            raise TrainingFailed("no epoch had a finite validation score: lower learning_rate; nothing was written")
        test = evaluate(trainer.best_model(), loader(split.test)).metrics if len(split.test) else {}
        trainer.save_best(
            output,
            {
                "graph": graphs.settings.as_dict(),
                **origin,
                "test_metrics": {name: metrics.as_dict() for name, metrics in test.items()},
            },
        )
        _write_history(output / "history.csv", trainer.history)
        (output / STATE).unlink()
    if test:
        print(f"best epoch {trainer.best_epoch}; test split:\n{metrics_table(test, trainer.tasks)}")
    else:
        print(f"best epoch {trainer.best_epoch}; there is no test split to measure it on")
    print(
        f"checkpoint of {', '.join(task.label for task in trainer.tasks)} in {output}\n"
        f"next: {invocation('model.predict')} {shlex.quote(str(output))} YOUR.cif"
    )


def _open(
    store: str, tasks: Sequence[str] | None, hyperparameters: "Hyperparameters", streaming: bool
) -> "InMemoryGraphs | StreamedGraphs":
    """The store's graphs with the tasks that are wanted.

    Raises:
        TaskError: for tasks that the store does not have.
    """
    from graphdb.errors import TaskError
    from graphdb.loader import InMemoryGraphs, StreamedGraphs

    chosen = tasks if tasks is not None else hyperparameters.tasks
    try:
        return StreamedGraphs(store, chosen) if streaming else InMemoryGraphs.from_store(store, chosen)
    except TaskError as error:
        if tasks is None and hyperparameters.tasks is not None:
            raise TaskError(
                f"the tasks of --config ({', '.join(hyperparameters.tasks)}) must be properties of {store}: {error}; "
                "--tasks chooses others"
            ) from error
        raise


@contextlib.contextmanager
def _keeping(output: Path) -> Iterator[None]:
    """Make the folder; after Ctrl-C tell what is in it, and leave none that is empty."""
    made = not output.exists()
    output.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except KeyboardInterrupt as error:
        if (output / STATE).exists():
            error.args = (f"{output} keeps what is done; the same command goes on after the last finished epoch",)
        raise
    except RuntimeError as error:  # torch has a class of its own for GPUs alone
        if "allocate" not in str(error):
            raise
        raise TrainingFailed(
            "a batch must fit into the memory of the device, but it did not; lower batch_size in [train], or set "
            "max_atoms in [loader], of --config"
        ) from error
    finally:
        if made and not any(output.iterdir()):
            output.rmdir()


def _line(report: "EpochReport", epochs: int) -> str:
    errors = "  ".join(f"{name} {m.mae:.4f}" for name, m in report.metrics.items())
    star = "*" if report.best_epoch == report.epoch else " "
    rate = report.num_crystals / report.seconds
    return (
        f"epoch {report.epoch:4d}/{epochs}  loss {report.train_loss:.4f}  score {report.score:.4f}{star}  "
        f"MAE: {errors}  {rate:,.0f} crystals/s  left {(epochs - report.epoch) * report.seconds / 60:.1f} min"
    )


def _write_history(path: Path, history: "Sequence[EpochReport]") -> None:
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
