"""On the head: keeps one search running while nobody is logged in, and exports the best model when it is done.

Started by `tuner.remote.server`. A driver that was killed (by the kernel for memory, by kill -9) is started again with
--resume; one that ended by itself, for what the user has to fix or after an interruption, is not.
"""

import argparse
import contextlib
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from graphdb.command import Parser, run
from tuner.errors import SearchError
from tuner.flags import RESUME_COMMAND
from tuner.remote.job import Job
from tuner.run.settings import parse_duration

MOST_RESTARTS = 5  # in the window; then something is wrong that a restart does not fix
_WINDOW = 3600.0
_PAUSE = 5.0
_STOP_SECONDS = 60.0
_OUTCOMES = {0: "done", 2: "failed", 130: "stopped", 143: "stopped"}


class Supervisor:
    """Runs the driver of one job again and again until it has ended by itself."""

    def __init__(self, job: Job, held: int) -> None:
        """Take over a job; `held` is the file descriptor of its lock, which the driver inherits."""
        self._job = job
        self._held = held
        self._driver: subprocess.Popen[bytes] | None = None
        self._interrupted: subprocess.Popen[bytes] | None = None
        self._kill_at = math.inf

    def interrupt(self, signum: int, frame: Any) -> None:
        """Pass an order to stop on to the driver, as Ctrl-C would."""
        self._kill_at = min(self._kill_at, time.monotonic() + _STOP_SECONDS)
        self._interrupt_driver()

    def _interrupt_driver(self) -> None:
        """Once: a second signal would end it at once, in the midst of its last upload."""
        driver = self._driver
        if driver is not None and driver is not self._interrupted and driver.poll() is None:
            self._interrupted = driver
            driver.send_signal(signal.SIGINT)

    def _stopping(self) -> bool:
        return self._kill_at < math.inf

    def keep(self, *, resume: bool) -> int:
        """Run the search to its end; returns the exit status of the last driver."""
        self._job.write(supervisor=os.getpid())
        flags = self._job.read()["now"]
        budget = flags.get("--time-budget")
        deadline = None if budget is None else time.monotonic() + parse_duration(budget)
        restarts: list[float] = []
        while True:
            code = self._run(driver_arguments(self._job, flags, resume=resume))
            if code in _OUTCOMES or self._stopping():
                break
            what = f"killed by signal {-code}" if code < 0 else f"ended with exit status {code}"
            restarts = [moment for moment in restarts if moment > time.monotonic() - _WINDOW] + [time.monotonic()]
            if len(restarts) > MOST_RESTARTS:
                self._say(f"the search was {what} for the {len(restarts)}th time within an hour; it is left as it is")
                break
            number = f"restart {len(restarts)} of {MOST_RESTARTS} an hour"
            self._say(f"the search was {what}; it goes on from disk ({number})")
            self._job.write(restarts=int(self._job.read().get("restarts", 0)) + 1)
            time.sleep(_PAUSE)
            if self._stopping():
                break
            flags = {name: value for name, value in flags.items() if name != "--retry-failed"}
            resume = resume or self._job.run_folder().exists()
            if deadline is not None:
                flags["--time-budget"] = f"{max(1.0, deadline - time.monotonic()):.0f}s"
        if code == 0:
            self._export()
        elif code not in _OUTCOMES:
            forget_requests()
        ended = "stopped" if self._stopping() and code != 0 else _OUTCOMES.get(code, "failed")
        self._job.write(ended=ended, code=code)
        return code

    def _run(self, arguments: list[str]) -> int:
        self._driver = subprocess.Popen(
            [sys.executable, "-u", "-m", *arguments],
            stdin=subprocess.DEVNULL,
            pass_fds=[self._held],
            env={**os.environ, RESUME_COMMAND: self._job.resume_command()},
        )
        self._job.write(driver=self._driver.pid)
        if self._stopping():  # The order came before the driver was there.
            self._interrupt_driver()
        while True:
            try:
                return self._driver.wait(timeout=1.0)
            except subprocess.TimeoutExpired:
                if time.monotonic() > self._kill_at:
                    self._say(f"the search did not end within {_STOP_SECONDS:.0f} s of being interrupted; it is killed")
                    self._driver.kill()

    def _export(self) -> None:
        self._say("the best model is exported")
        self._run(["tuner.export", str(self._job.run_folder().path), "-o", str(self._job.export), "--device", "cpu"])

    def _say(self, text: str) -> None:
        print(f"[{time.strftime('%Y-%m-%d %H:%M:%S')}] {text}", flush=True)


def forget_requests() -> None:
    """Take back what a driver that was killed had asked the autoscaler for; else its nodes would stay for ever."""
    from tuner.cluster.session import Cluster

    with contextlib.suppress(SearchError), Cluster("auto") as cluster:
        cluster.ask_for_nothing()


def driver_arguments(job: Job, flags: Mapping[str, str | None], *, resume: bool) -> list[str]:
    """What `python -m` runs."""
    whole = {**flags, "--address": "auto", "--name": job.name, "--runs": job.runs(flags)}
    words = [word for name, value in whole.items() for word in ((name,) if value is None else (f"{name}={value}",))]
    return ["tuner.search", *words, *(["--resume"] if resume else [])]


def main(argv: Sequence[str] | None = None) -> int:
    """Keep the job that `tuner.remote.server` names."""
    parser = Parser("tuner.remote.supervisor", "Keeps a search running; started by tuner.remote.server.")
    parser.add_argument("name")
    parser.add_argument("held", type=int)
    parser.add_argument("--resume", action="store_true")
    return run(parser, _keep, argv)


def _keep(arguments: argparse.Namespace) -> int:
    supervisor = Supervisor(Job(arguments.name), arguments.held)
    signal.set_wakeup_fd(-1)  # a second order to stop shall not end us on the spot, as it does other commands
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, supervisor.interrupt)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    return supervisor.keep(resume=arguments.resume)


if __name__ == "__main__":
    sys.exit(main())
