"""The wrapper around all commands, tried in processes of its own: signals, pipes, faults."""

import argparse
import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from graphdb.command import Parser, Terminated, count, did_you_mean, invocation, load, os_error_text, run

PROGRAM = """
import sys
from graphdb.command import Parser, run
from graphdb.errors import CrystuneError

def execute(arguments):
    print("begun", flush=True)
    {body}
    return 0

sys.exit(run(Parser("graphdb.info", "Try the wrapper."), execute, [], interrupted="nothing was lost"))
"""


def start(body: str, repository: Path, *, new_session: bool = False) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(body=body)],
        cwd=repository,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=new_session,
    )


def outcome(body: str, repository: Path, *signals: int) -> tuple[int, str]:
    process = start(body, repository)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    for number in signals:
        process.send_signal(number)
    _, said = process.communicate(timeout=60)
    return process.returncode, said


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ("raise CrystuneError('x must be 1, got 2')", 2, "error: x must be 1, got 2\n"),
        ("open('/nowhere/at/all')", 2, "error: there must be a file or folder /nowhere/at/all, but there is none\n"),
        ("raise MemoryError", 2, "error: there must be more memory for this; take less at a time\n"),
        ("import time; time.sleep(60)", 130, "interrupted: nothing was lost\n"),
    ],
)
def test_what_goes_wrong_is_told_in_one_line(body: str, status: int, said: str, repository: Path) -> None:
    signals = [signal.SIGINT] if status == 130 else []
    assert outcome(body, repository, *signals) == (status, said)


def test_sigterm_ends_a_command_like_ctrl_c_with_its_own_status(repository: Path) -> None:
    assert outcome("import time; time.sleep(60)", repository, signal.SIGTERM) == (
        143,
        "interrupted: nothing was lost\n",
    )


def test_a_fault_of_ours_is_one_line_that_names_the_file_with_the_traceback(repository: Path) -> None:
    status, said = outcome("{}['absent']", repository)
    assert status == 70
    assert said.startswith("error: a fault in crystune: KeyError: 'absent'; please report it with the traceback")
    assert said.count("\n") == 1
    file = Path(said.strip().rpartition(" ")[2])
    assert "KeyError: 'absent'" in file.read_text()
    file.unlink()


def test_a_value_error_of_a_library_is_a_fault_and_one_of_ours_is_a_mistake(repository: Path) -> None:
    status, said = outcome("int('many')", repository)  # raised in this program, which is not of the packages
    assert status == 70
    Path(said.strip().rpartition(" ")[2]).unlink()
    ours = "from graphdb.split import split_by_id; split_by_id(['a'], (0.5, 0.6, 0.1))"
    status, said = outcome(ours, repository)
    assert status == 2
    assert said.startswith("error: fractions must be shares")


def test_a_second_ctrl_c_ends_a_process_that_hangs_in_a_library(repository: Path) -> None:
    # A lock that nobody lets go is waited for in C, with Python's handlers put off for ever (as while Ray starts).
    hang = "import signal, time; signal.signal(signal.SIGINT, lambda *_: time.sleep(60)); time.sleep(60)"
    with start(hang, repository) as process:
        assert process.stdout is not None
        process.stdout.readline()
        while process.poll() is None:
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.5)
        assert process.returncode == 130


def test_a_reader_that_has_seen_enough_is_no_error(repository: Path) -> None:
    with start("[print('x' * 1000) for _ in range(100_000)]", repository) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""
        assert process.wait(60) == 0


def test_a_broken_pipe_that_is_not_the_output_is_an_error(repository: Path) -> None:
    body = "import os; r, w = os.pipe(); os.close(r); os.write(w, b'x')"
    assert outcome(body, repository) == (2, "error: the operating system: broken pipe\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full (Linux)")
