"""Runs begun before December 2026 had their trials in Optuna's journal; here it becomes lines of the log."""

import time
from pathlib import Path
from typing import Any

import optuna
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from tuner.run.log import Line, key_of
from tuner.study.dashboard import STUDY_NAME


def lines_of(journal: Path) -> list[Line]:
    """What the log lacks: the parameters of all trials, and the failures. Empty if there is no journal.

    A trial whose drawing was cut short has some of its parameters only.
    """
    if not journal.exists():
        return []
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = optuna.storages.JournalStorage(JournalFileBackend(str(journal)))
    try:
        trials = optuna.load_study(study_name=STUDY_NAME, storage=storage).get_trials(deepcopy=False)
    except KeyError:
        return []
    if len(trials) == 1 and trials[0].state == TrialState.WAITING:  # the baseline, not begun yet
        return []
    return [line for trial in trials for line in _lines_of(trial)]


def _lines_of(trial: FrozenTrial) -> list[Line]:
    key, moment = key_of(trial.number), trial.datetime_start.timestamp() if trial.datetime_start else time.time()
    params: dict[str, Any] = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
    lines: list[Line] = [{"key": key, "time": moment, "params": params}]
    if trial.state == TrialState.FAIL:
        lines.append({"key": key, "time": moment, "failed": str(trial.user_attrs.get("reason", ""))})
    elif trial.state.is_finished() and "outcome" not in trial.user_attrs:
        lines.append({"key": key, "time": moment, "failed": "another program wrote it into study.journal"})
    return lines
