"""A search from its first trial to its finalists, on one Ray: the phases, what is said between them, how it may end."""

import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.text import Text

from graphdb.command import count
from graphdb.progress import duration_text
from tuner.cluster.capacity import ExecutionOptions, find_capacity, num_fitting
from tuner.cluster.executor import execute
from tuner.cluster.resources import Resources
from tuner.cluster.session import Cluster
from tuner.cluster.store_server import served
from tuner.errors import SearchError
from tuner.protocol import TrainerFactory
from tuner.report.live import Display
from tuner.report.text_tables import finalists_table
from tuner.run import jsonlines
from tuner.run.lock import only_writer
from tuner.run.log import Training
from tuner.run.mirror import RunMirror, mirror_of
from tuner.run.retry import Retry
from tuner.run.run_folder import RunFolder
from tuner.run.settings import SearchSettings
from tuner.signals import Signals, may_hang
from tuner.space.space import Space
from tuner.study.study import Study
from tuner.trials.board import Board
from tuner.trials.bookkeeper import Bookkeeper, TrialLimits
from tuner.trials.finalists import Evaluate, FinalistQueue, choose_numbers, summarize
from tuner.trials.search import SearchQueue
from tuner.trials.stopping import make_rule

SEARCHING, FINALISTS = "searching", "finalists"
"""Status of a run that some process works on."""
OUT_OF_TIME = "time budget used up"
"""Status of a run whose finalists are done, while trials are not."""
_REQUEST_SECONDS = 10.0


