"""What a search says and writes between its phases and at its end; Ray is left out."""

import dataclasses
import errno
import itertools
import os
import shutil
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.tuner.drive import Plan, driver
from tests.tuner.logs import epochs_in
from tests.tuner.without_ray import without_ray as without_ray
from tuner.cluster.capacity import ExecutionOptions
from tuner.errors import SearchError
from tuner.report import __main__ as report
from tuner.run import jsonlines
from tuner.run.run_folder import RunFolder
from tuner.trials.finalists import choose_numbers

pytestmark = pytest.mark.usefixtures("without_ray")


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return Plan(folder=str(tmp_path / "runs" / "mine"), trials=4)


def status(plan: Plan) -> str:
    return str(RunFolder(Path(plan.folder)).read()["status"])


@pytest.mark.parametrize(
    ("trained", "each", "finalists", "seeds", "chosen"),
    [
        (6, 3, None, None, (1, 1)),  # at least one
        (0, 30, None, None, (1, 1)),
        (180, 30, None, None, (2, 1)),  # a third of 180 is two trainings
        (300, 30, None, None, (3, 1)),
        (360, 30, None, None, (2, 2)),
        (540, 30, None, None, (3, 2)),
        (809, 30, None, None, (3, 2)),
        (810, 30, None, None, (3, 3)),
        (10_000, 30, None, None, (3, 3)),  # at most nine
        (10_000, 30, 5, None, (5, 3)),
        (6, 3, 5, None, (5, 1)),
        (6, 3, None, 4, (1, 4)),
        (10_000, 30, None, 4, (3, 4)),
        (6, 3, 0, None, (0, 1)),
        (6, 3, 7, 8, (7, 8)),  # what is asked for is done
    ],
)
def test_finalists_take_a_third_of_the_epochs_unless_told(
    trained: int, each: int, finalists: int | None, seeds: int | None, chosen: tuple[int, int]
) -> None:
    assert choose_numbers(trained, each, finalists, seeds) == chosen


