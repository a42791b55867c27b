"""All that the files of a run tell; also while it runs, or after a crash."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tuner.run import jsonlines
from tuner.run.layout import RunFolder
from tuner.run.settings import SearchSettings
from tuner.trials.board import Board, Training


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
    def failed(self) -> list[Training]:
        """Trials that were given up."""
        return [training for training in self.board.trainings.values() if training.state == "failed"]


def summarize_run(run: RunFolder) -> RunSummary:
    """Read a run.

    Raises:
        SearchError: if the folder is none.
    """
    from tuner.report.importance import importances  # numpy
    from tuner.study.study import read_records  # optuna

    content = run.read()
    settings = SearchSettings.from_dict(content["settings"])
    records = read_records(run.journal)
    board = Board(title="search", planned=max(settings.trials, len(records)), max_epochs=settings.max_epochs)
    for record in records:
        key = f"{record.number:04d}"
        board.trainings[key] = Training(key=key, params=record.params, reason=record.reason)
    curves: dict[str, dict[int, float]] = {}
    for line in jsonlines.read(run.epochs):
        if line["key"] in board.trainings:
            board.trainings[line["key"]].add(line)
            if line["body"].get("score") is not None:
                curves.setdefault(line["key"], {})[line["epoch"]] = line["body"]["score"]
    for record in records:
        if record.outcome is not None:
            board.trainings[f"{record.number:04d}"].state = record.outcome
    shares, by_chance = importances(records)
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
        curves=curves,
        importances=shares,
        importance_by_chance=by_chance,
        finalists=run.read_finalists(),
    )
