"""Studies: reproducible, each point once."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.tuner.conftest import KNOWN, accept_anything
from tests.tuner.study.trials import Trials
from tuner.space.space import Space
from tuner.space.toml import parse_space
from tuner.study.samplers import SAMPLERS
from tuner.trials.stopping import SECTIONS

SCRIPT = """
import json, sys
from tests.tuner.conftest import KNOWN, accept_anything
from tests.tuner.study.test_study import search
from tuner.trials.stopping import SECTIONS
from tuner.space.toml import parse_space, read_space_text
text = read_space_text("table5")[1]
space = parse_space(text, "table5.toml", ("band_gap", "fermi_energy"), KNOWN, accept_anything, SECTIONS)
print(json.dumps(search(space, sys.argv[1], 16)))
"""


def score(params: dict[str, Any]) -> float:
    return float(abs(params["num_convs"] - 3) * 0.1 + abs(params["learning_rate"] - 0.01) + params["atom_dim"] / 1000)


def search(space: Space, sampler: str, trials: int, *, reopen: bool = False) -> list[dict[str, Any]]:
    """Ask and tell, a third of the trials stopped after their first epoch, and some diverged."""
    told = Trials(space, sampler, seed=7)
    for _ in range(trials):
        if reopen:
            told.reopen()
        number, params = told.asked()
        told.report(number, 1, score(params) + 1)
        if number % 3 == 2:
            told.tell(number, "stopped")
        elif number % 7 == 4:
            told.tell(number, "diverged")
        else:
            told.report(number, 2, score(params))
            told.tell(number, "finished")
    return [dict(trial.params) for trial in told.all]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_same_seed_proposes_the_same_trials_in_another_process(table5: Space, sampler: str) -> None:
    command = [sys.executable, "-c", SCRIPT, sampler]
    there = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[3])
    assert there.returncode == 0, there.stderr
    assert json.loads(there.stdout) == search(table5, sampler, 16)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_study_begun_anew_for_each_trial_proposes_the_same(table5: Space, sampler: str) -> None:
    assert search(table5, sampler, 24) == search(table5, sampler, 24, reopen=True)


def test_the_baseline_comes_first(table5: Space) -> None:
    assert table5.baseline is not None
    assert Trials(table5, "tpe", seed=1).ask() == (0, dict(table5.baseline))


def test_what_is_given_of_a_point_is_kept_and_the_rest_is_drawn_as_ever(table5: Space) -> None:
    study = Trials(table5, "random", seed=1).study
    whole = study.propose(3)
    assert whole is not None
    assert study.complete(3, {"num_convs": whole["num_convs"]}) == whole
    assert study.complete(3, whole) == whole


FINITE = (
    ("three.toml", "[parameters]\natom_dim = [16, 32, 64]\n[baseline]\natom_dim = 32", 3),
    ("one.toml", "[parameters]\natom_dim = [16]", 1),
    (
        "conditions.toml",
        """
        [parameters]
        num_convs = [1, 2, 3]
        atom_dim = [16, 32]
        num_head_layers = { values = [1, 2], when = { num_convs = 3 } }
        head_dim = { low = 16, high = 64, step = 16, when = { num_head_layers = 2 } }
        [baseline]
        num_convs = 3
        """,
        2 * 2 + 2 * (1 + 4),
    ),
    (
        "ranges.toml",
        """
        [parameters]
        num_convs = { low = 1, high = 6, log = true }
        learning_rate = { low = 0.1, high = 0.7, step = 0.1 }
        """,
        6 * 7,
    ),
)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize(("name", "text", "size"), FINITE, ids=[name for name, *_ in FINITE])
def test_each_point_of_a_finite_space_is_proposed_once_and_then_the_study_says_so(
    name: str, text: str, size: int, sampler: str
) -> None:
    space = parse_space(text, name, ("band_gap",), KNOWN, accept_anything, SECTIONS)
    found = []
    for reopen in (False, True):
        told = Trials(space, sampler, seed=4)
        points: list[tuple[tuple[str, Any], ...]] = []
        open_trials: list[int] = []
        while True:
            if reopen:
                told.reopen()
            assert told.study.exhausted is None or len(points) == size
            if (proposal := told.ask()) is None:
                break
            points.append(tuple(sorted(proposal[1].items())))
            open_trials.append(proposal[0])
            if len(open_trials) == 3:  # two others run when a point is drawn
                number = open_trials.pop(0)
                if number % 5 != 3:
                    told.report(number, 1, number % 7 + 0.5)
                told.tell(number, ("finished", "stopped", "diverged", "failed", "stopped")[number % 5])
        assert len(points) == len(set(points)) == size
        found.append(points)
        sentence = f"all {size} points of {name} have been tried"
        assert told.study.exhausted == (sentence if size > 1 else "the only point of one.toml has been tried")
    assert found[0] == found[1], "a study begun anew proposes the same"


def test_a_point_that_failed_is_not_proposed_again() -> None:
    space = parse_space(FINITE[0][1], FINITE[0][0], ("band_gap",), KNOWN, accept_anything, SECTIONS)
    told = Trials(space, "tpe", seed=4)
    for _ in range(3):
        told.tell(told.asked()[0], "failed")
    assert told.ask() is None


def test_a_part_of_a_space_that_has_few_points_is_not_drawn_over_and_over(make_space: Callable[..., Space]) -> None:
    space = make_space(
        """
        [parameters]
        schedule = ["constant", "cosine"]
        learning_rate = { low = 1e-4, high = 1e-1, log = true, when = { schedule = "cosine" } }
        """
    )
    assert space.size() is None
    told = Trials(space, "tpe", seed=4)
    for number in range(40):
        told.tell(number, "finished", 0.1 if told.asked()[1]["schedule"] == "constant" else 0.5)
    kinds = [trial.params["schedule"] for trial in told.all]
    assert kinds.count("constant") == 1


def test_conditions_are_obeyed_by_every_proposal(make_space: Callable[..., Space]) -> None:
    space = make_space(
        """
        [parameters]
        num_convs = [1, 2, 3]
        learning_rate = { low = 1e-4, high = 1e-1, log = true }
        num_head_layers = { low = 1, high = 4, when = { num_convs = [2, 3] } }
        """
    )
    told = Trials(space, "tpe", seed=4)
    for _ in range(25):
        number, params = told.asked()
        assert ("num_head_layers" in params) == (params["num_convs"] != 1)
        assert 1e-4 <= float(params["learning_rate"]) <= 1e-1
        told.tell(number, "finished", float(params["num_convs"]))
