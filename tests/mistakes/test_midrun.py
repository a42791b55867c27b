"""Commands that are stopped in mid-run, or lose something there: exit status, one line, and what is still there."""

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.mistakes.stage import copy_of, snapshot

MANY = 400
"""Copies of each of the 64 crystals, so that a build or a prediction is still at work when it is stopped."""
SECONDS = 120
"""After which a test gives up waiting for a process."""
LONG = "[architecture]\nnum_convs = 1\natom_dim = 8\nhead_dim = 8\n[train]\nepochs = 10000\nbatch_size = 16\n"
TRAIN = "train my.lmdb -o new --config long.toml --tasks band_gap --device cpu"
SEARCH = (
    "search --space mine.toml --store my.lmdb --tasks band_gap --trials 2 --max-epochs 4000 --no-asha --finalists 0 "
    "--name new --device cpu"
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.stops,
    pytest.mark.skipif(
        not Path("/proc/self/maps").exists(), reason="looks into /proc to know what a process has begun"
    ),
]


class Running:
    """A command in a process of its own, with its output in files that can be read while it runs."""

    def __init__(self, typed: str, folder: Path, stdout: int | None = None) -> None:
        """Start it."""
        self.folder = folder
        self._out, self._err = folder.parent / "out.txt", folder.parent / "err.txt"
        with self._out.open("w") as out, self._err.open("w") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-u", "-m", "tuner.cli", *typed.split()],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=out if stdout is None else stdout,
                stderr=err,
                env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"},
                start_new_session=True,
            )

    @property
    def said(self) -> str:
        """On stdout."""
        return self._out.read_text()

    @property
    def errors(self) -> str:
        """On stderr."""
        return self._err.read_text()

    def until(self, condition: Callable[[], bool]) -> "Running":
        """Wait for something to be so while the command runs."""
        end = time.monotonic() + SECONDS
        while not condition():
            assert self.process.poll() is None, f"it ended too early, with {self.process.returncode}:\n{self.errors}"
            assert time.monotonic() < end, f"it never came so far:\n{self.said}\n{self.errors}"
            time.sleep(0.01)
        return self

    def until_loaded(self, name: str) -> "Running":
        """Wait until the process has mapped a file of this name into its memory."""
        return self.until(lambda: name in self._maps())

    def until_said(self, text: str) -> "Running":
        """Wait for a text on stdout."""
        return self.until(lambda: text in self.said)

    def signal(self, number: int) -> "Running":
        """Send a signal to the command alone."""
        self.process.send_signal(number)
        return self

    def ended(self) -> int:
        """Its exit status, once it has ended by itself."""
        return self.process.wait(SECONDS)

    def _maps(self) -> str:
        try:
            return Path(f"/proc/{self.process.pid}/maps").read_text()
        except OSError:
            return ""

    def children(self) -> list[int]:
        """Processes of its session that still live."""
        found = []
        for entry in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                fields = entry.read_text().rpartition(")")[2].split()
                if (
                    int(fields[3]) == self.process.pid
                    and fields[0] != "Z"
                    and entry.parent.name != str(self.process.pid)
                ):
                    found.append(int(entry.parent.name))
        return found


@contextmanager
def running(typed: str, folder: Path, stdout: int | None = None) -> Iterator[Running]:
    """A command that is killed with all its children when the test is over."""
    command = Running(typed, folder, stdout)
    try:
        yield command
    finally:
        for process in [command.process.pid, *command.children()]:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        command.process.wait()


@pytest.fixture
def here(stage: Path, tmp_path: Path) -> Path:
    """A copy of the stage with a large table of crystals, and a training that takes long."""
    folder = copy_of(stage, tmp_path / "stage")
    (folder / "long.toml").write_text(LONG)
    return folder


