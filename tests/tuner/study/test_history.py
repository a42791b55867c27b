"""What a sampler is shown."""

import random

import pytest

from tests.tuner.study.trials import Trials
from tuner.space.space import Space
from tuner.study import history
from tuner.study.history import BEST_SHOWN, LATEST_SHOWN, History


def test_the_best_the_latest_and_the_running_are_shown_also_after_a_restart(
    table5: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "BEST_SHOWN", 4)
    monkeypatch.setattr(history, "LATEST_SHOWN", 9)
    told = Trials(table5, "random", seed=1)
    known = History(table5)
    numbers = random.Random(3)
    running: list[int] = []
    scores: dict[int, float] = {}
    for _ in range(60):
        number, _ = told.asked()
        running.append(number)
        known.add(told.all[number])
        if len(running) > 5:
            number = running.pop(numbers.randrange(len(running)))
            if number % 7 != 0:
                scores[number] = numbers.random()
                told.report(number, 1, scores[number])
            told.tell(number, "failed" if number % 7 == 0 else "stopped" if number % 2 else "finished")
            known.add(told.all[number])
    finished = sorted((value, number) for number, value in scores.items() if number % 2 == 0)
    expected = sorted({*(number for _, number in finished[:4]), *sorted(scores)[-9:]})
    again = History(table5)
    for trial in told.all:
        again.add(trial)
    for each in (known, again):
        assert [trial.number for trial in each.ended()] == expected
        assert [trial.number for trial in each.running()] == sorted(running)
        assert len(each.tried) == len(known.tried)


def test_all_trials_are_shown_as_long_as_there_are_few() -> None:
    assert BEST_SHOWN >= 25, "Optuna's TPE takes up to 25 trials as the good ones"
    assert LATEST_SHOWN >= 250, "below 250 trials the good ones are a tenth"
