"""Runs the trainings of a queue on a Ray with Tune: which trainings, how many, and what becomes of their results."""

import json
import re
import shutil
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeVar, TypeVarTuple

import ray
from ray import tune
from ray.tune.error import TuneError
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from tuner.cluster.failure_kinds import failure_of
from tuner.cluster.resources import Resources
from tuner.cluster.temporary import temporary_folder
from tuner.cluster.worker import BEST_KEY, REPORT_KEY, STATE_KEY, Opaque, SavedState, TrainingWorker
from tuner.protocol import EpochResult, Failure, TrainerFactory, TrainingQueue, TrainingSpec
from tuner.signals import Signals

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_CAPACITY_SECONDS = 1.0
"""Between two looks at how many trainings fit."""


class _Interrupted(BaseException):
    """Leaves Tune's loop; not an Exception, because Tune would begin a cleanup that waits for running epochs."""


def execute(
    queue: TrainingQueue,
    factory: TrainerFactory,
    *,
    resources: Resources,
    concurrency: int | None,
    capacity: Callable[[], int] | None = None,
    signals: Signals,
    tick: Callable[[], bool],
) -> bool:
    """Run trainings until the queue is done. Needs an entered `Cluster`.

    Args:
        queue: asked for trainings, told of everything.
        factory: builds the trainings; travels to each worker once, its arrays shared by all of a node.
        resources: of one training; the GPUs of a single training may differ (`TrainingSpec.gpus`).
        concurrency: trainings that run at the same time, at most; None for as many as fit at any time.
        capacity: how many trainings fit the nodes that are there now; no more are handed out, one where none fits.
            None where `concurrency` is known to fit.
        signals: end the run when received.
        tick: called about ten times a second; False ends the run at once, as if it had been killed.

    Returns:
        Whether the queue is done; else `tick` has ended the run.

    Raises:
        KeyboardInterrupt: after Ctrl-C or a SIGTERM.
        Exception: whatever `queue` raised.
    """
    searcher = _Searcher(queue, capacity)

    def request(config: dict[str, Any]) -> tune.PlacementGroupFactory:
        gpus = config["training"]["gpus"] if config.get("training") else None
        wanted = resources if gpus is None else replace(resources, gpus=gpus)
        return tune.PlacementGroupFactory([wanted.as_bundle()])

    folder = temporary_folder("tune")  # for Tune's own files, which nobody reads
    try:
        tuner = tune.Tuner(
            tune.with_resources(tune.with_parameters(TrainingWorker, factory=factory), request),
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                scheduler=_Scheduler(searcher),
                num_samples=-1,
                max_concurrent_trials=concurrency,
                reuse_actors=True,
                trial_name_creator=attrgetter("trial_id"),
                trial_dirname_creator=attrgetter("trial_id"),
            ),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=folder,
                callbacks=[_LoopCallback(searcher, signals, tick)],
                failure_config=tune.FailureConfig(max_failures=0),  # another attempt is another Tune trial
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # a training hands over its own state
                verbose=0,
            ),
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tuner.fit()
    except _Interrupted:
        signals.check()
        return False
    except TuneError:
        if searcher.error is not None:
            raise searcher.error from None
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return True


