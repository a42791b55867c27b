"""From the user's machine to the head of a cluster: commands by ssh, files by rsync.

`ray exec` would do for the commands, but it mixes the head's output with its own and waits two minutes for a head that
is switched off; `ray rsync-up` neither resumes nor shows progress.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from graphdb.command import invocation
from tuner.errors import SearchError
from tuner.remote.head import Head
from tuner.remote.job import PROTOCOL

UNREACHABLE = 255  # what ssh itself exits with
_MODULE = "tuner.remote.server"
_VANISHED = 24  # rsync's status when a file went between listing and copying, as a running search replaces its files
_MOST_TRIES = 5


class HeadUnreachable(SearchError):
    """There is no connection to the head, or none any more."""


class HeadConnection:
    """Runs `tuner.remote.server` on the head and copies files.

    Whatever fails is a SearchError; without a connection, or when it broke, a HeadUnreachable.
    """

    def __init__(self, head: Head) -> None:
        """Check that ssh and rsync are there; nothing is connected yet."""
        self.head = head
        for program in ("ssh", "rsync"):
            if shutil.which(program) is None:
                raise SearchError(f"{program} must be on PATH here to reach the head, but it is not; install it")

    def call(self, command: str, request: dict[str, Any]) -> dict[str, Any]:
        """Ask the head; the request travels on standard input, so that nothing in it meets a shell."""
        asked = json.dumps({**request, "protocol": PROTOCOL})
        done = subprocess.run(self.command(command), input=asked, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise self.failure(done.returncode, done.stderr)
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        if answer.pop("protocol", None) != PROTOCOL:
            raise SearchError(
                "crystune must be of one version here and on the head, but it is not; to install this one there, when "
                f"no search runs: make wheel && ray up {shlex.quote(self.head.cluster_file)}"
            )
        return answer

    def follow(self, name: str, offset: int) -> tuple[int, int]:
        """Copy the job's log to standard output from a byte on, until the job ends or the connection breaks.

        Returns:
            The offset reached, and ssh's exit status.
        """
        # Its open standard input is how the other side knows that somebody still watches.
        pipe, command = subprocess.PIPE, self.command("follow", name, str(offset))
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            try:
                while chunk := os.read(process.stdout.fileno(), 65536):
                    offset += len(chunk)
                    sys.stdout.buffer.write(chunk)
                    sys.stdout.flush()
                complaint = process.stderr.read().decode(errors="replace")
                if process.wait() not in (0, UNREACHABLE):
                    raise self.failure(process.returncode, complaint)
                return offset, process.returncode
            finally:
                process.kill()

    def send(self, source: Path, target: str) -> None:
        """Copy a file to a path on the head; a copy that was cut off is taken up where it ended."""
        progress = ["--progress"] if sys.stdout.isatty() else []
        self._rsync([*progress, "--inplace", os.fspath(source.absolute()), self._remote(target)], str(source))

    def fetch(self, source: str, target: Path, *, exclude: Sequence[str] = ()) -> None:
        """Copy what is in a folder of the head, or a file, to a folder here; what is here and not there stays."""
        target.mkdir(parents=True, exist_ok=True)
        options = [f"--exclude={pattern}" for pattern in exclude]
        self._rsync(["-r", *options, self._remote(source), f"{target.absolute()}/"], source)

    def command(self, *arguments: str) -> list[str]:
        """The ssh command that runs `tuner.remote.server` on the head."""
        head = self.head
        python = f'"$HOME"/{shlex.quote(head.python[2:])}' if head.python.startswith("~/") else shlex.quote(head.python)
        variables = [f"{name}={text}" for name, text in head.environment.items()]
        words = ["exec", "env", *variables, python, "-u", "-m", _MODULE, *map(shlex.quote, arguments)]
        return [*head.login.ssh, head.login.name, " ".join(words)]

    def failure(self, code: int, complaint: str) -> SearchError:
        """The error behind an exit status and what was written to standard error."""
        lines = [line for line in complaint.strip().splitlines() if line.strip()]
        head, where = self.head, self.head.login.name
        if code == UNREACHABLE:
            file = shlex.quote(head.cluster_file)
            fix = f"is the cluster up? start it, or start it again, with: ray up {file}"
            if any(sign in complaint for sign in ("Permission denied", "Host key verification failed")):
                fix = f"is auth right? this says what to do: {invocation('tuner.preflight')} {file}"
            said = lines[-1] if lines else "no answer"
            return HeadUnreachable(f"the head ({where}) must answer by ssh, but it does not: {said}; {fix}")
        if code in (126, 127):
            return SearchError(
                f"{head.python} must be on the head ({where}), as head_start_ray_commands says, but it is not; "
                f"install crystune on the nodes, or fix {head.cluster_file}"
            )
        if any(f"No module named {module}" in complaint for module in ("tuner", f"'{_MODULE}'", _MODULE)):
            return SearchError(
                f"crystune of this version must be installed for {head.python} on the head ({where}), but it is not; "
                "install the same wheel on all nodes"
            )
        if code == 2 and lines and any(line.startswith("error: ") for line in lines):
            return SearchError("\n".join(lines).partition("error: ")[2])
        return SearchError(f"the head ({where}) failed with exit status {code}: {' / '.join(lines[-3:]) or 'no word'}")

    def _remote(self, path: str) -> str:
        """A path as rsync takes it; by its version it passes a shell or not, so our names mean the same in both."""
        login = self.head.login
        return f"{login.user}@[{login.address}]:{path}" if ":" in login.address else f"{login.name}:{path}"

    def _rsync(self, arguments: list[str], what: str) -> None:
        shell = " ".join(map(_rsh_quote, self.head.login.ssh))
        for _ in range(_MOST_TRIES):
            command = ["rsync", "-tz", "--rsh", shell, *arguments]
            done = subprocess.run(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            if done.returncode == 0:
                return
            if done.returncode != _VANISHED:
                break
        lines = [line for line in done.stderr.strip().splitlines() if line.strip()]
        if done.returncode in (10, 12, 30, 35, UNREACHABLE):
            raise HeadUnreachable(
                f"the copy of {what} was cut off: {lines[0] if lines else 'the connection broke'}; "
                "nothing half-copied is used; the same command goes on where the copy ended"
            )
        reason = " / ".join(lines[-3:])
        raise SearchError(f"{what} could not be copied: {reason} (rsync, exit status {done.returncode})")


def _rsh_quote(word: str) -> str:
    """For --rsh, which is split at spaces and knows quotes, but no backslashes; a quote in quotes is doubled."""
    return f'"{word.replace(chr(34), chr(34) * 2)}"' if any(mark in word for mark in " '\"") else word
