"""`python -m tuner.export RUN -o DIR`: the best model of a search as a folder to keep, ship and predict with."""

import argparse
import csv
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tuner import jsonlines
from tuner.errors import SearchError
from tuner.jobfolder import JobFolder
from tuner.modelcard import model_card
from tuner.report import Findings, gather
from tuner.runfolder import RunFolder, run_to_read

_WRITTEN_BY_CHECKPOINT = ("format", "format_version", "architecture", "tasks", "num_parameters", "versions")


def main(argv: list[str] | None = None) -> int:
    """Run the command; 2 for what the user has to mend."""
    parser = argparse.ArgumentParser(prog="python -m tuner.export", description=__doc__)
    parser.add_argument("run", metavar="RUN", help="folder or URI of a search")
    parser.add_argument("-o", "--output", metavar="DIR", type=Path, required=True, help="folder to write")
    parser.add_argument("--trial", type=int, metavar="N", help="this trial instead of the best")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda", "mps"), default="auto", help="what predicts (auto)")
    arguments = parser.parse_args(argv)
    try:
        run = run_to_read(arguments.run, checkpoints=True)
        text = export(run, arguments.output, trial=arguments.trial, device=arguments.device)
    except (SearchError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(text)
    return 0


def export(run: RunFolder, output: Path, *, trial: int | None = None, device: str = "auto") -> str:
    """Write the folder.

    Args:
        run: of the search.
        output: folder to write; an earlier export there is replaced.
        trial: number of the trial; the winner of the finalists, or else the best trial, when None.
        device: what predicts the test split.

    Returns:
        What was done and what to type next.

    Raises:
        SearchError: if there is no model, the store is gone, or the folder holds something else.
    """
    findings = gather(run)
    source, origin = choose(findings, trial)
    if output.exists() and not output.is_dir():
        raise SearchError(f"-o must be a folder, but {output} is a file; choose another")
    if output.exists() and any(output.iterdir()) and not (output / "model.safetensors").exists():
        raise SearchError(f"-o must be a new folder or one that tuner.export wrote, but {output} holds other files")
    from model.checkpoint import CheckpointError, load_checkpoint, save_checkpoint

    try:
        model, info = load_checkpoint(source)
    except CheckpointError as error:
        raise SearchError(str(error)) from error
    true, predicted, ids, test = _test_predictions(findings, model, device)
    metrics = {"validation": info["metrics"]["validation"], "test": test}
    entry = _finalist_entry(findings, origin["trial"])
    if entry is not None:
        metrics["finalists"] = {key: entry[key] for key in ("validation_score", "validation", "test")}
    kept = {key: value for key, value in info.items() if key not in _WRITTEN_BY_CHECKPOINT}
    kept |= {"metrics": metrics, "trained_with": info["versions"], "search": {"run": run.path.name, **origin}}
    save_checkpoint(output, model, jsonlines.finite_or_none(kept))
    labels = [f"{task} [{unit}]" if unit else task for task, unit in findings.units.items()]
    jsonlines.write_json(output / "metrics.json", {"score": info.get("score"), "units": findings.units, **metrics})
    _write_predictions(output / "predictions.csv", ids, labels, true, predicted)
    from tuner.plots import plot_parity

    maes = [test[task]["mae"] for task in findings.units]
    plot_parity(true, predicted, labels, [math.nan if mae is None else mae for mae in maes], output / "parity.png")
    (output / "README.md").write_text(model_card(findings, {**kept, "num_parameters": model.num_parameters}, output))
    errors = ", ".join(
        f"{task} {'-' if mae is None else f'{mae:.4g}'}{f' {unit}' if unit else ''}"
        for (task, unit), mae in zip(findings.units.items(), maes, strict=True)
    )
    return (
        f"Exported trial {origin['trial']:04d} ({origin['kind']}) to {output}: {model.num_parameters:,} parameters\n"
        f"Test MAE: {errors}\nNext: python -m model.predict {output} my.cif"
    )


def choose(findings: Findings, trial: int | None) -> tuple[Path, dict[str, Any]]:
    """The checkpoint to export and where it comes from.

    Raises:
        SearchError: if there is none.
    """
    run = findings.run
    if findings.finalists is not None:
        selected = findings.finalists["selected"]
        if trial is None or trial == selected["trial"]:
            return run.path / selected["folder"], {**selected, "kind": "finalist"}
        entry = _finalist_entry(findings, trial)
        if entry is not None:
            best = min(entry["runs"], key=lambda run_entry: float(run_entry["validation_score"]))
            return run.path / best["folder"], {
                "trial": trial,
                "key": best["key"],
                "folder": best["folder"],
                "kind": "finalist",
            }
    if trial is None:
        training = findings.board.best()
        if training is None:
            reasons = [other.reason for other in findings.board.trainings.values() if other.reason]
            raise SearchError(
                f"{run.path} has no trial with a usable score"
                + (f"; the first failure: {reasons[0]}" if reasons else "; let the search run on")
            )
        trial = int(training.key)
    folder = run.trial(trial)
    found = JobFolder(folder).best_checkpoint()
    if found is not None:
        relative = str(found.relative_to(run.path))
        return found, {"trial": trial, "key": f"{trial:04d}", "folder": relative, "kind": "trial of the search"}
    raise SearchError(f"trial {trial} must have a checkpoint, but {folder} has none; tuner.report lists the trials")


def _finalist_entry(findings: Findings, trial: int) -> Mapping[str, Any] | None:
    entries = findings.finalists["finalists"] if findings.finalists is not None else []
    return next((entry for entry in entries if entry["trial"] == trial), None)


def _test_predictions(findings: Findings, model: Any, device: str) -> tuple[Any, Any, list[str], dict[str, Any]]:
    from graphdb.loader import Loader
    from model.inference import choose_device, predict
    from model.metrics import task_metrics
    from tuner.objective import load_crystals

    settings = findings.settings
    crystals = load_crystals(settings.store, list(settings.tasks), fractions=settings.fractions)
    if crystals.graphs.fingerprint != settings.fingerprint:
        raise SearchError(
            f"the store must be the one that was searched over (fingerprint {settings.fingerprint[:12]}), "
            f"but {crystals.store} has {crystals.graphs.fingerprint[:12]}; its crystals or targets have changed since"
        )
    chosen = choose_device(device)
    loader = Loader(crystals.graphs, crystals.known(crystals.split.test), batch_size=256)
    predicted, index = predict(model.to(chosen), loader, chosen)
    model.to("cpu")
    true = np.asarray(crystals.graphs.targets[index])
    found = task_metrics(predicted, true, model.scaler.mad.numpy(), list(settings.tasks))
    test = {task: jsonlines.finite_or_none(metrics.as_dict()) for task, metrics in found.items()}
    return true, predicted, [crystals.graphs.material_ids[i] for i in index], test


def _write_predictions(path: Path, ids: list[str], labels: list[str], true: Any, predicted: Any) -> None:
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["material_id", *(f"{kind} {label}" for label in labels for kind in ("true", "predicted"))])
        for row, material_id in enumerate(ids):
            cells = []
            for task in range(len(labels)):
                target = float(true[row, task])
                cells += ["" if math.isnan(target) else f"{target:.6g}", f"{float(predicted[row, task]):.6g}"]
            writer.writerow([material_id, *cells])


if __name__ == "__main__":
    sys.exit(main())
