"""Measure a model on a store: ``python -m model.evaluate EXPORT STORE [--split test] [-o predictions.csv]``."""

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

from graphdb.command import Parser, count, load, run
from graphdb.records import finite_or_none
from model.shipped import CONFIG, find_weights

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from graphdb.batch import GraphBatch, Task
    from graphdb.loader import InMemoryGraphs
    from model.inference import Evaluation
    from model.metrics import TaskMetrics
    from model.network import MTCGCNN

_BATCH = 256


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = Parser(
        "model.evaluate",
        "Measure a model on a store: errors of each property over one split of its crystals.",
        examples=[
            "my_model my.lmdb",
            "mp-e4 my.lmdb --split all -o predictions.csv",
            "my_model my.lmdb --json | jq .metrics",
        ],
    )
    parser.add_argument("model", metavar="EXPORT", help="checkpoint folder, or a model that ships")
    parser.add_argument("store", metavar="STORE", help="store with the targets that the model predicts")
    parser.add_argument(
        "--split",
        choices=("train", "validation", "test", "all"),
        default="test",
        help="crystals to measure on, by the split that the model was trained with (default: test)",
    )
    parser.add_argument("-o", "--output", metavar="CSV", help="also write each crystal's targets and predictions")
    parser.add_argument("--json", action="store_true", help="metrics as JSON")
    parser.add_argument("--device", default="auto", help="auto (the default), cpu, cuda or mps")
    return run(parser, _evaluate, argv, interrupted="nothing was written")


def _evaluate(arguments: argparse.Namespace) -> int:
    from model.output import check_table, open_table

    weights = find_weights(arguments.model)
    check_table(arguments.output, [arguments.store, weights, weights.with_name(CONFIG)])
    load("torch")
    from graphdb.progress import Progress
    from model.allocator import keep_freed_memory
    from model.metrics import score
    from model.threads import compute_with

    keep_freed_memory()
    compute_with()
    with Progress("evaluating") as progress:
        found = evaluate_store(
            arguments.model, arguments.store, arguments.split, arguments.device, tell=progress.update
        )
    if arguments.output is not None:
        with open_table(arguments.output) as file:
            found.write_table(file)
    metrics, unseen = found.evaluation.metrics, found.num_with_unseen_elements
    if arguments.json:
        report = {
            "split": arguments.split,
            "score": score(metrics),
            "crystals_with_elements_not_in_training": unseen,
            "metrics": {name: found.as_dict() for name, found in metrics.items()},
        }
        print(json.dumps(finite_or_none(report), indent=1))
    else:
        print(metrics_table(metrics, found.tasks))
    sys.stdout.flush()
    if unseen:
        print(f"{count(unseen, 'crystal')} with elements that the model has not seen in training", file=sys.stderr)
    return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreEvaluation:
    """What `evaluate_store` found."""

    tasks: "tuple[Task, ...]"
    material_ids: list[str]
    """Of the rows of `evaluation`."""
    evaluation: "Evaluation"
    num_with_unseen_elements: int | None
    """Crystals with an element that was not in training; None if the model does not tell."""

    def write_table(self, file: TextIO) -> None:
        """Each crystal's targets and predictions as CSV."""
        from model.output import PredictionTable, known_values

        labels = [task.label for task in self.tasks]
        table = PredictionTable(file, [*labels, *(f"predicted {label}" for label in labels)])
        found = self.evaluation
        for material_id, target, prediction in zip(self.material_ids, found.target, found.prediction, strict=True):
            table.add(material_id, [*known_values(target), *prediction])


