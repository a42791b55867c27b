"""A search from its first trial to its finalists, on one Ray: the phases, what is said between them, how it may end."""

import math
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.text import Text

from tuner.asha import Asha, AshaSettings
from tuner.errors import SearchError
from tuner.executor import Cluster, Resources, execute
from tuner.finalists import Evaluate, FinalistWork, finalists_table, summarize
from tuner.jobs import TrainerFactory
from tuner.ledger import Ledger
from tuner.live import Display
from tuner.progress import Board, Progress
from tuner.runfolder import RunFolder
from tuner.searchwork import SearchWork
from tuner.settings import SearchSettings, duration_text
from tuner.space import Space
from tuner.study import Study

DEFAULT_GPU_SHARE = 0.25
"""GPU of a trial where there are GPUs: such networks leave most of one idle."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Means:
    """What this invocation may use; nothing here changes what is searched."""

    address: str | None = None
    """Of a running Ray; None starts one."""
    concurrency: int | None = None
    """Jobs at the same time; None for as many as fit."""
    cpus_per_trial: float = 1.0
    gpus_per_trial: float | None = None
    """None for DEFAULT_GPU_SHARE where there are GPUs."""
    time_budget: float | None = None
    """Seconds for the search; finalists come on top."""
    retry_failed: bool = False
    """Run the parameters of failed trials again."""
    data_bytes: int = 0
    """Size of what the workers share."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Campaign:
    """All that a search needs, gathered; `run` does it."""

    run: RunFolder
    entries: Mapping[str, Any] = field(default_factory=dict)
    """What run.json shall hold beside settings and status."""
    settings: SearchSettings
    space: Space
    factory: TrainerFactory
    evaluate: Evaluate
    means: Means
    console: Console
    resume_command: str
    """What to type to go on."""

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
        with self.run.only_writer():
            try:
                return self._execute()
            except KeyboardInterrupt:
                if self.run.exists():
                    self.run.update(status="interrupted")
                    self._say(f"Interrupted. Nothing is lost; go on with\n  {self.resume_command}")
                raise
            except SearchError as error:
                if self.run.exists():
                    self.run.update(status=f"error: {error}")
                raise
            finally:
                self.run.clean_scratch()

    def _execute(self) -> bool:
        means = self.means
        deadline = None if means.time_budget is None else time.monotonic() + means.time_budget
        with ExitStack() as stack:
            cluster = stack.enter_context(Cluster(means.address, data_bytes=means.data_bytes))
            resources, concurrency = _share(means, *cluster.capacity())
            before = self.run.read() if self.run.exists() else {}
            self.run.write({**before, **self.entries, "settings": self.settings.as_dict(), "status": "searching"})
            self._say(f"{concurrency} at a time, {_resources_text(resources)} each\n")
            study = Study(self.run.journal, self.space, sampler=self._sampler(), seed=self.settings.seed)
            display: list[Display] = []
            work = SearchWork(
                self.run,
                study,
                asha=self._asha(),
                num_trials=self.settings.trials,
                max_epochs=self.settings.max_epochs,
                seed=self.settings.seed,
                notice=lambda what, training: self._notice(display, work, what, training),
                retry_failed=means.retry_failed,
            )
            done = self._phase(work, display, resources, concurrency, deadline)
            if work.hopeless is not None:
                raise SearchError(
                    f"every trial fails for the same reason: {work.hopeless}\n"
                    f"  the whole traceback: {self._first_failure_file(work)}\n"
                    f"  mend it, then go on with: {self.resume_command}"
                )
            if not done:
                stack.close()  # Epochs that still run would take the finalists' place.
                self._say(
                    f"The time budget ({duration_text(means.time_budget or 0)}) is used up; "
                    "what is unfinished goes on with\n"
                    f"  {self.resume_command}"
                )
                cluster = stack.enter_context(Cluster(means.address, data_bytes=means.data_bytes))
            return self._finish(work.board, resources, concurrency)

    def _finish(self, board: Board, resources: Resources, concurrency: int) -> bool:
        best = board.best()
        if best is None:
            self.run.update(status="no usable trial")
            if not any(training.epoch for training in board.trainings.values()) and not board.count("failed"):
                raise SearchError(f"no epoch was finished in time; go on with: {self.resume_command}")
            failed = [training for training in board.trainings.values() if training.reason]
            reason = f"; the first failure: {failed[0].reason} ({failed[0].key})" if failed else ""
            raise SearchError(
                f"no trial has a usable score: {board.count('diverged')} diverged, "
                f"{board.count('failed')} failed{reason}"
            )
        usable = [training for training in board.ranked() if training.state not in ("diverged", "failed")]
        trials = usable[: self.settings.finalists]
        if trials:
            self.run.update(status="finalists")
            self._say(
                f"\nThe best {len(trials)} trials are trained again, {self.settings.finalist_seeds} seeds each "
                f"(trials {', '.join(trial.key for trial in trials)})"
            )
            display: list[Display] = []
            work = FinalistWork(
                self.run,
                trials,
                num_seeds=self.settings.finalist_seeds,
                max_epochs=self.settings.final_epochs or self.settings.max_epochs,
                seed=self.settings.seed,
                notice=lambda what, training: self._notice(display, work, what, training),
            )
            self._phase(work, display, resources, concurrency, None)
            content = summarize(self.run, trials, work.board, self.units, self.evaluate)
            if content is not None:
                self.console.print(finalists_table(content))
        self.run.update(status="done")
        return True

    def _phase(
        self, work: Ledger, display: list[Display], resources: Resources, concurrency: int, deadline: float | None
    ) -> bool:
        if work.done() and work.board.num_ended >= work.board.planned:
            return True
        shown = Display(work.board, self.units, self.console, deadline=deadline)
        display[:] = [shown]

        def tick() -> bool:
            shown.tick()
            return work.hopeless is None and (deadline is None or time.monotonic() < deadline)

        with shown:
            return execute(
                work,
                self.factory,
                resources=resources,
                concurrency=concurrency,
                scratch=self.run.scratch,
                tick=tick,
            )

    def _notice(self, display: list[Display], work: Ledger, what: str, training: Progress) -> None:
        if not display:
            return
        display[0].notice(what, training)
        if what == "error" and work.first_error is not None:
            key, failure = work.first_error
            tail = [line for line in failure.details.strip().splitlines() if line.strip()][-6:]
            display[0].say(
                f"error: trial {key} failed: {failure.reason}\n  parameters: {dict(training.params)}\n"
                + "\n".join(f"  | {line}" for line in tail)
                + f"\n  the whole traceback: {work.failure_file(key)}; it is tried again"
            )
        elif what == "lost":
            display[0].say(f"trial {training.key}: {training.reason}; it goes on after epoch {training.epoch}")

    def _first_failure_file(self, work: Ledger) -> str:
        return str(work.failure_file(work.first_error[0])) if work.first_error else str(self.run.failures)

    def _asha(self) -> Asha | None:
        if self.settings.asha is None:
            return None
        return Asha(AshaSettings(**self.settings.asha), self.settings.max_epochs)

    def _sampler(self) -> Any:
        return self.settings.sampler

    def _say(self, text: str) -> None:
        self.console.print(Text(text), soft_wrap=True)


