"""The journal for optuna-dashboard: readable by any Optuna, made anew at each start, in nobody's way."""

import shutil
from pathlib import Path
from typing import Any

import optuna
import pytest

from tests.tuner.study.trials import Trials
from tuner.space.space import Space
from tuner.study.dashboard import STUDY_NAME, Dashboard


def shown(path: Path) -> list[optuna.trial.FrozenTrial]:
    """What Optuna itself reads."""
    backend = optuna.storages.journal.JournalFileBackend(str(path))
    return optuna.load_study(study_name=STUDY_NAME, storage=optuna.storages.JournalStorage(backend)).trials


def content(path: Path) -> list[tuple[Any, ...]]:
    return [
        (trial.number, trial.state.name, trial.params, trial.intermediate_values, trial.value, trial.user_attrs)
        for trial in shown(path)
    ]


def play(told: Trials, dashboard: Dashboard) -> None:
    """Five trials, one for each end that a trial may have, and one that runs."""
    for state in ("finished", "stopped", "diverged", "failed", "running"):
        number, _ = told.asked()
        dashboard.add(told.all[number])
        for epoch in (1, 2):
            told.report(number, epoch, number + 1 / epoch)
            dashboard.add(told.all[number])
        told.all[number].reason = "no luck" if state == "failed" else ""
        told.tell(number, state)
        dashboard.add(told.all[number])


def test_optuna_reads_every_trial_with_its_curve_and_its_end(tmp_path: Path, table5: Space) -> None:
    told = Trials(table5, "random", seed=1)
    dashboard = Dashboard(tmp_path / "journal", table5)
    play(told, dashboard)
    dashboard.flush()
    trials = shown(tmp_path / "journal")
    assert [trial.state.name for trial in trials] == ["COMPLETE", "PRUNED", "PRUNED", "FAIL", "RUNNING"]
    assert [dict(trial.params) for trial in trials] == [dict(trial.params) for trial in told.all]
    assert [trial.intermediate_values for trial in trials] == [trial.curve for trial in told.all]
    assert [trial.user_attrs.get("outcome") for trial in trials[:4]] == ["finished", "stopped", "diverged", "failed"]
    assert trials[0].value == 0.5
    assert trials[3].user_attrs["reason"] == "no luck"


def test_a_journal_made_anew_says_the_same_as_one_that_grew(tmp_path: Path, table5: Space) -> None:
    told = Trials(table5, "random", seed=1)
    dashboard = Dashboard(tmp_path / "grown", table5)
    play(told, dashboard)
    dashboard.flush()
    (tmp_path / "anew").write_text("what an earlier search left")
    Dashboard(tmp_path / "anew", table5, told.all)
    assert content(tmp_path / "anew") == content(tmp_path / "grown")


def test_what_cannot_be_written_comes_later(tmp_path: Path, table5: Space) -> None:
    told = Trials(table5, "random", seed=1)
    folder = tmp_path / "run"
    folder.mkdir()
    dashboard = Dashboard(folder / "journal", table5)
    away = folder.rename(tmp_path / "away")
    play(told, dashboard)
    dashboard.flush()
    assert not folder.exists()
    away.rename(folder)
    dashboard.flush()
    assert len(shown(folder / "journal")) == 5
    shutil.rmtree(folder)
    late = Dashboard(folder / "journal", table5, told.all)
    folder.mkdir()
    late.flush()
    assert len(shown(folder / "journal")) == 5


def test_a_line_that_was_written_half_is_written_again(
    tmp_path: Path, table5: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Trials(table5, "random", seed=1)
    path = tmp_path / "journal"
    dashboard = Dashboard(path, table5)
    with open(path, "ab") as file:
        file.write(b'{"op_co')
    play(told, dashboard)
    dashboard.flush()
    assert len(shown(path)) == 5
