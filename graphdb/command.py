"""What all commands have in common: a mistake is answered in one line, Ctrl-C works at any moment, help has examples.

Standard library only, so that a command can answer a mistake before anything heavy is loaded.
"""

import argparse
import contextlib
import csv
import difflib
import errno
import functools
import importlib
import os
import select
import shutil
import signal
import sys
import tempfile
import textwrap
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from graphdb.errors import CrystuneError
from graphdb.versions import ABSENT, versions

USAGE_ERROR = 2
"""Exit status: something the user has to change; nothing was done."""
FAULT = 70
"""Exit status: a fault in crystune (EX_SOFTWARE of sysexits.h)."""

_PACKAGES = tuple(str(Path(__file__).resolve().parents[1] / name) + os.sep for name in ("graphdb", "model", "tuner"))
_SHOWN_VERSIONS = ("torch", "ray", "optuna", "pymatgen", "lmdb", "numpy")


class Terminated(KeyboardInterrupt):
    """SIGTERM, as a batch system sends it: a command ends as after Ctrl-C."""


def invocation(module: str) -> str:
    """What the user types for a command: ``python -m graphdb.build``, or ``crystune build`` if that was typed now."""
    if Path(sys.argv[0]).stem == "crystune":
        return f"crystune {module.rpartition('.')[2].replace('_', '-')}"
    return f"python -m {module}"


