"""The trials of a search: restored from the log alone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.tuner.drive import Plan, search_in_process
from tests.tuner.study.test_dashboard import shown
from tests.tuner.trials.test_bookkeeper import begin, exception, report
from tuner.run import jsonlines
from tuner.run.run_folder import RunFolder
from tuner.space.space import Space
from tuner.study.samplers import SAMPLERS
from tuner.study.study import Study
from tuner.trials.restore import read_trials
from tuner.trials.search import SearchQueue
from tuner.trials.stopping.none import NoStopping


def opened(folder: Path, space: Space, trials: int, *, sampler: str = "random", **more: Any) -> SearchQueue:
    run = RunFolder(folder / "run")
    run.path.mkdir(exist_ok=True)
    return SearchQueue(
        run,
        Study(space, sampler=sampler, seed=1),
        rule=NoStopping(max_epochs=3),
        num_trials=trials,
        max_epochs=3,
        seed=1,
        notice=lambda queue, what, training: None,
        **more,
    )


def play(queue: SearchQueue, unlucky: str = "none") -> None:
    while (spec := queue.next_training()) is not None:
        if spec.key == unlucky:
            queue.on_failure(spec.key, exception())
            continue
        for epoch in (1, 2, 3):
            queue.on_result(spec.key, report(epoch))
    assert queue.done()


@pytest.mark.parametrize("lost", ["nothing", "the journal", "half a line of the log", "the last epochs"])
def test_a_restarted_search_is_what_the_whole_one_would_have_been(tmp_path: Path, lost: str) -> None:
    whole = Plan(folder=str(tmp_path / "whole"), trials=20)
    search_in_process(whole)
    plan = Plan(folder=str(tmp_path / "run"), trials=12)  # TPE begins with the tenth that has ended
    search_in_process(plan)
    run = RunFolder(Path(plan.folder))
    if lost == "the journal":  # nothing is read from it
        run.journal.unlink()
    elif lost == "half a line of the log":
        run.epochs.write_bytes(run.epochs.read_bytes() + b'{"key": "0004", "ep')
    elif lost == "the last epochs":
        lines = run.epochs.read_bytes().splitlines(keepends=True)
        run.epochs.write_bytes(b"".join(lines[:-2]))
    plan.trials = 20
    queue = search_in_process(plan)
    mine, theirs = (read_trials(folder) for folder in (run, RunFolder(Path(whole.folder))))
    for trial in (*mine.values(), *theirs.values()):
        trial.started = trial.updated = 0.0
    assert mine == theirs
    assert queue.board.trainings.keys() == mine.keys()


def test_what_is_read_of_a_run_is_what_its_own_process_knows(tmp_path: Path) -> None:
    plan = Plan(folder=str(tmp_path / "run"), trials=5)
    queue = search_in_process(plan)
    assert read_trials(RunFolder(Path(plan.folder))) == queue.board.trainings


def test_trials_begun_before_a_kill_come_first_though_nothing_was_trained(tmp_path: Path, table5: Space) -> None:
    before = opened(tmp_path, table5, 5)
    begun = [begin(before), begin(before)]
    after = opened(tmp_path, table5, 5)
    again = [begin(after) for _ in range(3)]
    assert [spec.key for spec in again] == ["0000", "0001", "0002"]
    assert [spec.params for spec in again[:2]] == [spec.params for spec in begun]


def test_a_log_that_is_gone_is_not_begun_anew(tmp_path: Path, table5: Space) -> None:
    queue = opened(tmp_path, table5, 5)
    begin(queue)
    (tmp_path / "run" / "epochs.jsonl").rename(tmp_path / "elsewhere")
    with pytest.raises(FileNotFoundError, match=r"epochs\.jsonl"):
        queue.next_training()
    (tmp_path / "elsewhere").rename(tmp_path / "run" / "epochs.jsonl")
    assert begin(queue).key == "0001"
    assert len(jsonlines.read(tmp_path / "run" / "epochs.jsonl")) == 2


def test_failed_trials_are_run_again_on_request_and_only_once(tmp_path: Path, table5: Space) -> None:
    queue = opened(tmp_path, table5, 2)
    play(queue, unlucky="0001")
    assert [training.state for training in queue.board.trainings.values()] == ["finished", "failed"]
    assert read_trials(RunFolder(tmp_path / "run"))["0001"].reason == "RuntimeError: no luck"
    assert opened(tmp_path, table5, 2).next_training() is None
    opened(tmp_path, table5, 2, retry_failed=True)  # and killed before any of them was handed out
    for retry_failed in (False, True):
        queue = opened(tmp_path, table5, 2, retry_failed=retry_failed)
        play(queue)
        states = {key: training.state for key, training in queue.board.trainings.items()}
        assert states == {"0000": "finished", "0001": "failed", "0002": "finished"}
    assert queue.board.trainings["0002"].params == queue.board.trainings["0001"].params


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_search_ends_with_a_sentence_when_every_point_was_tried(
    tmp_path: Path, make_space: Callable[..., Space], sampler: str
) -> None:
    space = make_space("[parameters]\natom_dim = [16, 32, 64]\n[baseline]\natom_dim = 32")

    def played(trials: int) -> SearchQueue:
        queue = opened(tmp_path, space, trials, sampler=sampler)
        play(queue)
        return queue

    assert played(2).exhausted is None
    assert played(3).exhausted is None, "all that was asked for"
    for _ in range(2):  # the second goes on with what is done
        queue = played(6)
        assert queue.exhausted == "all 3 points of mine.toml have been tried"
        assert len(queue.board.trainings) == queue.board.planned == queue.board.num_ended == 3
        assert sorted(training.params["atom_dim"] for training in queue.board.trainings.values()) == [16, 32, 64]


def test_the_journal_shows_trials_that_report_in_any_order(tmp_path: Path, table5: Space) -> None:
    queue = opened(tmp_path, table5, 3)
    specs = [begin(queue) for _ in range(3)]
    for spec in reversed(specs):
        queue.on_result(spec.key, report(1, 0.1 * (1 + int(spec.key))))
    queue.flush()
    curves = [trial.intermediate_values for trial in shown(tmp_path / "run" / "study.journal")]
    assert curves == [{1: 0.1}, {1: 0.2}, {1: pytest.approx(0.3)}]