@dataclass(kw_only=True, slots=True)
class SearchDriver:
    """All that a search needs, gathered; `execute` does it."""

    run: RunFolder
    entries: Mapping[str, Any] = field(default_factory=dict)
    """What run.json shall hold beside settings and status."""
    settings: SearchSettings
    space: Space
    factory: TrainerFactory
    evaluate: Evaluate
    options: ExecutionOptions
    console: Console
    resume_command: str
    """What to type to go on."""
    _begun: bool = field(default=False, init=False)
    _display: Display | None = field(default=None, init=False)

    @property
    def units(self) -> Mapping[str, str]:
        """Unit by task."""
        return dict(zip(self.settings.tasks, self.settings.units, strict=True))

    def execute(self) -> bool:
        """Search, retrain the finalists, read the test split.

        Returns:
            Whether there is a model to export.

        Raises:
            SearchError: if the resources do not suffice, or every trial fails for one reason.
            KeyboardInterrupt: after Ctrl-C; all is on disk.
        """
        with only_writer(self.run), mirror_of(self.run.path, self.run.uri, self._say) as mirror:
            try:
                return self._execute(mirror)
            except KeyboardInterrupt as error:
                raise type(error)(self._left_behind()) from None
            except SearchError as error:
                with suppress(OSError, ValueError):
                    self._leave(f"error: {error}")
                raise

    def _leave(self, status: str) -> None:
        """Note how the search ended, unless it has not begun, or is done."""
        if self.run.exists() and self.run.read().get("status") in (SEARCHING, FINALISTS):
            self.run.update(status=status)

    def _left_behind(self) -> str:
        """What is true after Ctrl-C."""
        if not self._begun and not self.run.exists():
            return "nothing was begun"
        if not self.run.exists():
            return f"the folder {self.run.path} is gone, and with it what the search had found"
        try:
            self._leave("interrupted")
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            return (
                f"{self.run.path} cannot be written to ({reason.lower()}); once it can, what is there goes on with: "
                f"{self.resume_command}"
            )
        return f"nothing is lost; go on with: {self.resume_command}"

    def _execute(self, mirror: RunMirror) -> bool:
        options = self.options
        signals = Signals()
        retry = Retry(self._say, signals.check)
        deadline = None if options.time_budget is None else time.monotonic() + options.time_budget
        with ExitStack() as stack:
            unchanged = "all is as it was" if self.run.exists() else "nothing was begun"
            with may_hang(unchanged):  # a Ctrl-C acts at once: nothing is half written
                cluster = stack.enter_context(Cluster(options.address, data_bytes=options.data_bytes))
                resources, concurrency = find_capacity(
                    options, cluster, num_trials=self.settings.trials, say=self._say, check=signals.check
                )
            stack.enter_context(signals.caught())
            retry(self._begin)
            how_many = "as many at a time as there is room for" if concurrency is None else f"{concurrency} at a time"
            self._say(f"{how_many}, {resources} each\n")
            phase = _Phase(
                cluster=cluster,
                resources=resources,
                concurrency=concurrency,
                signals=signals,
                limits=TrialLimits(gpus=resources.gpus, epoch_timeout=options.epoch_timeout, retry=retry),
                mirror=mirror,
            )
            queue = retry(lambda: self._trials(phase.limits))
            try:
                done = self._run(phase, queue, deadline)
            finally:
                queue.flush()
            if queue.abort_reason is not None:
                key = queue.first_error[0] if queue.first_error else ""
                raise SearchError(
                    f"every trial fails for the same reason: {queue.abort_reason} (traceback in "
                    f"{queue.failure_file(key)}); fix it, then go on with: {self.resume_command}; if space or "
                    "store have to change, start a new search with another --name"
                )
            if queue.exhausted:
                self._say(f"\n{queue.exhausted}: {len(queue.board.trainings)} trials instead of {self.settings.trials}")
            if not done:
                cluster.restart()  # Epochs that still run would take the finalists' place.
                self._say(
                    f"The time budget ({duration_text(options.time_budget or 0)}) is used up; "
                    "what is unfinished goes on with\n"
                    f"  {self.resume_command}"
                )
            return self._finish(queue.board, phase, "done" if done else OUT_OF_TIME)

    def _trials(self, limits: TrialLimits) -> SearchQueue:
        settings = self.settings
        return SearchQueue(
            self.run,
            Study(self.space, sampler=settings.sampler, seed=settings.seed),
            rule=make_rule(settings.stopping, settings.max_epochs),
            num_trials=settings.trials,
            max_epochs=settings.max_epochs,
            seed=settings.seed,
            notice=self._notice,
            retry_failed=self.options.retry_failed,
            limits=limits,
        )

    def _begin(self) -> None:
        before = self.run.read() if self.run.exists() else {}
        self.run.write({**before, **self.entries, "settings": self.settings.as_dict(), "status": SEARCHING})
        self._begun = True

    def _finish(self, board: Board, phase: "_Phase", status: str) -> bool:
        best = board.best()
        retry = phase.limits.retry
        if best is None:
            untried = not any(training.epoch for training in board.trainings.values()) and not board.count("failed")
            retry(lambda: self.run.update(status=status if untried else "no usable trial"))
            if untried:
                raise SearchError(f"no epoch was finished in time; go on with: {self.resume_command}")
            failed = [training for training in board.trainings.values() if training.reason]
            reason = f"; the first failure: {failed[0].reason} ({failed[0].key})" if failed else ""
            raise SearchError(
                f"no trial has a usable score: {board.count('diverged')} diverged, {board.count('failed')} failed"
                f"{reason}; start a new search over another space"
                + (", with smaller learning rates" if board.count("diverged") else "")
            )
        trained = sum(training.epoch for training in board.trainings.values())
        epochs = self.settings.final_epochs or self.settings.max_epochs
        number, seeds = choose_numbers(trained, epochs, self.settings.finalists, self.settings.finalist_seeds)
        usable = [training for training in board.ranked() if training.state not in ("diverged", "failed")]
        trials = usable[:number]
        if trials:
            chosen = {"trials": [int(trial.key) for trial in trials], "seeds": seeds, "epochs": epochs}
            retry(lambda: self.run.update(status=FINALISTS, finalists=chosen))
            queue = retry(
                lambda: FinalistQueue(
                    self.run,
                    trials,
                    num_seeds=seeds,
                    max_epochs=epochs,
                    seed=self.settings.seed,
                    notice=self._notice,
                    limits=phase.limits,
                )
            )
            self._say("\n" + self._about_finalists(queue, trained, len(trials), seeds, epochs))
            self._run(phase, queue, None)
            phase.mirror.tick(now=True)  # reading the test split takes a while
            content = summarize(self.run, trials, queue.board, self.units, self.evaluate)
            if content is not None:
                retry(lambda: jsonlines.write_json(self.run.finalists_json, content))
                self.console.print(finalists_table(content))
        retry(lambda: self.run.update(status=status))
        return True

    def _about_finalists(self, queue: FinalistQueue, trained: int, number: int, seeds: int, epochs: int) -> str:
        """Who is trained again and why so many, in one line."""
        keys = ", ".join(dict.fromkeys(key.partition("-")[0] for key in queue.keys))
        who = f"the best {number} trials" if number > 1 else "the best trial"
        text = f"Finalists: {who} ({keys}), {count(seeds, 'seed')} each, {count(epochs, 'epoch')}: {queue.plan()}"
        if None in (self.settings.finalists, self.settings.finalist_seeds):
            text += (
                f" (a third of the trials' {count(trained, 'epoch')} pays for so many, at least one; "
                "--finalists and --finalist-seeds choose)"
            )
        return text

    def _run(self, phase: "_Phase", queue: Bookkeeper, deadline: float | None) -> bool:
        if queue.done() and queue.board.num_ended >= queue.board.planned:
            return True
        shown = self._display = Display(queue.board, self.units, self.console, deadline=deadline)
        next_request = 0.0

        def tick() -> bool:
            nonlocal next_request
            shown.tick()
            now = time.monotonic()
            if now >= next_request:
                to_end = queue.board.planned - queue.board.num_ended
                phase.cluster.ask_for(phase.resources, min(to_end, phase.concurrency or to_end))
                next_request = now + _REQUEST_SECONDS
            goes_on = phase.mirror.tick()
            return goes_on and queue.abort_reason is None and (deadline is None or now < deadline)

        with shown, served(self.factory) as factory:
            done = execute(
                queue,
                factory,
                resources=phase.resources,
                concurrency=phase.concurrency,
                capacity=lambda: num_fitting(phase.resources, phase.cluster.nodes()),
                signals=phase.signals,
                tick=tick,
            )
        phase.mirror.check()
        return done

    def _notice(self, queue: Bookkeeper, what: str, training: Training) -> None:
        if self._display is not None:
            self._display.notice(what, training)
        if what == "error" and queue.first_error is not None:
            key, failure = queue.first_error
            tail = [line for line in failure.details.strip().splitlines() if line.strip()][-6:]
            self._say(
                f"error: trial {key} failed: {failure.reason}\n  parameters: {dict(training.params)}\n"
                + "\n".join(f"  | {line}" for line in tail)
                + f"\n  the whole traceback: {queue.failure_file(key)}; it is tried again"
            )
        elif what == "lost":
            self._say(f"trial {training.key}: {training.reason}; it goes on after epoch {training.epoch}")
        elif what == "memory":
            self._say(f"trial {training.key}: {training.reason}; it is tried again with a larger share of a GPU")

    def _say(self, text: str) -> None:
        self.console.print(Text(text), soft_wrap=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Phase:
    """What the search and the finalists run with."""

    cluster: Cluster
    resources: Resources
    concurrency: int | None
    signals: Signals
    limits: TrialLimits
    mirror: RunMirror
