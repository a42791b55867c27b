"""What the log of a run says of its trials, and what follows from it for a search that goes on."""

from collections.abc import Callable, Iterable
from itertools import chain

from tuner.errors import SearchError
from tuner.run import jsonlines
from tuner.run.log import Line, Log, Training, key_of, trainings_of
from tuner.run.run_folder import RunFolder
from tuner.study.study import Study
from tuner.trials.stopping.base import StoppingRule


def read_trials(run: RunFolder) -> dict[str, Training]:
    """All trials of a run that somebody else may be writing, by key.

    Raises:
        ValueError: if a line of the log is damaged.
        SearchError: if the log lacks trials.
    """
    return _replayed(run, chain(jsonlines.lines(run.epochs), _missing_lines(run)))


def restore(
    run: RunFolder, lines: Iterable[Line], study: Study, rule: StoppingRule, learn: Callable[[Line], None]
) -> dict[str, Training]:
    """Bring study and stopping rule (its rungs) to where they were, by the lines of the log in their order.

    Args:
        run: that the log is of, for messages.
        lines: of the log.
        study: without any trial.
        rule: without any trial.
        learn: called with each line of an epoch.

    Returns:
        All trials, by key.

    Raises:
        ValueError: if a line of the log is damaged.
        SearchError: if the log lacks trials.
    """

    def epoch(trial: Training, line: Line) -> None:
        learn(line)
        if line["decision"] != "diverged" and trial.best_score is not None:
            rule.record(trial.number, line["epoch"], trial.best_score)

    trials = _replayed(run, lines, epoch)
    for trial in trials.values():
        study.add(trial)
    return trials


def take_over(run: RunFolder, log: Log, study: Study) -> None:
    """Write into the log of a run that goes on what it lacks because the run was begun before the log held all."""
    missing = _missing_lines(run)
    if missing:
        for line in missing:
            if "params" in line:  # of a trial whose drawing was cut short, some are missing
                line["params"] = study.complete(int(line["key"]), line["params"])
        log.complete(missing)


def _missing_lines(run: RunFolder) -> list[Line]:
    """What the log of a run lacks that was begun before the log held all; empty for any other."""
    if any("params" in line for line in jsonlines.lines(run.epochs)):
        return []
    from tuner.study.old_journal import lines_of  # optuna, half a second that no other run needs

    return lines_of(run.journal)


def _replayed(
    run: RunFolder, lines: Iterable[Line], on_epoch: Callable[[Training, Line], None] = lambda trial, line: None
) -> dict[str, Training]:
    begun: set[str] = set()

    def added(trial: Training, line: Line) -> None:
        if "params" in line:
            begun.add(trial.key)
        elif "epoch" in line:
            on_epoch(trial, line)

    trials = trainings_of(lines, added)
    for number in range(len(trials)):
        if key_of(number) not in begun:
            raise SearchError(
                f"{run.epochs} must hold the beginning of every trial, but that of {number} is missing; restore the "
                "file (of a run begun before December 2026: study.journal) from a copy"
            )
    return trials