@pytest.fixture(scope="session")
def many(stage: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CSV of 25,600 crystals."""
    path = tmp_path_factory.mktemp("many") / "many.csv"
    with (stage / "crystals.csv").open(newline="") as lines:
        header, *rows = csv.reader(lines)
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(header)
        for i in range(MANY):
            table.writerows([f"{row[0]}-{i}", *row[1:]] for row in rows)
    return path


@dataclass(frozen=True, kw_only=True, slots=True)
class Stop:
    """A command, the moment at which it is stopped, and how it answers."""

    what: str
    typed: str
    when: Callable[[Running], object]
    says: str
    """Part of the line."""
    number: int = signal.SIGINT
    may_make: tuple[str, ...] = ()


def _built_some(command: Running) -> object:
    partial = command.folder / "new.lmdb.partial"
    return command.until(lambda: partial.exists() and partial.stat().st_size > 200_000)


def _predicted_some(command: Running) -> object:
    partial = command.folder / "keep.csv.partial"
    return command.until(lambda: partial.exists() and partial.stat().st_size > 1000)


def _first_epoch(command: Running) -> object:
    return command.until_said("epoch    1/")


def _torch(command: Running) -> object:
    return command.until_loaded("libtorch_cpu")


def _numpy(command: Running) -> object:
    return command.until_loaded("_multiarray_umath")


def _ray_starts(command: Running) -> object:
    return command.until(lambda: bool(command.children()))


def _trial_runs(command: Running) -> object:
    epochs = command.folder / "runs" / "new" / "epochs.jsonl"
    return command.until(lambda: epochs.exists() and epochs.stat().st_size > 1000)


STOPS = [
    Stop(
        what="build",
        typed="build many.csv new.lmdb",
        when=_built_some,
        says="run the command again to go on",
        may_make=("new.lmdb.partial",),
    ),
    Stop(
        what="build by a batch system",
        typed="build many.csv new.lmdb",
        when=_built_some,
        number=signal.SIGTERM,
        says="run the command again to go on",
        may_make=("new.lmdb.partial",),
    ),
    Stop(
        what="build while it loads",
        typed="build many.csv new.lmdb",
        when=_numpy,
        says="",
        may_make=("new.lmdb.partial",),
    ),
    Stop(what="train while it loads", typed=TRAIN, when=_torch, says="", may_make=("new",)),
    Stop(what="train", typed=TRAIN, when=_first_epoch, says="the same command goes on", may_make=("new",)),
    Stop(
        what="train by a batch system",
        typed=TRAIN,
        when=_first_epoch,
        number=signal.SIGTERM,
        says="the same command goes on",
        may_make=("new",),
    ),
    Stop(what="predict while it loads", typed="predict model many.csv -o keep.csv", when=_torch, says=""),
    Stop(
        what="predict",
        typed="predict model many.csv -o keep.csv --device cpu",
        when=_predicted_some,
        says="keep.csv.partial, the same command goes on",
        may_make=("keep.csv.partial", "keep.csv.partial.journal"),
    ),
    Stop(
        what="predict by a batch system",
        typed="predict model many.csv -o keep.csv --device cpu",
        when=_predicted_some,
        number=signal.SIGTERM,
        says="keep.csv.partial, the same command goes on",
        may_make=("keep.csv.partial", "keep.csv.partial.journal"),
    ),
    Stop(what="evaluate while it loads", typed="evaluate model my.lmdb -o keep.csv", when=_torch, says=""),
    Stop(what="info while it loads", typed="info my.lmdb --verify", when=_numpy, says=""),
    Stop(what="report while it loads", typed="report runs/done", when=_numpy, says="", may_make=("runs/done/report",)),
    Stop(what="export while it loads", typed="export runs/done -o new", when=_torch, says=""),
    Stop(what="export onto an export", typed="export runs/done -o best", when=_torch, says=""),
    Stop(what="search while it loads", typed=SEARCH, when=_torch, says="", may_make=("runs/new",)),
    Stop(what="search while Ray starts", typed=SEARCH, when=_ray_starts, says="", may_make=("runs/new",)),
    Stop(what="search", typed=SEARCH, when=_trial_runs, says="--resume --name new", may_make=("runs/new",)),
    Stop(
        what="search by a batch system",
        typed=SEARCH,
        when=_trial_runs,
        number=signal.SIGTERM,
        says="--resume --name new",
        may_make=("runs/new",),
    ),
]


@pytest.mark.parametrize("stop", STOPS, ids=[stop.what for stop in STOPS])
def test_a_command_that_is_stopped_says_so_and_loses_nothing(stop: Stop, here: Path, many: Path) -> None:
    (here / "keep.csv").write_text("what was here before\n")
    os.link(many, here / "many.csv")
    before = snapshot(here)
    with running(stop.typed, here) as command:
        stop.when(command)
        status = command.signal(stop.number).ended()
        left = command.children()
        shown = f"status {status}\n{command.said}\n{command.errors}"
    assert status == 128 + stop.number, shown
    told = [line for line in command.errors.splitlines() if "interrupted" in line.lower()]
    assert "Traceback" not in shown, shown
    assert "Exception ignored" not in shown, shown
    assert len(told) == 1 or "Interrupted" in command.said, shown
    assert stop.says in shown
    after = snapshot(here)
    changed = [name for name in before.keys() | after.keys() if before.get(name) != after.get(name)]
    others = [name for name in changed if not any(name == m or name.startswith(m + "/") for m in stop.may_make)]
    assert others == [], shown
    assert left == [], "processes outlive the command"


def test_a_build_that_was_killed_goes_on_where_it_was(here: Path, many: Path) -> None:
    with running(f"build {many} new.lmdb", here) as command:
        _built_some(command)
        command.signal(signal.SIGKILL).ended()
    assert not (here / "new.lmdb").exists()
    with running(f"build {many} new.lmdb", here) as command:
        assert command.ended() == 0, command.errors
    built = int(command.said.partition(" built now")[0].rpartition("(")[2].replace(",", ""))
    assert 0 < built < 64 * MANY


def test_a_prediction_that_was_killed_leaves_the_old_table(here: Path, many: Path) -> None:
    (here / "keep.csv").write_text("what was here before\n")
    with running(f"predict model {many} -o keep.csv --device cpu", here) as command:
        _predicted_some(command)
        command.signal(signal.SIGKILL).ended()
    assert (here / "keep.csv").read_text() == "what was here before\n"
    with running("predict model cifs -o keep.csv --device cpu", here) as command:
        assert command.ended() == 0, command.errors
    assert "is of another set of crystals: starting anew" in command.errors
    assert len((here / "keep.csv").read_text().splitlines()) == 4
    assert [path.name for path in here.glob("keep.csv.*")] == []


def test_a_prediction_that_was_killed_goes_on_where_it_was(here: Path, many: Path) -> None:
    with running(f"predict model {many} -o keep.csv --device cpu", here) as command:
        _predicted_some(command)
        command.signal(signal.SIGKILL).ended()
    with running(f"predict model {many} -o keep.csv --device cpu", here) as command:
        assert command.ended() == 0, command.errors
    assert "going on from keep.csv.partial, which has" in command.errors
    assert len((here / "keep.csv").read_text().splitlines()) == 1 + 64 * MANY


def test_a_training_that_was_killed_is_not_taken_for_another_one(here: Path) -> None:
    with running(TRAIN, here) as command:
        _first_epoch(command)
        command.signal(signal.SIGKILL).ended()
    with running(f"{TRAIN} --seed 7", here) as command:
        assert command.ended() == 2, command.said
    (line,) = command.errors.splitlines()
    assert line.startswith("error: ")
    assert "seed" in line
    with running(TRAIN, here) as command:
        command.until_said("going on after epoch").signal(signal.SIGKILL)


def test_a_search_that_was_killed_goes_on_and_ends(here: Path) -> None:
    with running(SEARCH, here) as command:
        _trial_runs(command)
        command.signal(signal.SIGKILL).ended()
        log = (here / "runs" / "new" / "epochs.jsonl").read_bytes()
    assert log
    with running("report runs/new", here) as command:
        assert command.ended() == 0, command.errors
    assert "no process is at it" in command.said
    with running("search --resume --name new", here) as command:
        command.until(lambda: (here / "runs" / "new" / "epochs.jsonl").stat().st_size > len(log))
        assert command.signal(signal.SIGINT).ended() == 130
    assert (here / "runs" / "new" / "epochs.jsonl").read_bytes().startswith(log.rpartition(b"\n")[0])


def test_a_search_says_the_truth_when_its_folder_is_deleted(here: Path) -> None:
    with running(SEARCH, here) as command:
        _trial_runs(command)
        shutil.rmtree(here / "runs" / "new", ignore_errors=True)
        shutil.rmtree(here / "runs" / "new", ignore_errors=True)
        command.signal(signal.SIGINT)
        assert command.ended() == 130
    assert "othing is lost" not in command.said + command.errors, "everything is lost"
    assert "Traceback" not in command.said + command.errors


@pytest.mark.parametrize("typed", ["info my.lmdb", "evaluate model my.lmdb --device cpu", "report runs/done", "--help"])
def test_a_reader_that_goes_away_is_no_mistake(typed: str, here: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        with running(typed, here, stdout=writer) as command:
            assert (command.ended(), command.errors) == (0, "")
    finally:
        os.close(writer)