class Parser(argparse.ArgumentParser):
    """An argument parser that answers a mistake in one line, with the nearest name, and shows examples in its help."""

    def __init__(
        self, module: str, description: str, *, examples: Sequence[str] = (), prog: str = "", **options: Any
    ) -> None:
        """Begin with ``--help`` and ``--version``.

        Args:
            module: of the command, such as "graphdb.build".
            description: one paragraph.
            examples: arguments of the command, as they would be typed.
            prog: what the user types; found from the module when empty.
            options: of `argparse.ArgumentParser`.
        """
        prog = prog or invocation(module)
        shown = (
            "\n".join(["examples:", *(f"  {prog} {example}".rstrip() for example in examples)]) if examples else None
        )
        super().__init__(
            prog=prog,
            description=textwrap.fill(description, max(40, min(100, shutil.get_terminal_size().columns - 2))),
            epilog=shown,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            **options,
        )
        self.add_argument("--version", action=_Version, nargs=0, help="show versions and exit")

    def parse_args(  # type: ignore[override]  # its overloads say the same in three ways
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> argparse.Namespace:
        """The arguments; anything unknown is refused with the nearest option."""
        found, unknown = self.parse_known_args(args, namespace)
        if unknown:
            self.error(self._about_unknown(unknown))
        return found

    def error(self, message: str) -> NoReturn:
        """End with one line on stderr and status 2."""
        self.exit(USAGE_ERROR, f"error: {message}; see {self.prog} --help\n")

    def _about_unknown(self, unknown: Sequence[str]) -> str:
        first = unknown[0]
        if not first.startswith("-") or first == "-":
            return f"there is one argument too many: {first!r}"
        options = [option for option in _options(self) if option.startswith("--")]
        return f"there is no option {first.partition('=')[0]}{did_you_mean(first.partition('=')[0], options)}"

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            names = [str(choice) for choice in action.choices]
            raise argparse.ArgumentError(
                action, f"must be one of {', '.join(names)}, got {value!r}{did_you_mean(str(value), names)}"
            )


def _options(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._actions:
        yield from action.option_strings
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                yield from _options(below)


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        found = versions("crystune", "python", *_SHOWN_VERSIONS)
        crystune = found.pop("crystune")
        others = ", ".join(f"{name} {version}" for name, version in found.items() if version != ABSENT)
        print(f"crystune {f'({ABSENT})' if crystune == ABSENT else crystune} ({others})")
        parser.exit()


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``; did you mean 'x'?`` for a name that this one begins, or else the nearest; empty if none is near."""
    names = list(known)
    longer = [other for other in names if len(name) > 2 and other.startswith(name)]
    folded = {other.casefold(): other for other in names}
    near = longer[:1] or [folded[n] for n in difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.6)]
    return f"; did you mean {near[0]!r}?" if near else ""


def split_names(text: str) -> list[str]:
    """Names between commas; one that holds a comma stands in double quotes, as in a CSV: ``gap,"K, VRH"``."""
    names = next(csv.reader([" ".join(text.splitlines())], skipinitialspace=True), [])
    return [name.strip() for name in names if name.strip()]


def count(number: int, noun: str, plural: str = "") -> str:
    """``1 trial``, ``2 trials``, ``1,200 crystals``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def run(
    parser: argparse.ArgumentParser,
    execute: Callable[[argparse.Namespace], int],
    argv: Sequence[str] | None = None,
    *,
    interrupted: str = "",
) -> int:
    """Run a command; whatever happens, its user sees no traceback.

    A mistake is a `CrystuneError`, a ValueError that our own code raised, or an OSError. Anything else is a fault of
    crystune's: its traceback goes to a file that the message names (CRYSTUNE_TRACEBACK=1 shows it).

    Args:
        parser: of the arguments.
        execute: does the work and returns the exit status.
        argv: arguments; those of the process when None.
        interrupted: what is said after Ctrl-C or SIGTERM: what became of the work, and how to go on.

    Returns:
        What `execute` returned, or 2 after a mistake, 70 after a fault of crystune's, 130 after Ctrl-C, 143 after
        SIGTERM. A reader of our output that has seen enough (``| head``) is no error: 0.
    """
    with _interruptible() as received:
        try:
            try:
                status = execute(parser.parse_args(argv))
            finally:
                if sys.stdout is not None:
                    sys.stdout.flush()
            return status
        except KeyboardInterrupt as error:
            _say(f"interrupted: {error.args[0] if error.args else interrupted}".removesuffix(": "))
            return 128 + (signal.SIGTERM if isinstance(error, Terminated) else signal.SIGINT)
        except CrystuneError as error:
            _say("\n".join([f"error: {error}", *getattr(error, "__notes__", [])]))
        except OSError as error:
            if isinstance(error, BrokenPipeError) and _nobody_reads():
                return 0
            _say(f"error: {os_error_text(error)}")
        except MemoryError:
            _say("error: there must be more memory for this; take less at a time")
        except Exception as error:  # noqa: BLE001 - a command ends with a status and one line, whatever it was
            if received.number:  # of which a library, NumPy while it loads for one, has made an error of its own
                told = "; ".join(getattr(error, "__notes__", [])) or interrupted
                _say(f"interrupted: {told}".removesuffix(": "))
                return 128 + received.number
            if not (isinstance(error, ValueError) and _is_ours(error)):
                _say(f"error: {_fault_text(error)}")
                return FAULT
            _say(f"error: {error}")
        return USAGE_ERROR


def load(*modules: str) -> None:
    """Load large packages, with Ctrl-C and SIGTERM held back until they are there.

    An interrupt while PyTorch or NumPy set themselves up is thrown through their C++, which ends the process by
    std::terminate. The second Ctrl-C ends it at once, here as everywhere.

    Raises:
        KeyboardInterrupt: once all is loaded, if there was one meanwhile.
    """
    came: list[int] = []
    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            if callable(signal.getsignal(number)):
                before[number] = signal.signal(number, lambda number, frame: came.append(number))
    try:
        for module in modules:
            importlib.import_module(module)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if came:
        raise Terminated if came[0] == signal.SIGTERM else KeyboardInterrupt


def os_error_text(error: OSError) -> str:
    """What the operating system refused, with the file, as a sentence."""
    reason = (error.strerror or str(error) or type(error).__name__).lower()
    files = " and ".join(str(name) for name in (error.filename, error.filename2) if name is not None)
    if error.errno == errno.ENOENT and files:
        return f"there must be a file or folder {files}, but there is none"
    advice = {
        errno.ENOSPC: "; make room, then run the same command again",
        errno.EDQUOT: "; make room, then run the same command again",
        errno.EACCES: "; choose another place, or change its permissions",
        errno.EROFS: "; choose another place",
    }.get(error.errno or 0, "")
    what = "the output" if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO) else "the operating system"
    return f"{files or what}: {reason}{advice}"


def _say(text: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # nobody is left to be told
        print(text, file=sys.stderr, flush=True)


def _nobody_reads() -> bool:
    """Whether the reader of our output is gone; if so, nothing more is written to it, at exit neither."""
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), select.POLLOUT)
        gone = any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
        if gone:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())
            os.close(nowhere)
        return gone
    except (OSError, ValueError, AttributeError):
        return False


