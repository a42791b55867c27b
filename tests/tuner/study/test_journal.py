"""The journal with one writer: all or nothing, readable by any Optuna, and no more than needed for a sampler."""

import errno
import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from tests.tuner.study.test_study import score, search
from tuner.run.retry import once
from tuner.space.space import Space
from tuner.study import journal as journal_module
from tuner.study.journal import BEST_SHOWN, LATEST_SHOWN, BoundedStorage, JournalFile
from tuner.study.study import Study, read_records


def opened(path: Path, retry: Callable[[Callable[[], Any]], Any] = once) -> JournalFile:
    file = JournalFile(path, retry)
    list(file.read_logs(0))
    return file


def break_writes(monkeypatch: pytest.MonkeyPatch, times: int, partly: int = 5) -> None:
    """The next so many writes stop after a few bytes, as on a full disk."""
    left = [times]
    real = open

    class Full:
        def __init__(self, file: Any) -> None:
            self._file = file

        def __enter__(self) -> "Full":
            return self

        def __exit__(self, *_: object) -> None:
            self._file.close()

        def __getattr__(self, name: str) -> Any:
            return getattr(self._file, name)

        def write(self, content: Any) -> int:
            if left[0]:
                left[0] -= 1
                self._file.write(bytes(content)[:partly])
                raise OSError(errno.ENOSPC, "No space left on device")
            return int(self._file.write(content))

    def open_full(path: Path, mode: str, **options: Any) -> Any:
        return Full(real(path, mode, **options)) if mode == "r+b" else real(path, mode, **options)

    monkeypatch.setattr(journal_module, "open", open_full, raising=False)


def test_a_write_that_fails_half_way_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = opened(tmp_path / "journal")
    file.append_logs([{"a": 1}])
    break_writes(monkeypatch, 1)
    with pytest.raises(OSError, match="No space left"):
        file.append_logs([{"b": 2}])
    assert (tmp_path / "journal").read_text() == '{"a":1}\n'
    file.append_logs([{"c": 3}])
    assert (tmp_path / "journal").read_text() == '{"a":1}\n{"c":3}\n'
    assert list(file.read_logs(0)) == [{"a": 1}, {"c": 3}], "a line that was not written does not count"


def test_patience_repeats_a_write_until_it_succeeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failures: list[OSError] = []

    def retry(write: Callable[[], None]) -> None:
        while True:
            try:
                return write()
            except OSError as error:
                failures.append(error)

    file = opened(tmp_path / "journal", retry)
    break_writes(monkeypatch, 3)
    with file.together():
        file.append_logs([{"a": 1}])
        file.append_logs([{"b": 2}])
    assert len(failures) == 3
    assert (tmp_path / "journal").read_text() == '{"a":1}\n{"b":2}\n'


def test_lines_written_together_that_failed_come_with_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = opened(tmp_path / "journal")
    break_writes(monkeypatch, 1)
    with pytest.raises(OSError, match=r"."), file.together():
        file.append_logs([{"a": 1}])
    file.append_logs([{"b": 2}])
    assert (tmp_path / "journal").read_text() == '{"a":1}\n{"b":2}\n'


def test_a_file_that_vanished_is_not_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    file = opened(path)
    file.append_logs([{"a": 1}])
    kept = path.rename(tmp_path / "elsewhere")
    with pytest.raises(OSError, match=r"."):
        file.append_logs([{"b": 2}])
    assert not path.exists()
    path.write_bytes(b"")
    with pytest.raises(OSError, match="must hold the 8 bytes written to it, but it holds 0"):
        file.append_logs([{"b": 2}])
    kept.rename(path)
    file.append_logs([{"b": 2}])
    assert path.read_text() == '{"a":1}\n{"b":2}\n'


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    (tmp_path / "journal").write_text('{"a":1}\nnonsense\n')
    with pytest.raises(ValueError, match=r"line 2 of .*journal must be a JSON object"):
        opened(tmp_path / "journal")


def test_a_study_that_could_not_write_a_report_takes_it_again(
    tmp_path: Path, table5: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = Study(tmp_path / "journal", table5, sampler="random", seed=1)
    study.ask()
    break_writes(monkeypatch, 1)
    with pytest.raises(OSError, match=r"."):
        study.report(0, 1, 0.5)
    study.report(0, 1, 0.4)
    assert [dict(record.curve) for record in study.records()] == [{1: 0.4}]
    assert [dict(record.curve) for record in read_records(tmp_path / "journal")] == [{1: 0.4}]


def test_optunas_own_backend_reads_writes_and_goes_on_with_the_journal(tmp_path: Path, table5: Space) -> None:
    path = tmp_path / "journal"
    ours = search(path, table5, "tpe", 12)
    backend = optuna.storages.journal.JournalFileBackend(str(path))
    theirs = optuna.load_study(study_name="crystune", storage=optuna.storages.JournalStorage(backend))
    assert [dict(trial.params) for trial in theirs.trials] == ours
    theirs.tell(theirs.ask({"x": optuna.distributions.FloatDistribution(0, 1)}), 0.5)
    assert len(Study(path, table5, sampler="tpe", seed=7).records()) == 13


def test_a_sampler_is_shown_the_best_the_latest_and_the_running_also_after_a_restart(
    tmp_path: Path, table5: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "BEST_SHOWN", 4)
    monkeypatch.setattr(journal_module, "LATEST_SHOWN", 9)
    path = tmp_path / "journal"
    study = Study(path, table5, sampler="random", seed=1)
    numbers = random.Random(3)
    running: list[int] = []
    scores: dict[int, float] = {}
    for _ in range(60):
        proposal = study.ask()
        assert proposal is not None
        running.append(proposal[0])
        if len(running) > 5:
            number = running.pop(numbers.randrange(len(running)))
            if number % 7 == 0:
                study.tell(number, "failed", reason="no luck")
                continue
            scores[number] = score(proposal[1])
            study.report(number, 1, scores[number])
            study.tell(number, "stopped" if number % 2 else "finished", scores[number])
    complete = sorted((value, number) for number, value in scores.items() if number % 2 == 0)
    best = [number for _, number in complete[:4]]
    expected = sorted({*best, *sorted(scores)[-9:], *running})
    here = study._storage.get_all_trials(0, deepcopy=False)
    again = BoundedStorage(JournalFile(path)).get_all_trials(0, deepcopy=False)
    assert [trial.number for trial in here] == [trial.number for trial in again] == expected
    assert [trial.params for trial in here] == [trial.params for trial in again]
    shown = study._storage.get_all_trials(0, deepcopy=False, states=(TrialState.COMPLETE,))
    assert shown
    assert all(trial.state == TrialState.COMPLETE for trial in shown)


def test_a_trial_is_begun_in_one_write_and_leaves_no_note_of_the_sampler(tmp_path: Path, table5: Space) -> None:
    path = tmp_path / "journal"
    search(path, table5, "tpe", 12)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert not any("tpe:" in key for line in lines for key in line.get("system_attr", {}))
    study = Study(path, table5, sampler="tpe", seed=7)
    sizes: list[int] = []

    def watched(write: Callable[[], None]) -> None:
        write()
        sizes.append(os.stat(path).st_size)

    study._storage.journal._patiently = watched
    study.ask()
    assert len(sizes) == 1


def test_all_trials_are_shown_as_long_as_there_are_few() -> None:
    assert BEST_SHOWN >= 25, "Optuna's TPE takes up to 25 trials as the good ones"
    assert LATEST_SHOWN >= 250, "below 250 trials the good ones are a tenth"
