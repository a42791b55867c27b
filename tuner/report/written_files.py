"""What `tuner.report` writes: tables for programs, pictures, and a page for people."""

import csv
from typing import Any

from graphdb.command import count
from tuner.report import text_tables
from tuner.report.plots import plot_curves, plot_importances
from tuner.report.summary import RunSummary
from tuner.run import jsonlines
from tuner.run.log import Training
from tuner.run.settings import with_unit

_PICTURES = {"curves.png": "Learning curves", "importances.png": "Importance of each parameter"}


def write_report(summary: RunSummary) -> list[str]:
    """Write trials.csv, trials.json, importances.json, plots and a page; return their names."""
    folder = summary.run.report
    folder.mkdir(parents=True, exist_ok=True)
    trainings = summary.board.trainings.values()
    names = list(dict.fromkeys(name for training in trainings for name in training.params))
    rows = [_row(summary, training, names) for training in trainings]
    with open(folder / "trials.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]) if rows else ["trial"])
        writer.writeheader()
        writer.writerows(rows)
    trials = [
        {**row, "params": dict(training.params), "curve": dict(summary.curves.get(training.key, {}))}
        for row, training in zip(rows, trainings, strict=True)
    ]
    content = {"status": summary.status, "settings": summary.settings.as_dict(), "trials": trials}
    jsonlines.write_json(folder / "trials.json", content)
    jsonlines.write_json(folder / "importances.json", dict(summary.importances))
    files = ["trials.csv", "trials.json", "importances.json"]
    if summary.curves:
        plot_curves(summary.curves, summary.board, folder / "curves.png")
        files.append("curves.png")
    if summary.importances:
        plot_importances(summary.importances, folder / "importances.png")
        files.append("importances.png")
    (folder / "report.md").write_text(_page(summary, files), encoding="utf-8")
    return [*files, "report.md"]


def _row(summary: RunSummary, training: Training, names: list[str]) -> dict[str, Any]:
    return {
        "trial": int(training.key),
        "state": training.state,
        "score": training.best_score,
        "best_epoch": training.best_epoch or None,
        "epochs": training.epoch,
        "seconds": round(training.seconds, 3),
        **dict(zip(_mae_columns(summary.units), _maes(summary, training), strict=True)),
        **{name: training.params.get(name) for name in names},
        "reason": training.reason,
    }


def _mae_columns(units: dict[str, str]) -> list[str]:
    return [with_unit(f"{task} MAE", unit) for task, unit in units.items()]


def _maes(summary: RunSummary, training: Training) -> list[float | None]:
    return [text_tables.mae_of(training.best_metrics, task) for task in summary.units]


def _page(summary: RunSummary, files: list[str]) -> str:
    board, settings = summary.board, summary.settings
    rows = []
    for training in board.ranked()[:10]:
        maes = map(text_tables.number_text, _maes(summary, training))
        rows.append([*text_tables.ranking_cells(training), *maes, text_tables.params_text(training.params)])
    lines = [
        f"# Search {summary.run.path.name}",
        "",
        f"Status: {summary.status}. {len(board.trainings)} of {count(board.planned, 'trial')} "
        f"({text_tables.counts_text(board)}), up to {count(settings.max_epochs, 'epoch')} each; "
        f"space {settings.space_name}, sampler {settings.sampler}, seed {settings.seed}.",
        "",
        "The score is the mean over tasks of validation MAE over the mean absolute deviation on the training split, at "
        "the best epoch; lower is better, 1 is as good as predicting the mean.",
        "",
        *text_tables.markdown_table([*text_tables.RANKING, *_mae_columns(summary.units), "parameters"], rows),
    ]
    if summary.finalists is not None:
        columns = ["trial", "validation score", *_mae_columns(summary.finalists["units"])]
        lines += ["", "## Finalists on the test split, mean (standard deviation over seeds)", ""]
        lines += text_tables.markdown_table(columns, text_tables.finalist_rows(summary.finalists))
    if summary.failed:
        lines += ["", "## Failed trials", ""]
        lines += [f"- {trial.key}: {trial.reason} (`failures/{trial.key}.txt`)" for trial in summary.failed]
    for name, title in _PICTURES.items():
        if name in files:
            lines += ["", f"## {title}", "", f"![{title}]({name})"]
    return "\n".join(lines) + "\n"
