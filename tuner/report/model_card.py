"""The README.md of an exported model."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tuner.report.summary import RunSummary
from tuner.report.text_tables import mae_of, markdown_table, number_text, params_text, with_spread
from tuner.run.settings import with_unit


def model_card(summary: RunSummary, info: Mapping[str, Any], folder: Path) -> str:
    """What the model is, how good it is, what it was trained on, how to use it.

    Args:
        summary: of the search it comes from.
        info: what config.json says of the model.
        folder: that it is exported to.
    """
    settings, split, trial = summary.settings, summary.settings.split, info["trial"]
    finalists = info["metrics"].get("finalists")
    columns = ["task", "test MAE", "test RMSE", "test R2", "validation MAE"]
    rows = []
    for task, unit in summary.units.items():
        test = info["metrics"]["test"][task]
        validation = mae_of(info["metrics"]["validation"], task)
        numbers = [test["mae"], test["rmse"], test["r2"], validation]
        rows.append([with_unit(task, unit), *map(number_text, numbers)])
        if finalists:
            rows[-1].append(with_spread(finalists["test"].get(task, {}).get("mae")))
    seeds = ""
    if finalists:
        columns.append("test MAE over seeds")
        seeds = "The last column is mean (standard deviation) over trainings that differ in their seed alone."
    lines = [
        f"# {folder.name}",
        "",
        f"A multi-task crystal graph convolutional network (MT-CGCNN) with {info['num_parameters']:,} parameters that "
        f"predicts: {', '.join(row[0] for row in rows)}.",
        "",
        "## Use",
        "",
        "```",
        f"python -m model.predict {shlex.quote(str(folder))} my.cif",
        "```",
        "",
        "Predictions are in the units above. They mean something for crystals like those it was trained on, at the "
        "level of theory of its training data; there is no estimate of uncertainty. For elements that were not in "
        "training they are guesses, and model.predict says so.",
        "",
        "Its hyperparameters on other data:",
        "",
        "```",
        f"python -m model.train STORE -o DIR --config {shlex.quote(str(folder / 'hyperparameters.toml'))}",
        "```",
        "",
        "## Errors",
        "",
        *markdown_table(columns, rows),
        "",
        "The test crystals took no part in training or selection; predictions.csv lists them, parity.png shows them. "
        + seeds,
        "",
        "## Training",
        "",
        f"- Crystals: {info['store']['source']}, fingerprint `{info['store']['fingerprint'][:16]}`; "
        f"{split['train']:,} to train, {split['validation']:,} to validate, {split['test']:,} to test, chosen by "
        f"{split['rule']} with seed {split['seed']}.",
        f"- Elements: {_elements(info)}.",
        f"- Graphs: `{info['graph']}`",
        f"- Trial {trial['key']} of search {info['search']['run']} (space {settings.space_name}, {settings.trials} "
        f"trials, sampler {settings.sampler}, seed {settings.seed}): `{params_text(trial['params'])}`, training seed "
        f"{trial['seed']}.",
        f"- Weights of epoch {info['best_epoch']} of {info['train']['epochs']}, the best by validation score "
        f"({info['score']:.4f}).",
        f"- Versions: {', '.join(f'{package} {version}' for package, version in info['trained_with'].items())}.",
        "",
        "config.json says all this for programs.",
    ]
    return "\n".join(lines) + "\n"


def _elements(info: Mapping[str, Any]) -> str:
    """How many elements were in training, by task where they differ."""
    found = {task: set(symbols) for task, symbols in (info.get("training_elements") or {}).items()}
    if not found:
        return "not known"
    if len({frozenset(symbols) for symbols in found.values()}) == 1:
        return f"{len(next(iter(found.values())))} (config.json lists them)"
    return ", ".join(f"{len(symbols)} for {task}" for task, symbols in found.items()) + " (config.json lists them)"
