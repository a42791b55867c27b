"""What a search found, on screen and as files; also while it runs, or after a crash."""

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphdb.command import count
from tuner.run import jsonlines
from tuner.run.layout import RunFolder
from tuner.run.log import Training
from tuner.run.settings import SearchSettings, duration_text, with_unit
from tuner.trials.board import Board
from tuner.trials.restore import read_trials

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True, kw_only=True, slots=True)
class RunSummary:
    """All that the files of a run tell."""

    run: RunFolder
    settings: SearchSettings
    status: str
    board: Board
    curves: Mapping[str, Mapping[int, float]]
    """Validation score by epoch, by trial."""
    importances: Mapping[str, float]
    importance_by_chance: float
    """What a meaningless parameter may reach."""
    finalists: Mapping[str, Any] | None

    @property
    def units(self) -> dict[str, str]:
        """Unit by task."""
        return dict(zip(self.settings.tasks, self.settings.units, strict=True))

    @property
    def is_open(self) -> bool:
        """Whether --resume has something to do: trials or finalists."""
        return self.status != "done"


def gather(run: RunFolder) -> RunSummary:
    """Read a run.

    Raises:
        SearchError: if the folder is none.
    """
    from tuner.report.importance import importances

    content = run.read()
    settings = SearchSettings.from_dict(content["settings"])
    trainings = read_trials(run)
    board = Board(
        title="search",
        planned=max(settings.trials, len(trainings)),
        max_epochs=settings.max_epochs,
        trainings=trainings,
    )
    shares, by_chance = importances(trainings.values())
    writing = run.is_being_written()
    for training in board.trainings.values():
        if training.state == "running" and not writing:
            training.state = "waiting"
    status = str(content.get("status", "unknown"))
    if status in ("new", "searching", "finalists"):
        status = f"{status}, running" if writing else f"{status}, but no process is at it (use --resume)"
    return RunSummary(
        run=run,
        settings=settings,
        status=status,
        board=board,
        curves={key: training.curve for key, training in trainings.items() if training.curve},
        importances=shares,
        importance_by_chance=by_chance,
        finalists=run.read_finalists(),
    )


def show(findings: RunSummary, console: "Console") -> None:
    """The summary for the screen."""
    from rich.table import Table
    from rich.text import Text

    from tuner.report.live import counts_text, errors_text, params_text

    board, settings = findings.board, findings.settings
    spent = sum(training.seconds for training in board.trainings.values())
    epochs = sum(training.epoch for training in board.trainings.values())
    console.print(
        Text(
            f"{findings.run.address}: {findings.status}\n{len(board.trainings)} of "
            f"{count(board.planned, 'trial')} over {settings.space_name}: {counts_text(board)}; "
            f"{count(epochs, 'epoch')} in {duration_text(spent)} of training"
        ),
        soft_wrap=True,
    )
    ranked = board.ranked()
    if ranked:
        table = Table(box=None, padding=(0, 1), header_style="bold", title="the best ten", title_justify="left")
        for name in ("trial", "score", "epoch", "ended"):
            table.add_column(name, no_wrap=True)
        table.add_column("validation MAE, parameters", overflow="fold")
        for training in ranked[:10]:
            table.add_row(
                training.key,
                f"{training.best_score:.4f}",
                f"{training.best_epoch}/{training.epoch}",
                training.state,
                Text(f"{errors_text(training, findings.units)}\n{params_text(training.params)}"),
            )
        console.print(table)
    if findings.importances:
        console.print(
            Text(
                "importance of each parameter: its share of the differences in the ranking of the trials, the largest "
                f"first, the others of what is left (up to {findings.importance_by_chance:.2f} by chance)"
            ),
            soft_wrap=True,
        )
        for name, value in findings.importances.items():
            console.print(Text(f"  {value:5.2f} {'#' * round(20 * value):20} {name}"), soft_wrap=True)
    if findings.finalists is not None:
        from tuner.trials.finalists import finalists_table

        console.print(finalists_table(findings.finalists))
    failed = [training for training in board.trainings.values() if training.state == "failed"]
    for training in failed[:5]:
        console.print(Text(f"failed: {training.key}: {training.reason}"), soft_wrap=True)
    if failed:
        console.print(Text(f"{len(failed)} failed; tracebacks in {findings.run.failures}"), soft_wrap=True)
    elif findings.run.failures.exists():
        console.print(
            Text(f"some attempts failed and were repeated; tracebacks in {findings.run.failures}"), soft_wrap=True
        )


