"""The study on disk: reproducible, resumable, truthful."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.tuner.conftest import KNOWN, accept_anything
from tuner.space.space import Space
from tuner.space.toml import parse_space
from tuner.study.study import Study, read_records

SCRIPT = """
import json, sys
from pathlib import Path
from tests.tuner.conftest import KNOWN, accept_anything
from tests.tuner.study.test_study import search
from tuner.space.toml import parse_space, read_space_text
space = parse_space(read_space_text("table5")[1], "table5.toml", ("band_gap", "fermi_energy"), KNOWN, accept_anything)
print(json.dumps(search(Path(sys.argv[1]), space, sys.argv[2], 16)))
"""


def score(params: dict[str, Any]) -> float:
    return float(abs(params["num_convs"] - 3) * 0.1 + abs(params["learning_rate"] - 0.01) + params["atom_dim"] / 1000)


def search(journal: Path, space: Space, sampler: Any, trials: int, *, reopen: bool = False) -> list[dict[str, Any]]:
    """Ask and tell, a third of the trials stopped after their first epoch, and some diverged."""
    study = Study(journal, space, sampler=sampler, seed=7)
    for _ in range(trials):
        if reopen:
            study = Study(journal, space, sampler=sampler, seed=7)
        proposal = study.ask()
        assert proposal is not None
        number, params = proposal
        study.report(number, 1, score(params) + 1)
        if number % 3 == 2:
            study.tell(number, "stopped", score(params) + 1)
        elif number % 7 == 4:
            study.tell(number, "diverged", score(params) + 1)
        else:
            study.report(number, 2, score(params))
            study.tell(number, "finished", score(params))
    return [dict(record.params) for record in study.records()]


@pytest.mark.parametrize("sampler", ["tpe", "random", "grid"])
def test_the_same_seed_proposes_the_same_trials_in_another_process(tmp_path: Path, table5: Space, sampler: str) -> None:
    here = search(tmp_path / "here", table5, sampler, 16)
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "there"), sampler]
    there = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[3])
    assert there.returncode == 0, there.stderr
    assert json.loads(there.stdout) == here


@pytest.mark.parametrize("sampler", ["tpe", "random", "grid"])
def test_a_study_opened_anew_for_each_trial_proposes_the_same(tmp_path: Path, table5: Space, sampler: str) -> None:
    assert search(tmp_path / "a", table5, sampler, 14) == search(tmp_path / "b", table5, sampler, 14, reopen=True)


def test_the_baseline_comes_first(tmp_path: Path, table5: Space) -> None:
    proposal = Study(tmp_path / "journal", table5, sampler="tpe", seed=1).ask()
    assert proposal is not None
    assert table5.baseline is not None
    assert proposal == (0, dict(table5.baseline))


def test_a_proposal_cut_short_at_any_line_is_completed_as_it_would_have_been(tmp_path: Path, table5: Space) -> None:
    journal = tmp_path / "journal"
    search(journal, table5, "tpe", 12)
    before = len(journal.read_bytes())
    study = Study(journal, table5, sampler="tpe", seed=7)
    whole = study.ask()
    assert whole is not None
    content = journal.read_bytes()
    written = content[before:].split(b"\n")[:-1]
    assert len(written) > len(whole[1])
    for lines in range(2, len(written)):  # the first is the study being opened, the second the trial being begun
        cut = tmp_path / f"cut{lines}"
        torn = b"".join(line + b"\n" for line in written[:lines]) + written[lines][:9]
        cut.write_bytes(content[:before] + torn)
        assert Study(cut, table5, sampler="tpe", seed=7).running() == [whole], f"cut after line {lines}"


def test_outcomes_are_told_as_samplers_understand_them(tmp_path: Path, table5: Space) -> None:
    journal = tmp_path / "journal"
    study = Study(journal, table5, sampler="random", seed=1)
    for _ in range(4):
        study.ask()
    study.report(0, 1, 0.5)
    study.tell(0, "finished", 0.5)
    study.report(1, 1, 0.9)
    study.tell(1, "stopped", 0.9)
    study.tell(2, "diverged")
    study.tell(3, "failed", reason="RuntimeError: no luck")
    study.tell(3, "finished", 0.1)  # told again after a resume: nothing changes
    records = read_records(journal)
    assert [record.outcome for record in records] == ["finished", "stopped", "diverged", "failed"]
    assert records[1].curve == {1: 0.9}
    assert records[3].reason == "RuntimeError: no luck"
    import optuna

    trials = optuna.load_study(
        study_name="crystune",
        storage=optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(journal))),
    ).trials
    assert [trial.state.name for trial in trials] == ["COMPLETE", "PRUNED", "PRUNED", "FAIL"]
    assert trials[2].user_attrs["diverged"]
    assert not trials[2].intermediate_values


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


@pytest.mark.parametrize("sampler", ["tpe", "random", "grid"])
@pytest.mark.parametrize(("name", "text", "size"), FINITE, ids=[name for name, *_ in FINITE])
def test_each_point_of_a_finite_space_is_proposed_once_and_then_the_study_says_so(
    tmp_path: Path, name: str, text: str, size: int, sampler: Any
) -> None:
    space = parse_space(text, name, ("band_gap",), KNOWN, accept_anything)
    found = []
    for journal, reopen in ((tmp_path / "a", False), (tmp_path / "b", True)):
        study = Study(journal, space, sampler=sampler, seed=4)
        points: list[tuple[tuple[str, Any], ...]] = []
        open_trials: list[int] = []
        while True:
            if reopen:
                study = Study(journal, space, sampler=sampler, seed=4)
            assert study.exhausted is None or len(points) == size
            if (proposal := study.ask()) is None:
                break
            points.append(tuple(sorted(proposal[1].items())))
            open_trials.append(proposal[0])
            if len(open_trials) == 3:  # two others run when a point is drawn
                number = open_trials.pop(0)
                if number % 5 != 3:
                    study.report(number, 1, number % 7 + 0.5)
                study.tell(number, ("finished", "stopped", "diverged", "failed", "stopped")[number % 5], 0.5, "why")
        assert len(points) == len(set(points)) == size
        found.append(points)
        sentence = f"all {size} points of {name} have been tried"
        assert study.exhausted == (sentence if size > 1 else "the only point of one.toml has been tried")
    assert found[0] == found[1], "a study opened anew proposes the same"


def test_a_point_that_failed_is_tried_again_only_when_asked_for(tmp_path: Path) -> None:
    space = parse_space(FINITE[0][1], FINITE[0][0], ("band_gap",), KNOWN, accept_anything)
    study = Study(tmp_path / "journal", space, sampler="tpe", seed=4)
    for _ in range(3):
        proposal = study.ask()
        assert proposal is not None
        study.tell(proposal[0], "failed", reason="no luck")
    assert study.ask() is None
    study.enqueue({"atom_dim": 64})
    assert study.ask() == (3, {"atom_dim": 64})
    assert study.ask() is None


def test_a_proposal_of_a_small_space_cut_short_at_any_line_is_completed_as_it_would_have_been(tmp_path: Path) -> None:
    space = parse_space(FINITE[2][1], FINITE[2][0], ("band_gap",), KNOWN, accept_anything)
    journal, seed = tmp_path / "journal", 4
    study = Study(journal, space, sampler="tpe", seed=seed)
    for number in range(12):
        before = len(journal.read_bytes())
        whole = study.ask()
        assert whole is not None
        content = journal.read_bytes()
        written = content[before:].split(b"\n")[:-1]
        for lines in range(len(written)):
            cut = tmp_path / f"cut{number}-{lines}"
            cut.write_bytes(content[:before] + b"".join(line + b"\n" for line in written[:lines]))
            again = Study(cut, space, sampler="tpe", seed=seed)
            assert again.running() in ([], [whole]), (number, lines)
            assert again.running() or again.ask() == whole, (number, lines)
        study.report(number, 1, float(number % 3))
        study.tell(number, "finished", float(number % 3))


def test_a_part_of_a_space_that_has_few_points_is_not_drawn_over_and_over(
    tmp_path: Path, make_space: Callable[..., Space]
) -> None:
    space = make_space(
        """
        [parameters]
        schedule = ["constant", "cosine"]
        learning_rate = { low = 1e-4, high = 1e-1, log = true, when = { schedule = "cosine" } }
        """
    )
    assert space.size() is None
    study = Study(tmp_path / "journal", space, sampler="tpe", seed=4)
    for number in range(40):
        proposal = study.ask()
        assert proposal is not None
        study.tell(number, "finished", 0.1 if proposal[1]["schedule"] == "constant" else 0.5)
    kinds = [record.params["schedule"] for record in study.records()]
    assert kinds.count("constant") == 1


def test_conditions_are_obeyed_by_every_proposal(tmp_path: Path, make_space: Callable[..., Space]) -> None:
    space = make_space(
        """
        [parameters]
        num_convs = [1, 2, 3]
        learning_rate = { low = 1e-4, high = 1e-1, log = true }
        num_head_layers = { low = 1, high = 4, when = { num_convs = [2, 3] } }
        """
    )
    study = Study(tmp_path / "journal", space, sampler="tpe", seed=4)
    for _ in range(25):
        proposal = study.ask()
        assert proposal is not None
        number, params = proposal
        assert ("num_head_layers" in params) == (params["num_convs"] != 1)
        assert 1e-4 <= float(params["learning_rate"]) <= 1e-1
        study.report(number, 1, float(params["num_convs"]))
        study.tell(number, "finished", float(params["num_convs"]))
