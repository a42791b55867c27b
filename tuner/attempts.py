"""Folders of a job: each attempt writes to its own; a process thought dead cannot spoil its successor's files.

trials/0007/attempt-0002/state/      all it takes to go on, replaced after each epoch
trials/0007/attempt-0002/best/       checkpoint of the best epoch so far
trials/0007/attempt-0002/epochs.jsonl
trials/0007/best/                    what remains when the job has ended
"""

import os
import shutil
from pathlib import Path
from typing import Any

from tuner import jsonlines

BEST = "best"
_STATE = "state"
_REPORTS = "epochs.jsonl"


class Attempt:
    """One attempt's folder."""

    def __init__(self, path: Path) -> None:
        """Name the files."""
        self.path = path
        self.state = path / _STATE
        self.best = path / BEST
        self._reports = path / _REPORTS

    @classmethod
    def begin(cls, job_folder: Path) -> "Attempt":
        """Make the folder of a new attempt; no two processes get the same one."""
        job_folder.mkdir(parents=True, exist_ok=True)
        number = 1 + max((attempt.number for attempt in attempts(job_folder)), default=0)
        while True:
            path = job_folder / f"attempt-{number:04d}"
            try:
                path.mkdir()
                return cls(path)
            except FileExistsError:
                number += 1

    @property
    def number(self) -> int:
        """Counts from 1."""
        return int(self.path.name.rpartition("-")[2])

    def remember(self, report: dict[str, Any]) -> None:
        """Write down an epoch's report, before its state is saved."""
        jsonlines.append(self._reports, report)

    def reports(self) -> list[dict[str, Any]]:
        """The reports written down."""
        return jsonlines.read(self._reports)


def attempts(job_folder: Path) -> list[Attempt]:
    """All attempts at a job, the latest first."""
    found = [Attempt(path) for path in job_folder.glob("attempt-*") if path.name[8:].isdigit()]
    return sorted(found, key=lambda attempt: attempt.number, reverse=True)


def remove_others(job_folder: Path, keep: Attempt) -> None:
    """Remove earlier attempts, once `keep` has a state of its own."""
    for attempt in attempts(job_folder):
        if attempt.number < keep.number:
            shutil.rmtree(attempt.path, ignore_errors=True)


def conclude(job_folder: Path, attempt_name: str | None) -> None:
    """Keep the best checkpoint of an attempt and remove all else of the job; harmless when done twice."""
    if attempt_name is not None:
        source = job_folder / attempt_name / BEST
        if source.exists() and not (job_folder / BEST).exists():
            os.replace(source, job_folder / BEST)
    for attempt in attempts(job_folder):
        shutil.rmtree(attempt.path, ignore_errors=True)
