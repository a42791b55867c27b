"""Ctrl-C: at a convenient moment while trials run, at once while Ray starts, even where Ray hangs in C."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from graphdb.command import Terminated
from tuner.signals import Signals, may_hang

ROOT = Path(__file__).parents[2]
HANGS = """
import ctypes, sys
from graphdb.command import Parser, run
from tuner.signals import may_hang

def hang():
    lock, c = ctypes.create_string_buffer(256), ctypes.CDLL(None)
    told = False
    while True:
        try:
            while True:
                told = told or not print("starting", flush=True)
                c.pthread_mutex_lock(lock)
        except KeyboardInterrupt:
            pass

def execute(arguments):
    with may_hang("nothing was begun", grace=float(sys.argv[1])):
        hang()

sys.exit(run(Parser("x", "x"), execute, []))
"""


@pytest.mark.parametrize(
    ("number", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)], ids=str
)
def test_a_signal_is_kept_for_a_convenient_moment_and_a_second_acts_at_once(
    number: int, raised: type[KeyboardInterrupt]
) -> None:
    signals = Signals()
    steps = []
    with pytest.raises(raised), signals.caught():
        signals.check()
        signal.raise_signal(number)
        steps.append("nothing is half written")
        with pytest.raises(raised):
            signals.check()
        with pytest.raises(raised):
            signal.raise_signal(signal.SIGINT)
    assert steps == ["nothing is half written"]


def test_a_signal_that_python_can_act_on_leaves_the_start_as_an_exception() -> None:
    before = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(before)
    with pytest.raises(KeyboardInterrupt), may_hang("unused"):
        signal.raise_signal(signal.SIGINT)
    assert signal.set_wakeup_fd(before) == before


@pytest.mark.parametrize(
    ("grace", "signals", "statuses"),
    [
        ("0.1", [signal.SIGINT], {130}),
        ("0.1", [signal.SIGTERM], {143}),
        ("1000", [signal.SIGINT, signal.SIGTERM], {130, 143}),
    ],
    ids=["one", "a batch system's", "two"],
)
def test_a_start_that_hangs_in_c_is_ended(grace: str, signals: list[int], statuses: set[int]) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HANGS, grace], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "starting\n"
    for number in signals:
        process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode in statuses
    assert said == "interrupted: nothing was begun\n"
