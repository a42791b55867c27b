"""What the log of a run says of its trials, and what follows from it for a search that goes on."""

from collections.abc import Iterable, Sequence

from tuner.run import jsonlines
from tuner.run.log import Line, Log, Training, in_order, trainings_of
from tuner.run.run_folder import RunFolder
from tuner.study.study import Study
from tuner.trials.stopping.base import StoppingRule


def read_trials(run: RunFolder) -> dict[str, Training]:
    """All trials of a run that somebody else may be writing, by key.

    Raises:
        ValueError: if a line of the log is damaged.
    """
    lines = jsonlines.read(run.epochs)
    return trainings_of([*_missing_lines(run, lines), *lines])


def restore(lines: Iterable[Line], study: Study, rule: StoppingRule) -> dict[str, Training]:
    """Bring study and stopping rule (its rungs) to where they were, by the lines of the log in their order.

    Args:
        lines: of the log.
        study: without any trial.
        rule: without any trial.

    Returns:
        All trials, by key.
    """
    trainings: dict[str, Training] = {}
    for line in lines:
        training = trainings.setdefault(line["key"], Training(key=line["key"]))
        training.add(line)
        if "epoch" in line and line["decision"] != "diverged" and training.best_score is not None:
            rule.record(training.number, line["epoch"], training.best_score)
    trainings = in_order(trainings)
    for training in trainings.values():
        study.add(training)
    return trainings


def take_over(run: RunFolder, log: Log, study: Study) -> list[Line]:
    """All lines of the log of a run that goes on; what it lacks because it was begun before is written into it."""
    lines = log.lines()
    missing = _missing_lines(run, lines)
    if missing:
        for line in missing:
            if "params" in line:  # of a trial whose drawing was cut short, some are missing
                line["params"] = study.complete(int(line["key"]), line["params"])
        log.append(missing)
    return [*missing, *lines]


def _missing_lines(run: RunFolder, lines: Sequence[Line]) -> list[Line]:
    """What the log of a run lacks that was begun before the log held all; empty for any other."""
    if any("params" in line for line in lines):
        return []
    from tuner.study.old_journal import lines_of  # optuna, half a second that no other run needs

    return lines_of(run.journal)
