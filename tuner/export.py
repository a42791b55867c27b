"""`python -m tuner.export RUN -o DIR`: the best model of a search as a folder to keep, ship and predict with."""

import argparse
import contextlib
import os
import shlex
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphdb.command import Parser, invocation, load, run
from graphdb.files import UNFINISHED
from graphdb.records import finite_or_none
from model.flags import folder, whole_number
from model.output import check_folder, written_with
from tuner.errors import SearchError
from tuner.report.summary import RunSummary, summarize_run
from tuner.report.text_tables import errors_text
from tuner.run import jsonlines
from tuner.run.run_folder import RunFolder
from tuner.run.runs import run_to_read
from tuner.run.trial_folder import TrialFolder

if TYPE_CHECKING:
    from model.inference import Evaluation
    from model.network import MTCGCNN

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
    found = run_to_read(arguments.run, checkpoints=True)
    print(export(found, arguments.output, trial=arguments.trial, device=arguments.device))
    return 0


def _check_output(output: Path) -> None:
    check_folder(output, lambda folder: written_with(folder, _SEARCH), "an earlier export")


def export(run: RunFolder, output: Path, *, trial: int | None = None, device: str = "auto") -> str:
    """Write a model into a folder, where it replaces an earlier export, and tell what was done.

    Args:
        run: of the search.
        output: the folder.
        trial: number of the trial; the winner of the finalists, or else the best trial, when None.
        device: what predicts the test split.

    Raises:
        CrystuneError: if there is no model, the store is gone, or the folder holds something else.
    """
    _check_output(output)
    summary = summarize_run(run)
    source, origin = choose(summary, trial)
    from model.checkpoint import load_checkpoint, save_checkpoint
    from model.hyperparameter_file import from_checkpoint
    from model.output import PredictionTable, known_values
    from tuner.report.model_card import model_card
    from tuner.report.plots import plot_parity

    model, info = load_checkpoint(source)
    found, ids = _evaluate_on_test(summary, model, device)
    test = {task: finite_or_none(metrics.as_dict()) for task, metrics in found.metrics.items()}
    measured = {"validation": info["metrics"]["validation"], "test": test}
    entry = _finalist_entry(summary, origin["trial"])
    if entry is not None:
        measured["finalists"] = {key: entry[key] for key in ("validation_score", "validation", "test")}
    kept = {key: value for key, value in info.items() if key not in _WRITTEN_BY_CHECKPOINT}
    kept |= {"metrics": measured, "trained_with": info["versions"], _SEARCH: {"run": run.path.name, **origin}}
    kept |= {"loader": {"max_atoms": _max_atoms(summary, info)}}
    labels = [task.label for task in model.tasks]
    about = [
        f"Hyperparameters of trial {origin['trial']:04d} of search {run.path.name}, for any store:",
        f"python -m model.train STORE -o DIR --config {HYPERPARAMETERS}",
    ]
    with _new_files(output) as new:
        jsonlines.write_json(new / "metrics.json", {"score": info.get("score"), "units": summary.units, **measured})
        with open(new / "predictions.csv", "w", encoding="utf-8", newline="") as file:
            table = PredictionTable(file, [f"{kind} {label}" for label in labels for kind in ("true", "predicted")])
            for material_id, target, prediction in zip(ids, found.target, found.prediction, strict=True):
                pairs = zip(known_values(target), prediction, strict=True)
                table.add(material_id, [cell for pair in pairs for cell in pair])
        maes = [metrics.mae for metrics in found.metrics.values()]
        plot_parity(found.target, found.prediction, labels, maes, new / "parity.png")
        card = model_card(summary, {**kept, "num_parameters": model.num_parameters}, output)
        (new / "README.md").write_text(card, encoding="utf-8")
        text = from_checkpoint({**info, **kept}).as_toml(about)
        (new / HYPERPARAMETERS).write_text(text, encoding="utf-8")
        save_checkpoint(output, model, kept)
    return (
        f"Exported trial {origin['trial']:04d} ({origin['kind']}) to {output}: {model.num_parameters:,} parameters\n"
        f"Test MAE: {errors_text(test, summary.units, digits=4)}\n"
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


def _max_atoms(summary: RunSummary, info: Mapping[str, Any]) -> int | None:
    """The bound of the loader that the trial was trained with."""
    from tuner.trainer_factory import LoaderSettings, pick, read_space

    settings = summary.settings
    space = read_space(settings.space_text, settings.space_name, settings.tasks)
    found = pick(LoaderSettings, {**space.fixed, **(info.get("trial") or {}).get("params", {})}).max_atoms
    return None if found is None else int(found)


def choose(summary: RunSummary, trial: int | None) -> tuple[Path, dict[str, Any]]:
    """The checkpoint to export and where it comes from.

    Raises:
        SearchError: if there is none.
    """
    run = summary.run
    if trial is None and summary.finalists is not None:
        trial = summary.finalists["selected"]["trial"]
    entry = None if trial is None else _finalist_entry(summary, trial)
    if entry is not None:
        best = min(entry["runs"], key=lambda training: float(training["validation_score"]))
        origin = {"trial": trial, "key": best["key"], "folder": best["folder"], "kind": "finalist"}
        return run.path / best["folder"], origin
    if trial is None:
        training = summary.board.best()
        if training is None:
            reasons = [other.reason for other in summary.board.trainings.values() if other.reason]
            raise SearchError(
                f"{run.path} has no trial with a usable score"
                + (f"; the first failure: {reasons[0]}" if reasons else "; let the search run on")
            )
        trial = int(training.key)
    folder = run.trial(trial)
    found = TrialFolder(folder).best_checkpoint()
    if found is None:
        raise SearchError(f"trial {trial} must have a checkpoint, but {folder} has none; tuner.report lists the trials")
    relative = str(found.relative_to(run.path))
    return found, {"trial": trial, "key": f"{trial:04d}", "folder": relative, "kind": "trial of the search"}


def _finalist_entry(summary: RunSummary, trial: int) -> Mapping[str, Any] | None:
    entries = summary.finalists["finalists"] if summary.finalists is not None else []
    return next((entry for entry in entries if entry["trial"] == trial), None)


def _evaluate_on_test(summary: RunSummary, model: "MTCGCNN", device: str) -> "tuple[Evaluation, list[str]]":
    """What the model does on the test split, and the ids of its crystals; the model ends on the CPU."""
    from model.inference import choose_device, evaluate
    from tuner.data import load_crystals

    settings = summary.settings
    crystals = load_crystals(
        settings.store, list(settings.tasks), fractions=settings.fractions, fingerprint=settings.fingerprint
    )
    chosen = choose_device(device)
    found = evaluate(model.to(chosen), crystals.test_batches(), chosen)
    model.to("cpu")
    return found, [crystals.graphs.material_ids[i] for i in found.index]


if __name__ == "__main__":
    sys.exit(main())
