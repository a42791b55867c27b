"""`python -m tuner.export RUN -o DIR`: the best model of a search as a folder to keep, ship and predict with."""

import argparse
import contextlib
import csv
import math
import os
import shlex
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphdb.command import Parser, invocation, load, run
from graphdb.files import UNFINISHED
from model.flags import folder, whole_number
from model.output import check_folder, written_with
from tuner.errors import SearchError

if TYPE_CHECKING:
    from tuner.report.findings import RunSummary
    from tuner.run.layout import RunFolder

_WRITTEN_BY_CHECKPOINT = ("format", "format_version", "architecture", "tasks", "num_parameters", "versions")
_SEARCH = "search"
"""Key of ``config.json`` that tells an export."""
HYPERPARAMETERS = "hyperparameters.toml"


def main(argv: list[str] | None = None) -> int:
    """Run the command; 2 for what the user has to fix."""
    parser = Parser(
        "tuner.export",
        "Write the best model of a search into a folder to keep, ship and predict with: checkpoint, errors, model "
        "card, and its hyperparameters for model.train on other data.",
        examples=[
            "runs/first -o my_model",
            "runs/first -o trial_7 --trial 7",
            "s3://bucket/runs/first -o my_model --device cpu",
        ],
    )
    parser.add_argument("run", metavar="RUN", help="folder or URI of a search")
    parser.add_argument("-o", "--output", metavar="DIR", type=folder, required=True, help="folder to write")
    parser.add_argument("--trial", type=whole_number(0), metavar="N", help="this trial instead of the best")
    parser.add_argument("--device", default="auto", help="what predicts: auto (the default), cpu, cuda or mps")
    return run(parser, _export, argv, interrupted="the same command begins anew")


def _export(arguments: argparse.Namespace) -> int:
    _check_output(arguments.output)
    load("torch")
    from tuner.run.runs import run_to_read

    found = run_to_read(arguments.run, checkpoints=True)
    print(export(found, arguments.output, trial=arguments.trial, device=arguments.device))
    return 0


def _check_output(output: Path) -> None:
    check_folder(output, lambda folder: written_with(folder, _SEARCH), "an earlier export")


def export(run: "RunFolder", output: Path, *, trial: int | None = None, device: str = "auto") -> str:
    """Write the folder.

    Args:
        run: of the search.
        output: folder to write; an earlier export there is replaced.
        trial: number of the trial; the winner of the finalists, or else the best trial, when None.
        device: what predicts the test split.

    Returns:
        What was done and what to type next.

    Raises:
        CrystuneError: if there is no model, the store is gone, or the folder holds something else.
    """
    from tuner.report.findings import gather

    _check_output(output)
    findings = gather(run)
    source, origin = choose(findings, trial)
    from model.checkpoint import load_checkpoint, save_checkpoint
    from model.hyperparameters import from_checkpoint
    from tuner.report.model_card import model_card
    from tuner.run import jsonlines

    model, info = load_checkpoint(source)
    true, predicted, ids, test = _test_predictions(findings, model, device)
    metrics = {"validation": info["metrics"]["validation"], "test": test}
    entry = _finalist_entry(findings, origin["trial"])
    if entry is not None:
        metrics["finalists"] = {key: entry[key] for key in ("validation_score", "validation", "test")}
    kept = {key: value for key, value in info.items() if key not in _WRITTEN_BY_CHECKPOINT}
    kept |= {"metrics": metrics, "trained_with": info["versions"], _SEARCH: {"run": run.path.name, **origin}}
    kept |= {"loader": {"max_atoms": _max_atoms(findings, info)}}
    labels = [f"{task} [{unit}]" if unit else task for task, unit in findings.units.items()]
    maes = [test[task]["mae"] for task in findings.units]
    about = [
        f"Hyperparameters of trial {origin['trial']:04d} of search {run.path.name}, for any store:",
        f"python -m model.train STORE -o DIR --config {HYPERPARAMETERS}",
    ]
    with _new_files(output) as new:
        jsonlines.write_json(new / "metrics.json", {"score": info.get("score"), "units": findings.units, **metrics})
        _write_predictions(new / "predictions.csv", ids, labels, true, predicted)
        from tuner.report.plots import plot_parity

        plot_parity(true, predicted, labels, [math.nan if mae is None else mae for mae in maes], new / "parity.png")
        card = model_card(findings, {**kept, "num_parameters": model.num_parameters}, output)
        (new / "README.md").write_text(card, encoding="utf-8")
        text = from_checkpoint({**info, **kept}).as_toml(about)
        (new / HYPERPARAMETERS).write_text(text, encoding="utf-8")
        save_checkpoint(output, model, jsonlines.finite_or_none(kept))
    errors = ", ".join(
        f"{task} {'-' if mae is None else f'{mae:.4g}'}{f' {unit}' if unit else ''}"
        for (task, unit), mae in zip(findings.units.items(), maes, strict=True)
    )
    return (
        f"Exported trial {origin['trial']:04d} ({origin['kind']}) to {output}: {model.num_parameters:,} parameters\n"
        f"Test MAE: {errors}\n"
        f"Next: {invocation('model.predict')} {shlex.quote(str(output))} my.cif"
    )


