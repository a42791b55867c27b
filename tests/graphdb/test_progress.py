"""Progress: a bar on a terminal, a line every so often elsewhere, nothing when quiet."""

import io

import pytest

from graphdb.progress import Progress, duration_text


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *((0.4, "0 s"), (4.4, "4 s"), (48, "48 s"), (75, "1 min 15 s"), (99.4, "1 min 39 s"), (170, "2 min 50 s")),
        *((1500, "25 min"), (7500, "2 h 5 min"), (8000, "2 h 13 min")),
    ],
)
def test_a_duration_is_told_as_people_do(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def test_off_a_terminal_a_line_with_the_time_left_comes_every_so_often(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 1.0, 14.0, 20.0, 21.0])
    monkeypatch.setattr("graphdb.progress.time.monotonic", lambda: next(clock))
    stream = io.StringIO()
    with Progress("Building graphs", stream=stream) as shown:
        for fraction in (0.0, 0.4, 0.5, 0.6):
            shown.update(fraction, "7 crystals")
    assert stream.getvalue() == "Building graphs: 50 %, 7 crystals, 19 s left\n"


def test_on_a_terminal_there_is_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    with Progress("Building graphs", stream=stream) as shown:
        shown.update(0.5, "7 crystals")
    assert "Building graphs" in stream.getvalue()
    assert "50%" in stream.getvalue()


def test_quiet_shows_nothing() -> None:
    stream = Terminal()
    with Progress("Building graphs", quiet=True, stream=stream) as shown:
        shown.update(1.0, "")
    assert stream.getvalue() == ""
