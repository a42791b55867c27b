"""What a search that goes on knows."""

from pathlib import Path

import pytest

from tuner.run.log import Log
from tuner.run.run_folder import RunFolder
from tuner.space.space import Space
from tuner.study.study import Study
from tuner.trials.restore import read_trials, restore, take_over
from tuner.trials.stopping.asha import Asha


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
    trials = restore(take_over(run, Log(run.epochs), study), study, rule)
    assert rule.rungs() == {1: {0: 0.5, 1: 0.4}, 2: {0: 0.5}, 4: {}, 8: {}}, "a diverged epoch is no arrival"
    assert trials == read_trials(run)
    assert [trial.state for trial in trials.values()] == ["stopped", "diverged"]


def test_what_is_complete_is_left_as_it_is(run: RunFolder, table5: Space) -> None:
    before = run.epochs.read_bytes()
    take_over(run, Log(run.epochs), Study(table5, sampler="random", seed=1))
    assert run.epochs.read_bytes() == before
