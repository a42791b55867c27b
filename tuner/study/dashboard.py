"""The journal that optuna-dashboard opens: written behind the search, read by nobody here, made anew at each start."""

import json
import time
import warnings
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend

from graphdb.files import write_atomically
from tuner.run.log import Training
from tuner.space.space import Space
from tuner.study.samplers.tpe import distribution_of, frozen

STUDY_NAME = "crystune"
_FLUSH_SECONDS = 5.0


class Dashboard:
    """A projection of the log. What cannot be written is written later, or at the next start."""

    def __init__(self, path: Path, space: Space, trials: Iterable[Training] = ()) -> None:
        """Make the file anew.

        Args:
            path: of the journal.
            space: that the trials are points of.
            trials: those so far, by number.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._path = path
        self._distributions = {parameter.name: distribution_of(parameter) for parameter in space.parameters}
        self._lines = _Lines()
        self._epochs: dict[int, int] = {}
        self._ended: set[int] = set()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self._storage = JournalStorage(self._lines)
            optuna.create_study(storage=self._storage, study_name=STUDY_NAME, direction="minimize")
        for trial in trials:
            self._write(trial)
        self._size = -1
        self.flush()

    def add(self, trial: Training) -> None:
        """A trial was begun, has trained an epoch, or has ended."""
        self._write(trial)
        if time.monotonic() >= self._next_flush:
            self.flush()

    def flush(self) -> None:
        """Bring the file up to date, if it can be written to."""
        self._next_flush = time.monotonic() + _FLUSH_SECONDS
        with suppress(OSError):
            if self._size < 0 and self._path.parent.is_dir():  # else it is away, and must not be begun anew
                write_atomically(self._path, self._lines.unwritten)
                self._size = 0
            elif self._size < 0:
                return
            else:
                with open(self._path, "r+b") as file:
                    file.truncate(self._size)  # what an attempt left that failed
                    file.seek(self._size)
                    file.write(self._lines.unwritten)
            self._size += len(self._lines.unwritten)
            self._lines.unwritten = bytearray()

    def _write(self, trial: Training) -> None:
        number, storage = trial.number, self._storage
        if number in self._ended:
            return
        if number not in self._epochs:
            template = frozen(trial, self._distributions, with_curve=True)
            template.user_attrs = _attributes(trial) if trial.has_ended else {}
            storage.create_new_trial(storage.get_all_studies()[0]._study_id, template)
        else:
            for epoch, score in trial.curve.items():
                if epoch > self._epochs[number]:
                    storage.set_trial_intermediate_value(number, epoch, score)
            if trial.has_ended:
                for name, value in _attributes(trial).items():
                    storage.set_trial_user_attr(number, name, value)
                end = frozen(trial, self._distributions)
                storage.set_trial_state_values(number, end.state, end.values)
        self._epochs[number] = trial.epoch
        if trial.has_ended:
            self._ended.add(number)


class _Lines(BaseJournalBackend):
    """The lines of Optuna's journal, kept until they are written."""

    def __init__(self) -> None:
        self.unwritten = bytearray()
        self._unread: deque[dict[str, Any]] = deque()

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        while self._unread:
            yield self._unread.popleft()

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        self.unwritten += b"".join(json.dumps(log, separators=(",", ":")).encode() + b"\n" for log in logs)
        self._unread.extend(logs)


def _attributes(trial: Training) -> dict[str, Any]:
    found: dict[str, Any] = {"outcome": trial.state}
    if trial.best_score is not None:
        found["best_score"] = trial.best_score
    if trial.state == "failed":
        found["reason"] = trial.reason
    return found
