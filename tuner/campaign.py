"""A search from its first trial to its finalists, on one Ray: the phases, what is said between them, how it may end."""

import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from tuner import jsonlines
from tuner.asha import Asha, AshaSettings
from tuner.cluster import Cluster, Resources
from tuner.errors import SearchError
from tuner.executor import execute
from tuner.finalists import Evaluate, FinalistWork, finalists_table, summarize
from tuner.jobs import TrainerFactory
from tuner.ledger import Ledger, Terms
from tuner.live import Display
from tuner.mirror import NoMirror, mirror_of
from tuner.nodestore import served
from tuner.patience import Patience
from tuner.progress import Board, Progress
from tuner.room import Means, find_room, num_fitting
from tuner.runfolder import RunFolder
from tuner.searchwork import SearchWork
from tuner.settings import SearchSettings, duration_text
from tuner.signals import Signals
from tuner.space import Space
from tuner.study import Study

if TYPE_CHECKING:
    from tuner.mirror.mirror import Mirror

_WISH_SECONDS = 10.0


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
        with self.run.only_writer(), mirror_of(self.run, self._say) as mirror:
            try:
                return self._execute(mirror)
            except KeyboardInterrupt:
                if self.run.exists():
                    with suppress(OSError):
                        self.run.update(status="interrupted")
                    self._say(f"Interrupted. Nothing is lost; go on with\n  {self.resume_command}")
                raise
            except SearchError as error:
                if self.run.exists():
                    with suppress(OSError):
                        self.run.update(status=f"error: {error}")
                raise

    def _execute(self, mirror: "Mirror | NoMirror") -> bool:
        means = self.means
        signals = Signals()
        display: list[Display] = []
        patience = Patience(lambda text: display[0].say(text) if display else self._say(text), signals.check)
        deadline = None if means.time_budget is None else time.monotonic() + means.time_budget
        with ExitStack() as stack:
            stack.enter_context(signals.caught())
            cluster = stack.enter_context(Cluster(means.address, data_bytes=means.data_bytes))
            resources, concurrency = find_room(
                means, cluster, num_trials=self.settings.trials, say=self._say, check=signals.check
            )
            patience(self._begin)
            at_once = "as many at a time as there is room for" if concurrency is None else f"{concurrency} at a time"
            self._say(f"{at_once}, {resources} each\n")
            terms = Terms(gpus=resources.gpus, silence=means.silence, patiently=patience)
            study = patience(
                lambda: Study(
                    self.run.journal, self.space, sampler=self._sampler(), seed=self.settings.seed, patiently=patience
                )
            )
            phase = _Phase(
                cluster=cluster,
                resources=resources,
                concurrency=concurrency,
                signals=signals,
                terms=terms,
                mirror=mirror,
            )
            work = patience(
                lambda: SearchWork(
                    self.run,
                    study,
                    asha=self._asha(),
                    num_trials=self.settings.trials,
                    max_epochs=self.settings.max_epochs,
                    seed=self.settings.seed,
                    notice=lambda what, training: self._notice(display, work, what, training),
                    retry_failed=means.retry_failed,
                    terms=terms,
                )
            )
            done = self._run(phase, work, display, deadline)
            if work.hopeless is not None:
                raise SearchError(
                    f"every trial fails for the same reason: {work.hopeless}\n"
                    f"  the whole traceback: {self._first_failure_file(work)}\n"
                    f"  mend it, then go on with: {self.resume_command}"
                )
            if work.exhausted:
                self._say(f"\n{work.exhausted}: {len(work.board.trainings)} trials instead of {self.settings.trials}")
            if not done:
                cluster.restart()  # Epochs that still run would take the finalists' place.
                self._say(
                    f"The time budget ({duration_text(means.time_budget or 0)}) is used up; "
                    "what is unfinished goes on with\n"
                    f"  {self.resume_command}"
                )
            return self._finish(work.board, phase, display)

    def _begin(self) -> None:
        before = self.run.read() if self.run.exists() else {}
        self.run.write({**before, **self.entries, "settings": self.settings.as_dict(), "status": "searching"})

    def _finish(self, board: Board, phase: "_Phase", display: list[Display]) -> bool:
        best = board.best()
        patiently = phase.terms.patiently
        if best is None:
            patiently(lambda: self.run.update(status="no usable trial"))
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
            patiently(lambda: self.run.update(status="finalists"))
            best_ones = f"best {len(trials)} trials are" if len(trials) > 1 else "best trial is"
            seeds = f"{self.settings.finalist_seeds} seed{'s' if self.settings.finalist_seeds > 1 else ''}"
            self._say(
                f"\nThe {best_ones} trained again, {seeds} each (trials {', '.join(trial.key for trial in trials)})"
            )
            work = patiently(
                lambda: FinalistWork(
                    self.run,
                    trials,
                    num_seeds=self.settings.finalist_seeds,
                    max_epochs=self.settings.final_epochs or self.settings.max_epochs,
                    seed=self.settings.seed,
                    notice=lambda what, training: self._notice(display, work, what, training),
                    terms=phase.terms,
                )
            )
            self._run(phase, work, display, None)
            phase.mirror.tick(now=True)  # reading the test split takes a while
            content = summarize(self.run, trials, work.board, self.units, self.evaluate)
            if content is not None:
                patiently(lambda: jsonlines.write_json(self.run.finalists_json, content))
                self.console.print(finalists_table(content))
        patiently(lambda: self.run.update(status="done"))
        return True

    def _run(self, phase: "_Phase", work: Ledger, display: list[Display], deadline: float | None) -> bool:
        if work.done() and work.board.num_ended >= work.board.planned:
            return True
        shown = Display(work.board, self.units, self.console, deadline=deadline)
        display[:] = [shown]
        next_wish = 0.0

        def tick() -> bool:
            nonlocal next_wish
            shown.tick()
            now = time.monotonic()
            if now >= next_wish:
                open_jobs = work.board.planned - work.board.num_ended
                phase.cluster.ask_for(phase.resources, min(open_jobs, phase.concurrency or open_jobs))
                next_wish = now + _WISH_SECONDS
            goes_on = phase.mirror.tick()
            return goes_on and work.hopeless is None and (deadline is None or now < deadline)

        with shown, served(self.factory) as factory:
            done = execute(
                work,
                factory,
                resources=phase.resources,
                concurrency=phase.concurrency,
                room=lambda: num_fitting(phase.resources, phase.cluster.nodes()),
                signals=phase.signals,
                tick=tick,
            )
        phase.mirror.check()
        return done

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
        elif what == "memory":
            display[0].say(f"trial {training.key}: {training.reason}; it is tried again with a larger share of a GPU")

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


@dataclass(frozen=True, kw_only=True, slots=True)
class _Phase:
    """What the search and the finalists run with."""

    cluster: Cluster
    resources: Resources
    concurrency: int | None
    signals: Signals
    terms: Terms
    mirror: "Mirror | NoMirror"
