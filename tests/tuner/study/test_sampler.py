"""Proposals: those of Optuna's own TPE, found faster."""

import random
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from optuna.samplers import TPESampler

from tuner.seeds import derived_seed
from tuner.space.space import Space
from tuner.study import sampler
from tuner.study.divergence import Divergences
from tuner.study.grid import Tried
from tuner.study.sampler import SeededSampler, distribution_of, quiet
from tuner.study.study import Study


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
    assert proposal is not None
    assert trial.number == proposal[0] == 60
    assert expected
    assert {name: proposal[1][name] for name in expected} == expected


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
    monkeypatch.delattr(sampler._Tpe, "_get_internal_repr")
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
    groups = SeededSampler(space, 0, jointly=True, tried=Tried(space), divergences=Divergences(space))._groups
    assert [sorted(group) for group in groups] == [["head_dim", "num_head_layers"], ["num_convs"]]
    assert groups[1]["num_convs"] == distribution_of(space.parameters[0])


def in_flight(path: Path, space: Space, *, told_before: bool) -> Study:
    """40 trials begun at once: the 10 with the highest learning rates diverged, the rest were stopped at epoch 7."""
    study = Study(path, space, sampler="tpe", seed=5)
    begun = [study.ask() for _ in range(40)]
    rates = {number: float(params["learning_rate"]) for number, params in (each for each in begun if each is not None)}
    highest = sorted(rates, key=lambda number: rates[number])[-10:]
    for number in rates:
        last = 12 if number in highest else 7  # who diverges has got further, and was better until then
        for epoch in range(1, last + 1):
            study.report(number, epoch, (0.1 if number in highest else 0.5) + number / 1000 + 1 / epoch)
        if number not in highest:
            study.tell(number, "stopped", 0.5)
        elif told_before:
            trial = optuna.trial.Trial(study._study, number)
            trial.set_user_attr("outcome", "diverged")
            study._study.tell(number, 100.0)
        else:
            study.tell(number, "diverged", 0.1)
    return Study(path, space, sampler="tpe", seed=5)


@pytest.mark.parametrize("told_before", [False, True], ids=["told now", "told by an earlier version"])
def test_no_proposal_follows_trials_that_diverged(tmp_path: Path, table5: Space, told_before: bool) -> None:
    study = in_flight(tmp_path / "journal", table5, told_before=told_before)
    proposals_after = [study.ask() for _ in range(96)]
    rates = [float(params["learning_rate"]) for _, params in (each for each in proposals_after if each is not None)]
    assert len(rates) == 96, rates.count(0.1)
    assert rates.count(0.1) < 5, rates.count(0.1)
    outcomes = [record.outcome for record in study.records()]
    assert outcomes.count("diverged") == 10
    assert all(len(record.curve) == 12 for record in study.records() if record.outcome == "diverged"), "kept as it was"


def test_trials_that_all_diverged_are_kept_away_from(tmp_path: Path, table5: Space) -> None:
    study = Study(tmp_path / "journal", table5, sampler="tpe", seed=5)
    for number in range(30):
        study.enqueue({"learning_rate": 0.1, "weight_decay": 0.0})
        if number == 0:
            study.ask()
        study.ask()
        study.tell(number, "diverged")
    study.tell(30, "diverged")
    after = [study.ask() for _ in range(40)]
    rates = [params["learning_rate"] for _, params in (each for each in after if each is not None)]
    assert len(rates) == 40
    assert rates.count(0.1) < 5


def test_what_speaks_against_a_value_is_that_more_trials_diverge_than_on_the_whole(
    make_space: Callable[..., Space],
) -> None:
    space = make_space(
        """
        [parameters]
        num_convs = [1, 2, 4]
        learning_rate = { low = 1e-4, high = 1e-1, log = true }
        batch_size = { low = 10, high = 40, step = 10, when = { num_convs = 4 } }
        """
    )
    known = Divergences(space)
    assert not known
    rates = [10 ** (-4 + number / 20) for number in range(60)]
    for number, rate in enumerate(rates):
        known.add(number, {"num_convs": 1 + number % 2, "learning_rate": rate}, diverged=rate > 0.0101)
    assert known
    highest, middle, low = (known.caution("learning_rate", rate, []) for rate in (0.08, 0.0101, 1e-3))
    assert highest < 3 * middle < 0, "ten, five and none of the nearest, on a logarithmic scale"
    assert low == 0.0, "ten, five and none of the nearest, on a logarithmic scale"
    assert known.caution("num_convs", 1, []) == known.caution("num_convs", 4, []) == 0.0
    assert known.caution("learning_rate", 0.08, [58, 59, 3]) == pytest.approx(highest / 3), "two of the good are there"
    known.add(60, {"num_convs": 4, "learning_rate": 1e-4, "batch_size": 20}, diverged=True)
    assert highest / 5 < known.caution("batch_size", 20, []) < 0, "one trial tells little"
    assert known.caution("batch_size", 20, [60]) == known.caution("batch_size", 20, []) / 2
