"""All that the files of a run tell; also while it runs, or after a crash."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tuner.run.log import Training
from tuner.run.run_folder import RunFolder
from tuner.run.settings import SearchSettings
from tuner.trials.board import Board
from tuner.trials.restore import read_trials


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