def test_the_choice_of_finalists_is_told_and_a_resume_makes_the_same(
    plan: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    plan.trials, plan.finalists, plan.finalist_seeds = 9, None, None
    assert driver(plan).execute()
    first = RunFolder(Path(plan.folder)).read()["finalists"]
    said = capsys.readouterr().out
    trained = len(epochs_in(RunFolder(Path(plan.folder)).epochs))
    assert f"a third of the trials' {trained} epochs pays for so many, at least one; --finalists" in said
    assert "to begin" in said
    assert first == {"trials": [first["trials"][0]], "seeds": 1, "epochs": 9}
    assert driver(plan).execute()
    assert RunFolder(Path(plan.folder)).read()["finalists"] == first


def test_finalists_that_are_trained_are_not_said_to_be_trained_again(
    plan: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    plan.finalists, plan.finalist_seeds = 2, 1
    driver(plan).execute()
    assert "1 seed each, 9 epochs: 2 to begin\n" in capsys.readouterr().out
    driver(plan).execute()
    assert "1 seed each, 9 epochs: 2 done already\n" in capsys.readouterr().out
    plan.finalist_seeds = 2
    driver(plan).execute()
    assert "2 seeds each, 9 epochs: 2 done already, 2 to begin\n" in capsys.readouterr().out


def test_a_time_budget_that_is_used_up_is_told_until_the_rest_is_done(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plan.trials, plan.finalists, plan.finalist_seeds = 40, 1, 1
    short = dataclasses.replace(driver(plan), options=ExecutionOptions(concurrency=1, time_budget=20))
    with monkeypatch.context() as patch:
        patch.setattr("tuner.driver.time.monotonic", map(float, itertools.count()).__next__)
        assert short.execute(), "there is a model to export"
    assert status(plan) == "time budget used up"
    assert "The time budget (20 s) is used up" in capsys.readouterr().out
    assert report.main([plan.folder]) == 0
    shown = capsys.readouterr().out
    assert "mine: time budget used up" in shown
    assert f"--resume --name mine --runs {Path(plan.folder).parent}" in shown
    plan.trials = 1  # begun trials are ended; no new ones
    assert driver(plan).execute()
    assert status(plan) == "done"
    assert report.main([plan.folder]) == 0
    assert "--resume" not in capsys.readouterr().out


def test_ctrl_c_says_what_is_left(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.tuner import without_ray as fake

    def interrupted(what: Any, number: int = signal.SIGINT) -> str:
        def train(*_: object) -> bool:
            what()
            signal.raise_signal(number)
            return False

        monkeypatch.setattr(fake, "train", train)
        with pytest.raises(KeyboardInterrupt) as caught:
            driver(plan).execute()
        return str(caught.value)

    assert interrupted(lambda: None) == "nothing is lost; go on with: python drive.py again"
    assert status(plan) == "interrupted"
    assert interrupted(lambda: None, signal.SIGTERM).startswith("nothing is lost")
    gone = interrupted(lambda: shutil.rmtree(plan.folder))
    assert gone == f"the folder {plan.folder} is gone, and with it what the search had found"

    def refuse(*_: object, **changes: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "run.json")

    def full() -> None:
        monkeypatch.setattr(RunFolder, "update", refuse)

    assert interrupted(full) == (
        f"{plan.folder} cannot be written to (no space left on device); once it can, what is there goes on with: "
        "python drive.py again"
    )


def test_ctrl_c_before_anything_was_written_leaves_nothing(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    def find_capacity(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    new = driver(plan)
    Path(plan.folder, "run.json").unlink()
    monkeypatch.setattr("tuner.driver.find_capacity", find_capacity)
    with pytest.raises(KeyboardInterrupt, match=r"^nothing was begun$"):
        new.execute()
    assert not Path(plan.folder).exists()


def test_trials_that_all_fail_for_one_reason_end_the_search_in_a_line(plan: Plan) -> None:
    plan.factory |= {"seconds_per_epoch": -1.0}
    with pytest.raises(SearchError) as caught:
        driver(plan).execute()
    said = str(caught.value)
    assert "\n" not in said
    assert "fix it, then go on with: python drive.py again" in said
    assert "if space or store have to change, start a new search" in said
    assert status(plan).startswith("error: every trial fails")
    plan.factory |= {"seconds_per_epoch": 0.0}
    assert driver(plan).execute()
    assert status(plan) == "done"


def test_a_search_without_a_usable_trial_says_what_to_change(plan: Plan) -> None:
    plan.trials = 1
    plan.factory |= {"diverges_at_rate": 0.01, "diverges_from": 1}
    with pytest.raises(SearchError, match=r"1 diverged, 0 failed; start a new search .* smaller learning rates"):
        driver(plan).execute()
    assert status(plan) == "no usable trial"


def test_a_refused_resume_leaves_the_status_of_the_run(plan: Plan) -> None:
    plan.trials = 1
    assert driver(plan).execute()
    with pytest.raises(SearchError, match="--concurrent must be at most 2"):
        dataclasses.replace(driver(plan), options=ExecutionOptions(concurrency=9)).execute()
    assert status(plan) == "done"


def test_fewer_trials_than_are_begun_are_no_contradiction(plan: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    assert driver(plan).execute()
    plan.trials = 2
    assert driver(plan).execute()
    capsys.readouterr()
    assert report.main([plan.folder]) == 0
    assert "4 of 4 trials" in capsys.readouterr().out


def test_a_full_results_folder_is_waited_for(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every third append fails, as on a full disk."""
    calls = Counter[str]()
    append = jsonlines.append

    def full_now_and_then(path: Path, *lines: dict[str, Any]) -> None:
        calls["all"] += 1
        if calls["all"] % 3 == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        append(path, *lines)

    monkeypatch.setattr(jsonlines, "append", full_now_and_then)
    monkeypatch.setattr("tuner.run.retry._AGAIN_SECONDS", 0.01)
    said: list[str] = []
    monkeypatch.setattr("tuner.driver.SearchDriver._say", lambda self, text: said.append(text))
    driver(plan).execute()
    lines = epochs_in(RunFolder(Path(plan.folder)).epochs)
    assert max(Counter((line["key"], line["epoch"]) for line in lines).values()) == 1
    assert len({line["key"] for line in lines}) == 4
    assert any("cannot be written to: No space left on device" in text for text in said)
    assert any("can be written to again" in text for text in said)


def test_a_folder_that_is_full_when_a_search_begins_or_ends_is_waited_for(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each status and the finalists' table, which are written once each, fail at first."""
    refused = Counter[str]()
    write_json = jsonlines.write_json

    def full_at_first(path: Path, content: Any) -> None:
        what = f"{path.name} {content.get('status')}"
        refused[what] += 1
        if path.name in ("run.json", "finalists.json") and refused[what] == 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        write_json(path, content)

    plan.trials, plan.finalists, plan.finalist_seeds = 2, 1, 1
    prepared = driver(plan)
    monkeypatch.setattr(jsonlines, "write_json", full_at_first)
    monkeypatch.setattr("tuner.run.retry._AGAIN_SECONDS", 0.01)
    assert prepared.execute()
    seen = {what for what, times in refused.items() if times == 2}
    assert seen == {"run.json searching", "run.json finalists", "run.json done", "finalists.json None"}, refused