@contextlib.contextmanager
def _new_files(output: Path) -> Iterator[Path]:
    """A folder for files that go to `output` together, once all are written; else nothing of them stays there."""
    made = not output.exists()
    output.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix=f"{UNFINISHED}export-", dir=output) as folder:
            yield Path(folder)
            for path in sorted(Path(folder).iterdir()):
                os.replace(path, output / path.name)
    finally:
        if made and not any(output.iterdir()):
            output.rmdir()


def _max_atoms(findings: "RunSummary", info: Mapping[str, Any]) -> int | None:
    """The bound of the loader that the trial was trained with."""
    from tuner.space.toml import parse_space
    from tuner.training import check_setting, known_settings

    settings = findings.settings
    space = parse_space(settings.space_text, settings.space_name, settings.tasks, known_settings(), check_setting)
    found = {**space.fixed, **(info.get("trial") or {}).get("params", {})}.get("max_atoms")
    return None if found is None else int(found)


def choose(findings: "RunSummary", trial: int | None) -> tuple[Path, dict[str, Any]]:
    """The checkpoint to export and where it comes from.

    Raises:
        SearchError: if there is none.
    """
    from tuner.run.trial_folder import TrialFolder

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
    found = TrialFolder(folder).best_checkpoint()
    if found is not None:
        relative = str(found.relative_to(run.path))
        return found, {"trial": trial, "key": f"{trial:04d}", "folder": relative, "kind": "trial of the search"}
    raise SearchError(f"trial {trial} must have a checkpoint, but {folder} has none; tuner.report lists the trials")


def _finalist_entry(findings: "RunSummary", trial: int) -> Mapping[str, Any] | None:
    entries = findings.finalists["finalists"] if findings.finalists is not None else []
    return next((entry for entry in entries if entry["trial"] == trial), None)


def _test_predictions(findings: "RunSummary", model: Any, device: str) -> tuple[Any, Any, list[str], dict[str, Any]]:
    import numpy as np

    from graphdb.loader import Loader
    from model.inference import choose_device, predict
    from model.metrics import task_metrics
    from tuner.run import jsonlines
    from tuner.training import load_crystals

    settings = findings.settings
    crystals = load_crystals(
        settings.store, list(settings.tasks), fractions=settings.fractions, fingerprint=settings.fingerprint
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
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["material_id", *(f"{kind} {label}" for label in labels for kind in ("true", "predicted"))])
        for row, material_id in enumerate(ids):
            cells = []
            for task in range(len(labels)):
                target = float(true[row, task])
                cells += ["" if math.isnan(target) else f"{target:.6g}", f"{float(predicted[row, task]):.6g}"]
            writer.writerow([material_id, *cells])


if __name__ == "__main__":
    sys.exit(main())