def _is_ours(error: BaseException) -> bool:
    """Whether our own code raised it, rather than a library."""
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and _is_of_ours(frames[-1].filename)


def _is_of_ours(file: str) -> bool:
    path = os.path.abspath(file)
    return path.startswith(_PACKAGES) and path != os.path.abspath(__file__)


def _fault_text(error: BaseException) -> str:
    whole = "".join(traceback.format_exception(error))
    if os.environ.get("CRYSTUNE_TRACEBACK"):
        _say(whole)
    ours = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_of_ours(frame.filename)]
    place = f" ({'/'.join(Path(ours[-1].filename).parts[-2:])}, line {ours[-1].lineno})" if ours else ""
    what = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    try:
        handle, name = tempfile.mkstemp(prefix="crystune-fault-", suffix=".txt")
        with os.fdopen(handle, "w", encoding="utf-8", errors="replace") as file:
            file.write(f"{sys.argv}\n{whole}")
    except OSError:
        return f"a fault in crystune: {what}{place}; CRYSTUNE_TRACEBACK=1 shows the traceback; please report it"
    return f"a fault in crystune: {what}{place}; please report it with the traceback, which is in {name}"


@functools.cache
def _keep_from_children() -> None:
    """A forked process gets each Ctrl-C of the terminal too, and must not tell ours of it a second time."""
    os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))


@dataclass(slots=True)
class _Received:
    number: int = 0
    """Of the signal that came first; 0 before."""


@contextlib.contextmanager
def _interruptible() -> Iterator[_Received]:
    """SIGTERM like Ctrl-C; a second of them ends the process at once, even where it hangs in a library.

    Python runs its handlers between two instructions of the main thread, which a call into C can keep from ever
    coming. The handler in C, though, writes the signal's number to the wakeup descriptor, and a thread reads that.
    """
    received = _Received()
    if threading.current_thread() is not threading.main_thread():
        yield received
        return

    def handler(number: int, frame: FrameType | None) -> NoReturn:
        received.number = received.number or number
        raise Terminated if number == signal.SIGTERM else KeyboardInterrupt

    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    _keep_from_children()

    def watch() -> None:
        num_signals = 0
        while (number := os.read(reader, 1)) != b"\0":
            num_signals += number[0] in (signal.SIGINT, signal.SIGTERM)
            if num_signals > 1:
                os._exit(128 + number[0])

    def unraisable(problem: Any) -> None:
        if not issubclass(problem.exc_type, KeyboardInterrupt):  # in a callback of C, where it can go nowhere
            before_hook(problem)

    before_hook, sys.unraisablehook = sys.unraisablehook, unraisable
    before = {signal.SIGTERM: signal.signal(signal.SIGTERM, handler)}
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is ignored, or in use
        before[signal.SIGINT] = signal.signal(signal.SIGINT, handler)
    before_fd = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    thread = threading.Thread(target=watch, daemon=True, name="second Ctrl-C")
    thread.start()
    try:
        yield received
    finally:
        signal.set_wakeup_fd(before_fd)
        for number, its in before.items():
            signal.signal(number, its)
        sys.unraisablehook = before_hook
        os.write(writer, b"\0")
        thread.join()
        os.close(reader)
        os.close(writer)