def write_report(findings: RunSummary) -> list[str]:
    """Write trials.csv, trials.json, importances.json, plots and a page; return their names."""
    from tuner.report.plots import plot_curves, plot_importances

    folder = findings.run.report
    folder.mkdir(parents=True, exist_ok=True)
    names = dict.fromkeys(name for training in findings.board.trainings.values() for name in training.params)
    rows = [_row(findings, training, names) for training in findings.board.trainings.values()]
    _write_csv(folder / "trials.csv", rows)
    jsonlines.write_json(
        folder / "trials.json",
        {
            "status": findings.status,
            "settings": findings.settings.as_dict(),
            "trials": [
                {**row, "params": dict(training.params), "curve": dict(findings.curves.get(training.key, {}))}
                for row, training in zip(rows, findings.board.trainings.values(), strict=True)
            ],
        },
    )
    jsonlines.write_json(folder / "importances.json", dict(findings.importances))
    files = ["trials.csv", "trials.json", "importances.json"]
    if findings.curves:
        plot_curves(findings.curves, findings.board, folder / "curves.png")
        files.append("curves.png")
    if findings.importances:
        plot_importances(findings.importances, folder / "importances.png")
        files.append("importances.png")
    (folder / "report.md").write_text(_page(findings, files), encoding="utf-8")
    return [*files, "report.md"]


def _row(findings: RunSummary, training: Training, names: Iterable[str]) -> dict[str, Any]:
    row: dict[str, Any] = {
        "trial": int(training.key),
        "state": training.state,
        "score": training.best_score,
        "best_epoch": training.best_epoch or None,
        "epochs": training.epoch,
        "seconds": round(training.seconds, 3),
    }
    for task, unit in findings.units.items():
        row[with_unit(f"{task} MAE", unit)] = (training.best_metrics.get(task) or {}).get("mae")
    row.update({name: training.params.get(name) for name in names})
    row["reason"] = training.reason
    return row


def _write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]) if rows else ["trial"])
        writer.writeheader()
        writer.writerows(rows)


def _page(findings: RunSummary, files: list[str]) -> str:
    from tuner.report.live import counts_text, params_text

    board, settings = findings.board, findings.settings
    lines = [
        f"# Search {findings.run.path.name}",
        "",
        f"Status: {findings.status}. {len(board.trainings)} of {count(board.planned, 'trial')} "
        f"({counts_text(board)}), up to {count(settings.max_epochs, 'epoch')} each; "
        f"space {settings.space_name}, sampler {settings.sampler}, seed {settings.seed}.",
        "",
        "The score is the mean over tasks of validation MAE over the mean absolute deviation on the training split, at "
        "the best epoch; lower is better, 1 is as good as predicting the mean.",
        "",
        "| trial | score | epoch | ended | "
        + " | ".join(with_unit(f"{task} MAE", unit) for task, unit in findings.units.items())
        + " | parameters |",
        "|---|---|---|---|" + "---|" * (len(findings.units) + 1),
    ]
    for training in board.ranked()[:10]:
        maes = [(training.best_metrics.get(task) or {}).get("mae") for task in findings.units]
        lines.append(
            f"| {training.key} | {training.best_score:.4f} | {training.best_epoch}/{training.epoch} | "
            f"{training.state} | "
            + " | ".join("-" if mae is None else f"{mae:.4g}" for mae in maes)
            + f" | {params_text(training.params)} |"
        )
    if findings.finalists is not None:
        from tuner.trials.finalists import with_spread

        tasks = findings.finalists["units"]
        lines += ["", "## Finalists on the test split, mean (standard deviation over seeds)", ""]
        lines += [
            "| trial | validation score | "
            + " | ".join(with_unit(f"{task} MAE", unit) for task, unit in tasks.items())
            + " |",
            "|---|---|" + "---|" * len(tasks),
        ]
        for entry in findings.finalists["finalists"]:
            cells = [with_spread(entry["validation_score"])]
            cells += [with_spread(entry["test"].get(task, {}).get("mae")) for task in tasks]
            lines.append(f"| {entry['trial']:04d} | " + " | ".join(cells) + " |")
    failed = [training for training in board.trainings.values() if training.state == "failed"]
    if failed:
        lines += ["", "## Failed trials", ""]
        lines += [f"- {training.key}: {training.reason} (`failures/{training.key}.txt`)" for training in failed]
    for name, title in (("curves.png", "Learning curves"), ("importances.png", "Importance of each parameter")):
        if name in files:
            lines += ["", f"## {title}", "", f"![{title}]({name})"]
    return "\n".join(lines) + "\n"
