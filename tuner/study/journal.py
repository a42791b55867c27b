"""Optuna's journal file, written by one process that holds it alone, and what of it a sampler is shown."""

import copy
import errno
import json
import os
from bisect import insort
from collections import deque
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend
from optuna.trial import FrozenTrial, TrialState

from tuner.run import jsonlines
from tuner.run.retry import once

BEST_SHOWN = 25
"""Best trials that a sampler is always shown: as many as Optuna's TPE ever takes for the good ones."""
LATEST_SHOWN = 500
"""Latest ended trials that a sampler is shown; below that many, it is shown all."""

_DRAWN_TOGETHER = "tpe:relative_params"


class JournalFile(BaseJournalBackend):
    """The lines of `optuna.storages.journal.JournalFileBackend`, without its lock, its reopening and its reading back.

    Whoever writes holds the run (`RunFolder.only_writer`), so nobody else's lines have to be looked for. A write is all
    or nothing. A trial's beginning is on the disk, not just with the operating system, before the trial is handed out;
    what follows can be told again from the log of epochs.
    """

    def __init__(self, path: Path, retry: Callable[[Callable[[], Any]], Any] = once) -> None:
        """Take over a file, or make it; a line that a killed writer left unfinished is removed.

        Args:
            path: of the file.
            retry: how to write what must not be lost, see `tuner.run.retry`.
        """
        jsonlines.cut_torn_tail(path)
        path.touch()
        self._path = path
        self._patiently = retry
        self._size = path.stat().st_size
        self._unread: deque[dict[str, Any]] | None = None
        self._held: list[bytes] | None = None
        self._owed = b""

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """What was not read before: at first the file, then what was appended.

        Raises:
            ValueError: if a line is damaged.
        """
        if self._unread is None:
            self._unread = deque()
            yield from _lines(self._path)
        while self._unread:
            yield self._unread.popleft()

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append a line for each.

        Raises:
            OSError: if they cannot be written; the file is as it was before.
        """
        lines = b"".join(json.dumps(log, separators=(",", ":")).encode() + b"\n" for log in logs)
        if self._held is None:
            self._write(lines, to_disk=False)
        else:
            self._held.append(lines)
        assert self._unread is not None, "a storage reads the file before it writes"
        self._unread.extend(json.loads(line) for line in lines.splitlines())

    @contextmanager
    def together(self) -> Iterator[None]:
        """Write all lines of the block in one go at its end, and wait until they are on the disk."""
        self._held = []
        try:
            yield
        finally:
            lines, self._held = b"".join(self._held), None
            self._owed += lines  # They count already, so a failed write is made up for by the next.
            self._write(b"", to_disk=True)

    def _write(self, lines: bytes, *, to_disk: bool) -> None:
        lines = self._owed + lines
        if lines:
            self._patiently(lambda: self._write_once(lines, to_disk))
            self._size += len(lines)
            self._owed = b""

    def _write_once(self, lines: bytes, to_disk: bool) -> None:
        with open(self._path, "r+b", buffering=0) as file:  # not made anew: without its beginning it is worth nothing
            found = file.seek(0, os.SEEK_END)
            if found < self._size:
                reason = f"it must hold the {self._size} bytes written to it, but it holds {found}"
                raise OSError(errno.EIO, reason, str(self._path))
            try:
                file.truncate(self._size)
                file.seek(self._size)
                rest = memoryview(lines)
                while rest:
                    rest = rest[file.write(rest) :]
                if to_disk:
                    os.fsync(file.fileno())
            except OSError:
                with suppress(OSError):  # else the next write removes it
                    file.truncate(self._size)
                raise


class BoundedStorage(JournalStorage):
    """A journal of one study that shows a sampler no more than it needs, so that the 10,000th proposal is a quick one.

    `get_all_trials`, which is what samplers call, gives the trials that wait or run, the BEST_SHOWN best in TPE's own
    order (complete ones by value, then pruned ones by how far they got and their last value), and the LATEST_SHOWN
    latest of those that did not fail. A diverged trial is shown as a pruned one without any report, which TPE ranks
    last: how far it got, and what it had reached by then, would only speak for it. It is a function of what the journal
    holds, whoever wrote it, whenever: diverged trials used to be told as complete ones.
    """

    def __init__(self, backend: JournalFile) -> None:
        """Read the journal."""
        self._open: dict[int, TrialState] = {}
        self._begun: dict[int, FrozenTrial] = {}
        self._ended: dict[int, FrozenTrial] = {}
        self._numbers: list[int] = []
        self._ranking: list[tuple[int, int, float, int]] = []
        super().__init__(backend)
        self.journal = backend
        self.num_trials = 0
        """Trials there are, waiting ones included."""
        for trial in self.every_trial():
            self._index(trial)

    def every_trial(self) -> list[FrozenTrial]:
        """All trials by number; not to be changed."""
        studies = self.get_all_studies()
        return super().get_all_trials(studies[0]._study_id, deepcopy=False) if studies else []

    def in_state(self, state: TrialState) -> list[int]:
        """Numbers of the trials that wait, or that run."""
        return sorted(number for number, its in self._open.items() if its == state)

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """The trials that are shown, by number; those that run as they were when they began."""
        shown: dict[int, FrozenTrial] = {}
        if states is None or TrialState.COMPLETE in states or TrialState.PRUNED in states:
            numbers = {*self._numbers[-LATEST_SHOWN:], *(number for *_, number in self._ranking[:BEST_SHOWN])}
            shown = {number: self._ended[number] for number in numbers}
        for number, state in self._open.items():
            if states is None or state in states:
                if number not in self._begun:
                    self._begun[number] = self.get_trial(number)
                shown[number] = self._begun[number]
        trials = [shown[number] for number in sorted(shown) if states is None or shown[number].state in states]
        return copy.deepcopy(trials) if deepcopy else trials

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """Begin a trial, or have it wait."""
        number = super().create_new_trial(study_id, template_trial)
        self._index(self.get_trial(number))
        return number

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        """Give a trial a parameter."""
        super().set_trial_param(trial_id, param_name, param_value_internal, distribution)
        self._begun.pop(trial_id, None)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """Begin a trial that waited, or end one."""
        done = super().set_trial_state_values(trial_id, state, values)
        self._index(self.get_trial(trial_id))
        return done

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Keep a note of Optuna's, but not what TPE leaves for samplers in other processes: there are none."""
        if not key.startswith(_DRAWN_TOGETHER):
            super().set_trial_system_attr(trial_id, key, value)

    def _index(self, trial: FrozenTrial) -> None:
        self._begun.pop(trial.number, None)
        self.num_trials = max(self.num_trials, trial.number + 1)
        if not trial.state.is_finished():
            self._open[trial.number] = trial.state
            return
        self._open.pop(trial.number, None)
        if trial.state == TrialState.FAIL:
            return
        if trial.user_attrs.get("outcome") == "diverged":
            trial = copy.copy(trial)
            trial.state, trial.values, trial.intermediate_values = TrialState.PRUNED, None, {}
            rank = (2, 0, 0.0)
        elif trial.state == TrialState.COMPLETE:
            assert trial.value is not None
            rank = (0, 0, trial.value)
        else:
            epoch, score = max(trial.intermediate_values.items(), default=(-1, 0.0))
            rank = (1, -epoch, score)
        self._ended[trial.number] = trial
        insort(self._numbers, trial.number)
        insort(self._ranking, (*rank, trial.number))


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                yield json.loads(line)
            except ValueError as error:
                raise ValueError(
                    f"line {number} of {path} must be a JSON object, got {line[:80]!r}; restore the file"
                ) from error
