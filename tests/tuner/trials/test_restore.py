"""What a search that goes on knows."""

from collections.abc import Mapping
from pathlib import Path

import optuna
import pytest

from tuner.errors import SearchError
from tuner.run import jsonlines
from tuner.run.log import Log
from tuner.run.run_folder import RunFolder
from tuner.space.space import Space
from tuner.study.dashboard import STUDY_NAME
from tuner.study.study import Study
from tuner.trials.restore import read_trials, restore, take_over
from tuner.trials.stopping.asha import Asha
from tuner.trials.stopping.none import NoStopping


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    found = RunFolder(tmp_path / "run")
    log = Log(found.epochs)
    log.begin({"0000": {"num_convs": 2}, "0001": {"num_convs": 3}})
    log.add_epoch("0000", 1, "continue", {"score": 0.5})
    log.add_epoch("0001", 1, "continue", {"score": 0.4})
    log.add_epoch("0000", 2, "stopped", {"score": 0.6})
    log.add_epoch("0001", 2, "diverged", {"score": None, "diverged": True})
    return found


def test_rungs_are_those_of_the_process_that_wrote_the_log(run: RunFolder, table5: Space) -> None:
    rule, study = Asha(max_epochs=9, grace_epochs=1, reduction=2), Study(table5, sampler="random", seed=1)
    learned: list[int] = []
    log = Log(run.epochs)
    take_over(run, log, study)
    trials = restore(run, log.lines(), study, rule, lambda line: learned.append(line["epoch"]))
    assert learned == [1, 1, 2, 2]
    assert rule.rungs() == {1: {0: 0.5, 1: 0.4}, 2: {0: 0.5}, 4: {}, 8: {}}, "a diverged epoch is no arrival"
    assert trials == read_trials(run)
    assert [trial.state for trial in trials.values()] == ["stopped", "diverged"]


def test_what_is_complete_is_left_as_it_is(run: RunFolder, table5: Space) -> None:
    before = run.epochs.read_bytes()
    take_over(run, Log(run.epochs), Study(table5, sampler="random", seed=1))
    assert run.epochs.read_bytes() == before


@pytest.mark.parametrize("gone", ["0000", "0001"])
def test_a_log_that_lacks_the_beginning_of_a_trial_is_refused(run: RunFolder, gone: str) -> None:
    kept = [line for line in jsonlines.read(run.epochs) if line["key"] != gone or "params" not in line]
    jsonlines.write(run.epochs, kept)
    with pytest.raises(SearchError, match=rf"beginning of every trial, but that of {int(gone)} is missing"):
        read_trials(run)


def test_a_log_with_a_hole_in_the_numbers_is_refused(run: RunFolder) -> None:
    jsonlines.write(run.epochs, [line for line in jsonlines.read(run.epochs) if line["key"] != "0000"])
    with pytest.raises(SearchError, match="that of 0 is missing"):
        read_trials(run)


def test_a_failure_that_a_journal_tells_comes_after_the_epochs(run: RunFolder, table5: Space) -> None:
    epochs = [line for line in jsonlines.read(run.epochs) if "params" not in line and line["decision"] == "continue"]
    jsonlines.write(run.epochs, epochs)
    backend = optuna.storages.journal.JournalFileBackend(str(run.journal))
    old = optuna.create_study(storage=optuna.storages.JournalStorage(backend), study_name=STUDY_NAME)
    for state in (optuna.trial.TrialState.FAIL, None):
        trial = old.ask({"num_convs": optuna.distributions.IntDistribution(1, 4)})
        if state is not None:
            trial.set_user_attr("reason", "OSError: no luck")
            old.tell(trial, state=state)
    old.add_trial(optuna.trial.create_trial(value=0.1))  # by another program
    before = read_trials(run)
    assert [trial.state for trial in before.values()] == ["failed", "running", "failed"]
    study = Study(table5, sampler="random", seed=1)
    log = Log(run.epochs)
    take_over(run, log, study)
    after = restore(run, log.lines(), study, NoStopping(max_epochs=9), lambda line: None)
    assert [trial.state for trial in after.values()] == ["failed", "running", "failed"]
    assert after["0000"].reason == "OSError: no luck"
    assert all(table5_is_whole(table5, trial.params) for trial in after.values())
    run.journal.unlink()
    assert [trial.state for trial in read_trials(run).values()] == ["failed", "running", "failed"]


def table5_is_whole(space: Space, point: Mapping[str, object]) -> bool:
    return {parameter.name for parameter in space.parameters} == point.keys()
