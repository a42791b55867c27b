"""What the user sees while a search runs."""

import io

import pytest
from rich.console import Console

from tuner.report.live import Display, render, summary_line, time_left, training_line
from tuner.run.log import State, Training
from tuner.trials.board import Board

UNITS = {"formation_energy_per_atom": "eV/atom", "band_gap": "eV", "fermi_energy": "eV"}


def make_board() -> Board:
    board = Board(title="search", planned=40, max_epochs=100, epochs_now=321, crystals_now=7_000_000)
    states: list[State] = ["finished", "stopped", "stopped", "diverged", "failed", "running", "running", "waiting"]
    for number, state in enumerate(states):
        board.trainings[f"{number:04d}"] = Training(
            key=f"{number:04d}",
            params={"num_convs": 3, "atom_dim": 128, "learning_rate": 0.001, "loss_weight.a": 1, "loss_weight.b": 7},
            state=state,
            epoch=10 * number + 3,
            best_epoch=2,
            best_score=0.3 + number / 100,
            best_metrics={task: {"mae": 0.123456} for task in UNITS},
            reason="RuntimeError: no luck" if state == "failed" else "",
        )
    return board


def text_of(width: int) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(render(make_board(), UNITS, 125.0, 4000.0, width))
    output = console.file
    assert isinstance(output, io.StringIO)
    return output.getvalue()


@pytest.mark.parametrize("width", [40, 80, 120])
def test_the_table_fits_the_terminal(width: int) -> None:
    text = text_of(width)
    assert max(len(line.rstrip()) for line in text.splitlines()) <= width
    assert len(text.splitlines()) <= 20
    joined = " ".join(text.split())
    for part in (
        "5 of 40 ended",
        "2 running",
        "1 waiting",
        "2 stopped",
        "1 done",
        "1 diverged",
        "1 failed",
        "0.3000",
        "0.123 eV",
    ):
        assert part in joined, part
    assert "1 h 6 min left" in joined
    assert "crystals/s" in joined
    assert "0005 53/100 0.3500" in joined


def test_parameters_are_shown_where_there_is_room() -> None:
    assert "loss_weight=1/7" in text_of(120)
    assert "num_convs" not in text_of(40)


def test_a_failed_trial_says_why() -> None:
    board = make_board()
    assert training_line(board, board.trainings["0004"], UNITS).endswith(
        "0004 failed after 43 epochs: RuntimeError: no luck"
    )


def test_the_best_is_never_a_diverged_or_failed_trial() -> None:
    board = make_board()
    board.trainings["0003"].best_score = 0.01
    best = board.best()
    assert best is not None
    assert best.key == "0000"
    assert "best score 0.3000 (0000)" in summary_line(board, 10.0, None)


def test_time_left_is_unknown_before_the_first_trial_ends() -> None:
    board = Board(title="search", planned=4, max_epochs=10, epochs_now=3)
    board.trainings["0000"] = Training(key="0000", params={}, state="running", epoch=3)
    assert time_left(board, 10.0) is None


def test_without_a_terminal_there_is_a_line_per_trial_and_no_control_code() -> None:
    board = make_board()
    console = Console(file=io.StringIO(), width=80, force_terminal=False)
    with Display(board, UNITS, console) as display:
        display.tick()
        display.notice("ended", board.trainings["0001"])
        display.notice("error", board.trainings["0004"])
    output = console.file
    assert isinstance(output, io.StringIO)
    lines = output.getvalue().splitlines()
    assert len(lines) == 2
    assert "\x1b" not in output.getvalue()
    assert lines[0].startswith("[5/40] 0001 stopped after 13 epochs: score 0.3100 at epoch 2")
    assert lines[1].startswith("search: 2 running, 1 waiting, 2 stopped")
