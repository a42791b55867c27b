"""What the files of a run say of its trials."""

from collections.abc import Sequence

from tuner.run import jsonlines
from tuner.run.layout import RunFolder
from tuner.run.log import Line, Training, trainings_of


def read_trials(run: RunFolder) -> dict[str, Training]:
    """All trials of a run that somebody else may be writing, by key.

    Raises:
        ValueError: if a line of the log is damaged.
    """
    lines = jsonlines.read(run.epochs)
    return trainings_of([*missing_lines(run, lines), *lines])


def missing_lines(run: RunFolder, lines: Sequence[Line]) -> list[Line]:
    """What the log of a run lacks that was begun before the log held all; empty for any other."""
    if any("params" in line for line in lines):
        return []
    from tuner.study.old_journal import lines_of  # optuna, half a second that no other run needs

    return lines_of(run.journal)
