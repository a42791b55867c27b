"""Proposals: those of Optuna's own TPE, found faster."""

import random
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from optuna.samplers import TPESampler

from tuner import proposals
from tuner.proposals import SeededSampler, distribution_of, quiet
from tuner.seeds import derived_seed
from tuner.space import Space
from tuner.study import Study


def filled(path: Path, space: Space, trials: int) -> Study:
    """A study with complete, stopped, failed and running trials."""
    study = Study(path, space, sampler="tpe", seed=5)
    numbers = random.Random(1)
    for _ in range(trials):
        proposal = study.ask()
        assert proposal is not None
        number, params = proposal
        study.report(number, 1, numbers.random() + float(params["num_convs"]))
        if number % 5 != 4:
            study.tell(number, ("finished", "stopped", "stopped", "failed")[number % 4], numbers.random())
    return study


def test_proposals_are_those_of_optunas_tpe_over_the_whole_study(tmp_path: Path, table5: Space) -> None:
    study = filled(tmp_path / "journal", table5, 60)
    whole = optuna.load_study(
        study_name="crystune",
        storage=optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(tmp_path / "journal"))),
    )
    with quiet():
        theirs = TPESampler(seed=derived_seed(5, "sampler", 60, "jointly"), multivariate=True, constant_liar=True)
    trial = whole.ask()
    frozen = whole.trials[-1]
    expected = theirs.sample_relative(whole, frozen, theirs.infer_relative_search_space(whole, frozen))
    proposal = study.ask()
    assert proposal is not None and trial.number == proposal[0] == 60
    assert expected and {name: proposal[1][name] for name in expected} == expected


def test_an_optuna_that_does_not_use_the_shortcut_proposes_the_same(
    tmp_path: Path, make_space: Callable[..., Space], monkeypatch: pytest.MonkeyPatch
) -> None:
    space = make_space(
        """
        [parameters]
        num_convs = [1, 2, 3]
        atom_dim = [16, 32, 128]
        learning_rate = { low = 1e-4, high = 1e-1, log = true }
        num_head_layers = { low = 1, high = 4, when = { num_convs = [2, 3] } }
        """
    )
    with_shortcut = filled(tmp_path / "a", space, 40).records()
    monkeypatch.delattr(proposals._Tpe, "_get_internal_repr")
    assert filled(tmp_path / "b", space, 40).records() == with_shortcut


def test_parameters_under_one_condition_are_drawn_jointly(make_space: Callable[..., Space]) -> None:
    space = make_space(
        """
        [parameters]
        num_convs = [1, 2, 3]
        atom_dim = [64]
        num_head_layers = { low = 1, high = 4, when = { num_convs = [2, 3] } }
        head_dim = { values = [16, 32, 128], when = { num_convs = [2, 3] } }
        """
    )
    groups = SeededSampler(space, 0, jointly=True)._groups
    assert [sorted(group) for group in groups] == [["head_dim", "num_head_layers"], ["num_convs"]]
    assert groups[1]["num_convs"] == distribution_of(space.parameters[0])