class _Unpickled:
    """Pickled as an empty object: Tune pickles its parts for a restore that is never asked for, open files and all."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class _Searcher(_Unpickled, Searcher):
    """Hands the trainings of a queue to Tune. Each attempt at a training is a Tune trial of its own.

    Tune asks long before a training can run, so that worker processes start side by side; but a training that is
    proposed late is proposed with more knowledge, and one that waits might wait to the end: see
    `_Scheduler.choose_trial_to_run`.
    """

    def __init__(self, queue: TrainingQueue, capacity: Callable[[], int] | None) -> None:
        super().__init__()
        self.queue = queue
        self.specs: dict[str, TrainingSpec] = {}  # by Tune trial
        self.states: dict[str, SavedState] = {}
        self.error: Exception | None = None
        self._find_capacity = capacity
        self._capacity = 0
        self._next_look = 0.0

    def call(self, function: Callable[[*Ts], T], *arguments: *Ts) -> T:
        """Call a method of the queue, and keep its first exception, which Tune makes text."""
        try:
            return function(*arguments)
        except Exception as error:
            self.error = self.error or error
            raise

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]
        """A configuration; `Searcher.FINISHED` if none will come any more, None if there is none for now."""
        if self._is_full():
            return None
        spec = self.call(self.queue.next_training)
        if spec is None:
            return Searcher.FINISHED if self.queue.done() else None
        content = self.call(self.queue.saved_state, spec.key)
        state: SavedState = Opaque(ray.put(content) if content is not None else None)
        self.specs[trial_id], self.states[trial_id] = spec, state
        return {"training": spec.as_dict(), "state": state}

    def _is_full(self) -> bool:
        """Whether no more trainings fit; the cluster is asked now and then, not at each step of Tune's loop."""
        running = len(self.specs)
        if self._find_capacity is None or running < self._capacity:
            return False
        if time.monotonic() < self._next_look:
            return True
        self._capacity = max(1, self._find_capacity())  # Without any training Tune would hang, also after Ctrl-C.
        self._next_look = time.monotonic() + _CAPACITY_SECONDS
        return running >= self._capacity

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        self.specs.pop(trial_id, None)
        self.states.pop(trial_id).content = None

    def save(self, checkpoint_path: str) -> None:
        """Nothing: Tune's snapshots are never read."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing."""


class _Scheduler(_Unpickled, FIFOScheduler):
    """Reports results and failures to the queue, and its decisions to Tune."""

    def __init__(self, searcher: _Searcher) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._searcher = searcher

    def choose_trial_to_run(self, tune_controller: object) -> None:
        """None in particular: a process that becomes free takes a new trial, and what starts goes on starting.

        Tune's own choice, found by going through all trials at each step, is the oldest one whose process has not
        started; it would get the free process, and its own be killed. Where trials end all the time, no process of a
        node that joins would live long enough to start.
        """

    def on_trial_result(self, tune_controller: object, trial: Trial, result: dict[str, Any]) -> str:
        key = self._searcher.specs[trial.trial_id].key
        state, best = (result[name].content.tobytes() if name in result else None for name in (STATE_KEY, BEST_KEY))
        report = EpochResult(**json.loads(result[REPORT_KEY]), state=state, best=best)
        goes_on = self._searcher.call(self._searcher.queue.on_result, key, report)
        return str(TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP)

    def on_trial_error(self, tune_controller: object, trial: Trial) -> None:
        key = self._searcher.specs[trial.trial_id].key
        self._searcher.call(self._searcher.queue.on_failure, key, _failure(trial))


class _LoopCallback(_Unpickled, tune.Callback):
    """Called by Tune's loop, at least ten times a second."""

    def __init__(self, searcher: _Searcher, signals: Signals, tick: Callable[[], bool]) -> None:
        self._searcher = searcher
        self._signals = signals
        self._tick = tick

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._searcher.call(self._searcher.queue.on_start, self._searcher.specs[trial.trial_id].key)

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        for name in (REPORT_KEY, STATE_KEY, BEST_KEY):  # recorded; Tune would keep the last ones of all trials
            result.pop(name, None)
        self._searcher.states[trial.trial_id].content = None  # the worker has it

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        self._signals.check()
        if not self._tick():
            raise _Interrupted


def _failure(trial: Trial) -> Failure:
    """What Tune knows of an error is in two files; it writes them to one folder and reads them from another."""
    try:
        assert trial.storage is not None
        assert trial.pickled_error_file is not None
        stored = Path(trial.storage.trial_fs_path)
        stored.mkdir(parents=True, exist_ok=True)
        shutil.copy(trial.pickled_error_file, stored)
        error: object = trial.get_pickled_error()
    except Exception:  # noqa: BLE001 - the exception class may be unknown here; the text is in the other file
        error = None
    text = str(error) if error is not None else Path(trial.error_file).read_text() if trial.error_file else "no details"
    return failure_of(error, re.sub(r"\x1b\[[0-9;]*m", "", text))
