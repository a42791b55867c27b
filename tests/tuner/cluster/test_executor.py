"""What the executor gives Tune to do, without starting Ray."""

import itertools
from typing import Any
from unittest.mock import Mock

import pytest
from ray.tune.search import Searcher

from tuner.cluster.executor import _CAPACITY_SECONDS, _Scheduler, _Searcher
from tuner.protocol import TrainingQueue, TrainingSpec

NUMBERS = itertools.count()


def endless_queue() -> Any:
    """Has a training whenever it is asked."""
    specs = (TrainingSpec(key=f"{number:04d}", params={}, seed=0, epochs=1) for number in itertools.count())
    return Mock(spec=TrainingQueue, next_training=lambda: next(specs), saved_state=lambda key: None)


def proposed(searcher: _Searcher) -> int:
    """How many trainings Tune gets when it asks as often as it can."""
    return next(count for count in itertools.count() if searcher.suggest(str(next(NUMBERS))) is None)


def test_tune_gets_as_many_trainings_as_fit_and_one_where_none_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    now, fits = 1000.0, 0
    monkeypatch.setattr("tuner.cluster.executor.time.monotonic", lambda: now)
    searcher = _Searcher(endless_queue(), lambda: fits)
    assert proposed(searcher) == 1, "Tune must have something to wait for"
    fits = 8
    assert proposed(searcher) == 0, "the cluster is not asked at each step of the loop"
    now += _CAPACITY_SECONDS
    assert proposed(searcher) == 7, "all that fit, at once: their processes start side by side"
    searcher.on_trial_complete(next(iter(searcher.specs)))
    assert proposed(searcher) == 1
    now, fits = now + _CAPACITY_SECONDS, 4
    assert proposed(searcher) == 0, "a lost node's trainings count until they are given up"
    for trial in list(searcher.specs)[:5]:
        searcher.on_trial_complete(trial)
    assert proposed(searcher) == 1
    assert len(searcher.specs) == 4


def test_a_queue_without_a_training_is_waited_for_until_it_is_done() -> None:
    queue = Mock(spec=TrainingQueue, next_training=lambda: None, done=Mock(side_effect=[False, True]))
    searcher = _Searcher(queue, None)
    assert [searcher.suggest("a"), searcher.suggest("b")] == [None, Searcher.FINISHED]


def test_the_first_exception_of_the_queue_is_kept_before_tune_makes_it_text() -> None:
    queue = Mock(spec=TrainingQueue, next_training=Mock(side_effect=[ValueError("first"), OSError("second")]))
    searcher = _Searcher(queue, None)
    for raised in (ValueError, OSError):
        with pytest.raises(raised):
            searcher.suggest("a")
    assert str(searcher.error) == "first"


def test_no_trial_whose_process_starts_is_given_a_free_one_instead() -> None:
    scheduler: Any = _Scheduler(_Searcher(endless_queue(), None))
    assert scheduler.choose_trial_to_run(None) is None
