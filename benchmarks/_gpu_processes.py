"""Several processes on one GPU at a time, for `benchmarks.gpu`."""

import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmarks._report import ROOT


def together(command: Sequence[str], count: int, repeats: int, seconds: float) -> list[float]:
    """Sums over processes that start measuring at the same moment, one for each repeat.

    Args:
        command: says a line when it is ready, and then a figure for each line that it is told.
        count: processes.
        repeats: sums.
        seconds: after which the processes are killed.

    Raises:
        RuntimeError: if a process ends by itself, or is killed.
    """
    workers = [
        subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(count)
    ]
    watch = threading.Timer(seconds, _kill, [workers])
    watch.start()
    try:
        for worker in workers:
            _line_of(worker)  # ready
        sums = []
        for _ in range(repeats):
            for worker in workers:
                assert worker.stdin is not None
                print("go", file=worker.stdin, flush=True)
            sums.append(sum(float(_line_of(worker)) for worker in workers))
        return sums
    finally:
        watch.cancel()
        _kill(workers)
        for worker in workers:
            worker.communicate()


def _kill(workers: "list[subprocess.Popen[str]]") -> None:
    for worker in workers:
        worker.kill()


def _line_of(worker: "subprocess.Popen[str]") -> str:
    assert worker.stdout is not None
    line = worker.stdout.readline()
    if not line:
        raise RuntimeError(f"a training process ended with exit status {worker.wait()}")
    return line


def _start(control: str, log: Path) -> str:
    """Start the server in the background; returns what it says if it does not start."""
    try:
        with open(log, "w", encoding="utf-8") as file:  # a pipe would stay open for as long as the server runs
            status = subprocess.run([control, "-d"], stdout=file, stderr=file, timeout=20, check=False).returncode
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"it does not start: {error}"
    return "" if status == 0 else f"it does not start: {log.read_text(encoding='utf-8').strip()[:200]}"


@contextmanager
def mps() -> Iterator[str]:
    """NVIDIA's server that lets processes share a GPU at a time, for the time of the block; says why not, if not."""
    control = shutil.which("nvidia-cuda-mps-control")
    if control is None:
        yield "nvidia-cuda-mps-control is not there"
        return
    with tempfile.TemporaryDirectory() as folder:
        places = dict.fromkeys(("CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY"), folder)
        before = {name: os.environ.get(name) for name in places}
        os.environ.update(places)
        try:
            yield _start(control, Path(folder) / "start.log")
        finally:
            with suppress(OSError, subprocess.TimeoutExpired):
                subprocess.run([control], input="quit\n", capture_output=True, text=True, timeout=20, check=False)
            for name, value in before.items():
                os.environ.pop(name)
                if value is not None:
                    os.environ[name] = value