def _share(means: Means, cpus: float, gpus: float) -> tuple[Resources, int]:
    """What a job gets and how many run at a time."""
    share = means.gpus_per_trial if means.gpus_per_trial is not None else (DEFAULT_GPU_SHARE if gpus else 0.0)
    fits = math.floor(cpus / means.cpus_per_trial + 1e-9)
    if share > 0:
        fits = min(fits, math.floor(gpus / share + 1e-9))
    if fits < 1:
        raise SearchError(
            f"a trial must fit the machine, but it asks for {means.cpus_per_trial:g} CPUs and {share:g} GPUs of "
            f"{cpus:g} CPUs and {gpus:g} GPUs; lower --cpus-per-trial or --gpus-per-trial"
        )
    wanted = fits if means.concurrency is None else means.concurrency
    if wanted > fits and means.address is None:
        raise SearchError(
            f"--concurrent must be at most {fits}, got {wanted}: {fits} trials of {means.cpus_per_trial:g} CPUs"
            f"{f' and {share:g} GPUs' if share else ''} fit this machine ({cpus:g} CPUs, {gpus:g} GPUs); "
            f"lower --cpus-per-trial to run more of them, each slower"
        )
    return Resources(cpus=means.cpus_per_trial, gpus=share), wanted


def _resources_text(resources: Resources) -> str:
    cpus = f"{resources.cpus:g} CPU{'s' if resources.cpus > 1 else ''}"
    return f"{cpus} and {resources.gpus:g} GPU" if resources.gpus else cpus
