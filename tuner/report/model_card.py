"""The README.md of an exported model."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tuner.report.summary import RunSummary
from tuner.report.live import params_text
from tuner.trials.finalists import with_spread


def model_card(findings: RunSummary, info: Mapping[str, Any], folder: Path) -> str:
    """What the model is, how good it is, what it was trained on, how to use it.

    Args:
        findings: of the search it comes from.
        info: what config.json says of the model.
        folder: that it is exported to.
    """
    settings = findings.settings
    split, trial = settings.split, info["trial"]
    tasks = ", ".join(f"{task} [{unit}]" if unit else task for task, unit in findings.units.items())
    several = info["metrics"].get("finalists")
    lines = [
        f"# {folder.name}",
        "",
        f"A multi-task crystal graph convolutional network (MT-CGCNN) with {info['num_parameters']:,} parameters that "
        f"predicts: {tasks}.",
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
        "| task | test MAE | test RMSE | test R2 | validation MAE |" + (" test MAE over seeds |" if several else ""),
        "|---|---|---|---|---|" + ("---|" if several else ""),
    ]
    for task, unit in findings.units.items():
        test, validation = info["metrics"]["test"][task], info["metrics"]["validation"][task]
        cells = [_number(test["mae"]), _number(test["rmse"]), _number(test["r2"]), _number(validation["mae"])]
        if several:
            cells.append(with_spread(several["test"].get(task, {}).get("mae")))
        lines.append(f"| {task}{f' [{unit}]' if unit else ''} | " + " | ".join(cells) + " |")
    lines += [
        "",
        "The test crystals took no part in training or selection; predictions.csv lists them, parity.png shows them. "
        + (
            "The last column is mean (standard deviation) over trainings that differ in their seed alone."
            if several
            else ""
        ),
        "",
        "## Training",
        "",
        f"- Crystals: {info['store']['source']}, fingerprint `{info['store']['fingerprint'][:16]}`; "
        f"{split['train']:,} to train, "
        f"{split['validation']:,} to validate, {split['test']:,} to test, chosen by {split['rule']} with seed "
        f"{split['seed']}.",
        f"- Elements: {_elements(info)}.",
        f"- Graphs: `{info['graph']}`",
        f"- Trial {trial['key']} of search {info['search']['run']} (space {settings.space_name}, "
        f"{settings.trials} trials, "
        f"sampler {settings.sampler}, seed {settings.seed}): `{params_text(trial['params'])}`, "
        f"training seed {trial['seed']}.",
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


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
