"""All trainings at a glance."""

from tuner.run.log import State, Training
from tuner.trials.board import Board


def training(key: str, state: State, score: float | None) -> Training:
    return Training(key=key, state=state, best_score=score)


def test_ranks_by_score_and_puts_last_what_nobody_can_use() -> None:
    trainings = [
        training("0000", "finished", 0.4),
        training("0001", "diverged", 0.1),
        training("0002", "running", 0.3),
        training("0003", "failed", 0.2),
        training("0004", "waiting", None),
        training("0005", "stopped", 0.3),
    ]
    board = Board(title="t", planned=8, max_epochs=3, trainings={each.key: each for each in trainings})
    assert [each.key for each in board.ranked()] == ["0002", "0005", "0000", "0001", "0003"]
    best = board.best()
    assert best is not None
    assert best.key == "0002"
    assert board.num_ended == 4
    assert board.counts() == {"finished": 1, "diverged": 1, "running": 1, "failed": 1, "waiting": 1, "stopped": 1}


def test_an_empty_board_has_no_best() -> None:
    board = Board(title="t", planned=2, max_epochs=3)
    assert board.best() is None
    assert board.ranked() == []
    assert board.num_ended == 0