def evaluate_store(
    checkpoint: str,
    store: str,
    split: str = "test",
    device: str = "auto",
    *,
    tell: Callable[[float, str], None] = lambda share, note: None,
) -> StoreEvaluation:
    """Errors of a checkpoint on one split of a store.

    Args:
        checkpoint: folder or name.
        store: path of a store with the tasks of the checkpoint, built with its graph settings.
        split: "train", "validation", "test" or "all".
        device: see `choose_device`.
        tell: told the share that is done, and a note.

    Raises:
        CheckpointError, GraphDBError: if either cannot be read, or their graphs, tasks or units differ, or the split
            has no crystal with a known target.
    """
    from graphdb.loader import Loader
    from model.checkpoint import load_checkpoint
    from model.inference import choose_device, evaluate
    from model.seen import SeenElements

    on = choose_device(device)
    model, info = load_checkpoint(checkpoint, on)
    graphs = _fitting_graphs(checkpoint, model, info, store)
    rows = _rows_of(graphs, info, split, store)
    seen = SeenElements.from_info(info, [task.name for task in model.tasks])
    num_unseen = 0

    def batches() -> "Iterator[GraphBatch]":
        nonlocal num_unseen
        done = 0
        for batch in Loader(graphs, rows, batch_size=_BATCH):
            if seen is not None:
                num_unseen += len(seen.warnings(batch.atomic_numbers.numpy(), batch.atom_ptr.numpy()))
            yield batch
            done += batch.num_crystals
            tell(done / len(rows), f"{done:,} of {count(len(rows), 'crystal')}")

    found = evaluate(model, batches(), on)
    return StoreEvaluation(
        tasks=model.tasks,
        material_ids=[graphs.material_ids[i] for i in found.index],
        evaluation=found,
        num_with_unseen_elements=None if seen is None else num_unseen,
    )


def _fitting_graphs(checkpoint: str, model: "MTCGCNN", info: Mapping[str, Any], store: str) -> "InMemoryGraphs":
    """The graphs of a store, if they are those that the model needs.

    Raises:
        CheckpointError, GraphDBError: as `evaluate_store`.
    """
    from graphdb.errors import TaskError
    from graphdb.loader import InMemoryGraphs
    from model.predict import check_graphs, graph_settings

    needed = graph_settings(info, checkpoint)
    try:
        graphs = InMemoryGraphs.from_store(store, [task.name for task in model.tasks])
    except TaskError as error:
        raise TaskError(
            f"{store} must have targets for what {checkpoint} predicts ({', '.join(t.name for t in model.tasks)}): "
            f"{error}; build a store with these columns in --targets"
        ) from error
    check_graphs(store, graphs.settings, checkpoint, needed)
    for mine, theirs in zip(model.tasks, graphs.tasks, strict=True):
        if mine.unit and theirs.unit and mine.unit != theirs.unit:
            raise TaskError(
                f"{mine.name} must be in {mine.unit} as {checkpoint} predicts it, but {store} has it in {theirs.unit}; "
                "build a store with targets in that unit"
            )
    return graphs


def _rows_of(graphs: "InMemoryGraphs", info: Mapping[str, Any], split: str, store: str) -> "NDArray[Any]":
    """Positions of the crystals of a split.

    Raises:
        TargetsError: if there is none with a known target.
    """
    import numpy as np

    from graphdb.check import TargetsError
    from graphdb.split import DEFAULT_FRACTIONS, split_by_id

    rows: NDArray[Any] = np.arange(len(graphs))
    if split != "all":
        rule = info.get("split") or {}
        fractions = tuple(rule.get("fractions", DEFAULT_FRACTIONS))
        try:
            rows = getattr(split_by_id(graphs.material_ids, fractions, rule.get("seed", 0)), split)
        except ValueError as error:
            raise TargetsError(
                f"{str(error).partition(';')[0]} ({store}); --split all measures on all of them"
            ) from error
    if len(rows) == 0 or np.isnan(graphs.targets[rows]).all():
        raise TargetsError(
            f"the crystals that a model is measured on must have known values, but the {split} split of {store} has "
            f"none in {count(len(rows), 'crystal')}; choose another --split"
        )
    return rows


def metrics_table(metrics: "Mapping[str, TaskMetrics]", tasks: "Sequence[Task]") -> str:
    """The metrics as text, a row per task; MAE and RMSE are in its unit."""
    labels = {task.name: task.label for task in tasks}
    width = max(len("task"), *map(len, labels.values()))
    lines = [f"{'task':{width}}  {'MAE':>9}  {'RMSE':>9}  {'R2':>7}  {'MAE/MAD':>7}  {'crystals':>8}"]
    for name, m in metrics.items():
        figures = "  ".join(
            (_cell(m.mae, 9), _cell(m.rmse, 9), _cell(m.r2, 7), _cell(m.mae_over_mad, 7), f"{m.count:8d}")
        )
        lines.append(f"{labels[name]:{width}}  {figures}")
    return "\n".join(lines)


def _cell(value: float, width: int) -> str:
    return f"{'-':>{width}}" if math.isnan(value) else f"{value:{width}.4f}"


if __name__ == "__main__":
    raise SystemExit(main())
