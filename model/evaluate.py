"""Measure a model on a store: ``python -m model.evaluate EXPORT STORE [--split test] [-o predictions.csv]``."""

import argparse
import csv
import json
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphdb.batch import Task
from model.allocator import keep_freed_memory
from model.checkpoint import CheckpointError, load_checkpoint
from model.inference import choose_device, predict
from model.metrics import TaskMetrics, score, task_metrics


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m model.evaluate", description=__doc__.splitlines()[0])
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
    args = parser.parse_args(argv)
    keep_freed_memory()
    from graphdb.errors import GraphDBError

    try:
        metrics, tasks = evaluate_store(args.model, args.store, args.split, args.output, args.device)
    except (CheckpointError, GraphDBError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if args.json:
        values = {name: {k: _none(v) for k, v in m.as_dict().items()} for name, m in metrics.items()}
        print(json.dumps({"split": args.split, "score": _none(score(metrics)), "metrics": values}, indent=1))
    else:
        print(metrics_table(metrics, tasks))
    return 0


def evaluate_store(
    checkpoint: str, store: str, split: str = "test", output: str | None = None, device: str = "auto"
) -> tuple[dict[str, TaskMetrics], tuple[Task, ...]]:
    """Metrics of a checkpoint on one split of a store, and its tasks.

    Args:
        checkpoint: folder or name.
        store: path of a store with the tasks of the checkpoint, built with its graph settings.
        split: "train", "validation", "test" or "all".
        output: CSV of targets and predictions, or None.
        device: see `choose_device`.

    Raises:
        CheckpointError, GraphDBError: if either cannot be read, or their graphs or units differ.
        ValueError: for a property that the store does not have.
    """
    from graphdb.errors import SettingsMismatch
    from graphdb.graph import GraphSettings
    from graphdb.loader import InMemoryGraphs, Loader
    from graphdb.split import DEFAULT_FRACTIONS, split_by_id

    on = choose_device(device)
    model, info = load_checkpoint(checkpoint, on)
    graphs = InMemoryGraphs.from_store(store, [task.name for task in model.tasks])
    try:
        needed = GraphSettings.from_dict(info["graph"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{checkpoint} must say how its graphs are made: {error}; export it again") from error
    if graphs.settings != needed:
        raise SettingsMismatch(
            f"{store} must have the graphs that {checkpoint} was trained on; it has "
            f"{'; '.join(graphs.settings.differences(needed))}; build a store with these settings"
        )
    for mine, theirs in zip(model.tasks, graphs.tasks, strict=True):
        if mine.unit and theirs.unit and mine.unit != theirs.unit:
            raise ValueError(f"{mine.name} must be in {mine.unit} as the model predicts it, {store} has {theirs.unit}")
    rows: NDArray[np.int64] = np.arange(len(graphs))
    if split != "all":
        rule = info.get("split") or {}
        fractions = tuple(rule.get("fractions", DEFAULT_FRACTIONS))
        rows = getattr(split_by_id(graphs.material_ids, fractions, rule.get("seed", 0)), split)
    loader = Loader(graphs, rows, batch_size=256)
    prediction, _ = predict(model, loader, on)
    if output is not None:
        _write(
            output,
            [graphs.material_ids[i] for i in rows.tolist()],
            [t.label for t in model.tasks],
            loader.targets,
            prediction,
        )
    mad = model.scaler.mad.cpu().numpy()
    return task_metrics(prediction, loader.targets, mad, [task.name for task in model.tasks]), model.tasks


def metrics_table(metrics: Mapping[str, TaskMetrics], tasks: Sequence[Task]) -> str:
    """The metrics as text, a row per task; MAE and RMSE are in its unit."""
    labels = {task.name: task.label for task in tasks}
    width = max(len("task"), *map(len, labels.values()))
    lines = [f"{'task':{width}}  {'MAE':>9}  {'RMSE':>9}  {'R2':>7}  {'MAE/MAD':>7}  {'crystals':>8}"]
    for name, m in metrics.items():
        figures = f"{m.mae:9.4f}  {m.rmse:9.4f}  {m.r2:7.4f}  {m.mae_over_mad:7.4f}  {m.count:8d}"
        lines.append(f"{labels[name]:{width}}  {figures}")
    return "\n".join(lines)


def _write(path: str, ids: list[str], labels: list[str], target: NDArray[Any], prediction: NDArray[Any]) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["material_id", *labels, *(f"predicted {label}" for label in labels)])
        for material_id, truth, value in zip(ids, target, prediction, strict=True):
            known = ("" if math.isnan(x) else f"{x:.6g}" for x in truth)
            table.writerow([material_id, *known, *(f"{x:.6g}" for x in value)])


def _none(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


if __name__ == "__main__":
    raise SystemExit(main())
