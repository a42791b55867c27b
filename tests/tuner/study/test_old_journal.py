"""Journals of versions that kept the trials in them."""

from pathlib import Path

import optuna
import pytest

from tuner.run.log import trainings_of
from tuner.study.dashboard import STUDY_NAME
from tuner.study.old_journal import lines_of

RATE = optuna.distributions.FloatDistribution(1e-4, 1e-1, log=True)


@pytest.fixture
def study(tmp_path: Path) -> optuna.Study:
    backend = optuna.storages.journal.JournalFileBackend(str(tmp_path / "study.journal"))
    return optuna.create_study(storage=optuna.storages.JournalStorage(backend), study_name=STUDY_NAME)


def test_parameters_and_failures_become_lines(tmp_path: Path, study: optuna.Study) -> None:
    first = study.ask({"learning_rate": RATE})
    first.set_user_attr("outcome", "finished")
    study.tell(first, 0.5)
    second = study.ask({"learning_rate": RATE})
    second.set_user_attr("reason", "OSError: no luck")
    study.tell(second, state=optuna.trial.TrialState.FAIL)
    study.ask({"learning_rate": RATE})
    study.enqueue_trial({"learning_rate": 0.01})
    trials = trainings_of(lines_of(tmp_path / "study.journal"))
    assert [trial.params for trial in trials.values()] == [
        *(t.params for t in study.trials[:3]),
        {"learning_rate": 0.01},
    ]
    assert [(trial.state, trial.reason) for trial in trials.values()] == [
        ("waiting", ""),
        ("failed", "OSError: no luck"),
        ("waiting", ""),
        ("waiting", ""),
    ]


def test_a_baseline_that_waits_is_no_trial_yet(tmp_path: Path, study: optuna.Study) -> None:
    study.enqueue_trial({"learning_rate": 0.01})
    assert lines_of(tmp_path / "study.journal") == []


def test_nothing_comes_from_no_journal_or_an_empty_one(tmp_path: Path) -> None:
    assert lines_of(tmp_path / "absent") == []
    (tmp_path / "empty").touch()
    assert lines_of(tmp_path / "empty") == []
