"""TPE: Optuna's own, found faster, and away from where trials diverge."""

import random
from collections.abc import Callable

import optuna
import pytest
from optuna.samplers import TPESampler as OptunasTPE

from tests.tuner.study.trials import Trials
from tuner.seeds import derived_seed
from tuner.space.space import Space
from tuner.study.history import History
from tuner.study.samplers import tpe
from tuner.study.samplers.tpe import TPESampler, distribution_of, frozen


def filled(space: Space, trials: int) -> Trials:
    """A study with complete, stopped, failed and running trials."""
    told = Trials(space, "tpe", seed=5)
    numbers = random.Random(1)
    for _ in range(trials):
        number, params = told.asked()
        told.report(number, 1, numbers.random() + float(params["num_convs"]))
        if number % 5 != 4:
            told.tell(number, ("finished", "stopped", "stopped", "failed")[number % 4])
    return told


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_proposals_are_those_of_optunas_tpe_over_the_whole_study(table5: Space) -> None:
    told = filled(table5, 60)
    distributions = {parameter.name: distribution_of(parameter) for parameter in table5.parameters}
    whole = optuna.create_study()
    for trial in told.all:
        whole.add_trial(frozen(trial, distributions))
    theirs = OptunasTPE(seed=derived_seed(5, "sampler", 60, "jointly"), multivariate=True, constant_liar=True)
    whole.ask()
    this = whole.trials[-1]
    expected = theirs.sample_relative(whole, this, theirs.infer_relative_search_space(whole, this))
    number, params = told.asked()
    assert number == this.number == 60
    assert expected
    assert {name: params[name] for name in expected} == expected


def test_an_optuna_that_does_not_use_the_shortcut_proposes_the_same(
    make_space: Callable[..., Space], monkeypatch: pytest.MonkeyPatch
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
    with_shortcut = filled(space, 40).all
    monkeypatch.delattr(tpe._CautiousTPE, "_get_internal_repr")
    assert filled(space, 40).all == with_shortcut


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
    groups = TPESampler(space, 0, History(space)).groups
    assert [sorted(group) for group in groups] == [["head_dim", "num_head_layers"], ["num_convs"]]
    assert groups[1]["num_convs"] == distribution_of(space.parameters[0])


def test_outcomes_are_what_optuna_understands_by_them(table5: Space) -> None:
    told = Trials(table5, "random", seed=1)
    for state in ("finished", "stopped", "diverged", "failed", "waiting"):
        number, _ = told.asked()
        told.report(number, 1, 0.5 + 1000 * (state == "finished"))
        told.tell(number, state)
    distributions = {parameter.name: distribution_of(parameter) for parameter in table5.parameters}
    trials = [frozen(trial, distributions) for trial in told.all]
    assert [trial.state.name for trial in trials] == ["COMPLETE", "PRUNED", "PRUNED", "FAIL", "RUNNING"]
    assert trials[0].value == 100.0, "capped"
    assert [len(trial.intermediate_values) for trial in trials] == [1, 1, 0, 0, 0]


def test_no_proposal_follows_trials_that_diverged(table5: Space) -> None:
    """40 trials begun at once: the 10 with the highest learning rates diverged, the rest were stopped at epoch 7."""
    told = Trials(table5, "tpe", seed=5)
    rates = {number: float(params["learning_rate"]) for number, params in (told.asked() for _ in range(40))}
    highest = sorted(rates, key=lambda number: rates[number])[-10:]
    for number in rates:
        last = 12 if number in highest else 7  # who diverges has got further, and was better until then
        for epoch in range(1, last + 1):
            told.report(number, epoch, (0.1 if number in highest else 0.5) + number / 1000 + 1 / epoch)
        told.tell(number, "diverged" if number in highest else "stopped")
    told.reopen()
    after = [float(told.asked()[1]["learning_rate"]) for _ in range(96)]
    assert after.count(0.1) < 5, after.count(0.1)


def test_trials_that_all_diverged_are_kept_away_from(table5: Space) -> None:
    told = Trials(table5, "tpe", seed=5)
    for number in range(30):
        told.begin(told.study.complete(number, {"learning_rate": 0.1, "weight_decay": 0.0}))
        told.tell(number, "diverged")
    after = [told.asked()[1]["learning_rate"] for _ in range(40)]
    assert after.count(0.1) < 5