def test_a_full_disk_behind_the_output_is_an_error(repository: Path) -> None:
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-c", PROGRAM.format(body="pass")]
        done = subprocess.run(command, cwd=repository, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: the output: no space left on device; make room")


def test_help_has_examples_and_version_names_the_packages(repository: Path) -> None:
    def output(*arguments: str) -> str:
        command = [sys.executable, "-m", "graphdb.info", *arguments]
        return subprocess.run(command, cwd=repository, capture_output=True, text=True, check=True).stdout

    assert "examples:\n  python -m graphdb.info my.lmdb\n" in output("--help")
    assert output("--version").startswith("crystune ")
    assert "torch " in output("--version")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "error: the following arguments are required: STORE; see tool --help"),
        (["s", "t"], "error: there is one argument too many: 't'; see tool --help"),
        (["s", "--tirals=3"], "error: there is no option --tirals; did you mean '--trials'?; see tool --help"),
        (
            ["s", "--sampler", "tpee"],
            "error: argument --sampler: must be one of tpe, grid, got 'tpee'; did you mean 'tpe'?; see tool --help",
        ),
    ],
)
def test_a_wrong_argument_is_answered_in_one_line(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = Parser("graphdb.info", "Try it.", prog="tool")
    parser.add_argument("store", metavar="STORE")
    parser.add_argument("--trials", type=int)
    parser.add_argument("--sampler", choices=("tpe", "grid"))
    with pytest.raises(SystemExit, match="2"):
        parser.parse_args(arguments)
    assert capsys.readouterr().err == said + "\n"


def test_a_command_is_named_as_it_was_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/crystune", "import-cgcnn"])
    assert invocation("model.import_cgcnn") == "crystune import-cgcnn"
    monkeypatch.setattr(sys, "argv", ["/somewhere/model/import_cgcnn.py"])
    assert invocation("model.import_cgcnn") == "python -m model.import_cgcnn"


def test_counts_and_near_names() -> None:
    assert [count(1, "trial"), count(2, "trial"), count(1200, "CSV file")] == ["1 trial", "2 trials", "1,200 CSV files"]
    assert did_you_mean("band_gab", ["band_gap", "energy"]) == "; did you mean 'band_gap'?"
    assert did_you_mean("BAND_GAP", ["energy", "band_gap"]) == "; did you mean 'band_gap'?"
    assert did_you_mean("xyz", ["band_gap"]) == ""


def test_errors_of_the_system_name_the_file() -> None:
    assert os_error_text(FileNotFoundError(2, os.strerror(2), "a.cif")).startswith("there must be a file")
    assert os_error_text(PermissionError(13, os.strerror(13), "a.cif")) == (
        "a.cif: permission denied; choose another place, or change its permissions"
    )


def test_ctrl_c_of_a_terminal_reaches_forked_children_and_counts_once(repository: Path) -> None:
    body = (
        "import os, time, signal\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        "        signal.signal(signal.SIGINT, lambda *_: None); print('ready', flush=True)\n"
        "        time.sleep(1); os._exit(0)\n"
        "    try:\n"
        "        time.sleep(60)\n"
        "    finally:\n"
        "        os.waitpid(child, 0)"
    )
    process = start(body, repository, new_session=True)
    assert process.stdout is not None
    assert [process.stdout.readline(), process.stdout.readline()] == ["begun\n", "ready\n"]
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (130, "interrupted: nothing was lost\n")


@pytest.mark.parametrize(("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)])
def test_a_signal_while_packages_load_waits_until_they_are_loaded(
    number: signal.Signals, error: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"loaded_with_{number.name.lower()}"
    (tmp_path / f"{name}.py").write_text(f"import os\nos.kill(os.getpid(), {int(number)})\nwhole = True\n")
    monkeypatch.syspath_prepend(tmp_path)
    parser = Parser("graphdb.info", "Try it.", prog="tool")
    raised: list[type[BaseException]] = []

    def execute(_: object) -> int:
        try:
            load(name)
        except KeyboardInterrupt as found:
            raised.append(type(found))
            raise
        return 0

    assert run(parser, execute, []) == 128 + number
    assert raised == [error]
    assert sys.modules[name].whole


def test_an_interrupt_of_which_a_library_makes_another_error_is_an_interrupt(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def numpy_while_it_loads(arguments: argparse.Namespace) -> int:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt as error:
            other = ImportError("IMPORTANT: PLEASE READ THIS")
            for note in notes:
                other.add_note(note)
            raise other from error
        return 0

    notes: list[str] = []
    for told in ("nothing was done", "half is done"):
        parser = Parser("graphdb.info", "Does nothing.")
        assert run(parser, numpy_while_it_loads, [], interrupted="nothing was done") == 130
        assert capsys.readouterr().err == f"interrupted: {told}\n"
        notes.append("half is done")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
