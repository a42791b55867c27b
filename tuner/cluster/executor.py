"""Runs the trainings of a work on a Ray with Tune: which trainings, how many, and what becomes of their results."""

import json
import re
import shutil
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.error import TuneError
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from tuner.cluster.failures import failure_of
from tuner.cluster.resources import Resources
from tuner.cluster.temporary import temporary_folder
from tuner.cluster.worker import BEST, PAYLOAD, STATE, StateHandle, TrainingWorker
from tuner.signals import Signals
from tuner.trials.interfaces import EpochResult, Failure, TrainerFactory, TrainingQueue, TrainingSpec

_CAPACITY_SECONDS = 1.0
"""Between two looks at how much room there is."""


class _Interrupted(BaseException):
    """Leaves Tune's loop; not an Exception, because Tune would begin a cleanup that waits for running epochs."""


def execute(
    work: TrainingQueue,
    factory: TrainerFactory,
    *,
    resources: Resources,
    concurrency: int | None,
    capacity: Callable[[], int] | None = None,
    signals: Signals,
    tick: Callable[[], bool],
) -> bool:
    """Run trainings until the work is done. Needs an entered `Cluster`.

    Args:
        work: asked for trainings, told of everything.
        factory: builds the trainings; travels to each worker once, its arrays shared by all of a node.
        resources: of one training; the GPUs of a single training may differ (`TrainingSpec.gpus`).
        concurrency: trainings that run at the same time, at most; None for as many as there is room for, whenever.
        capacity: how many trainings fit the nodes that are there now; no more are handed out, one where none fits.
            None where `concurrency` is known to fit.
        signals: end the run when received.
        tick: called about ten times a second; False ends the run at once, as if it had been killed.

    Returns:
        Whether the work was done, rather than ended by `tick`.

    Raises:
        KeyboardInterrupt: after Ctrl-C or a SIGTERM.
        Exception: whatever `work` raised.
    """
    bridge = _Attempts(work)
    proposer = _Searcher(bridge, capacity)

    def of_training(config: dict[str, Any]) -> tune.PlacementGroupFactory:
        gpus = config["training"]["gpus"] if config.get("training") else None
        return tune.PlacementGroupFactory(
            [replace(resources, gpus=resources.gpus if gpus is None else gpus).as_bundle()]
        )

    trainable = tune.with_resources(tune.with_parameters(TrainingWorker, factory=factory), of_training)
    scratch = temporary_folder("tune")  # for Tune's own files, which nobody reads
    try:
        return _fit(bridge, proposer, trainable, concurrency=concurrency, scratch=scratch, signals=signals, tick=tick)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _fit(
    bridge: "_Attempts",
    proposer: "_Searcher",
    trainable: Any,
    *,
    concurrency: int | None,
    scratch: str,
    signals: Signals,
    tick: Callable[[], bool],
) -> bool:
    tuner = tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=proposer,
            scheduler=_Scheduler(bridge),
            num_samples=-1,
            max_concurrent_trials=concurrency,
            reuse_actors=True,
            trial_name_creator=lambda trial: str(trial.trial_id),
            trial_dirname_creator=lambda trial: str(trial.trial_id),
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=scratch,
            callbacks=[_LoopCallback(bridge, signals, tick)],
            failure_config=tune.FailureConfig(max_failures=0),  # another attempt is another Tune trial, see _Attempts
            checkpoint_config=tune.CheckpointConfig(
                checkpoint_at_end=False
            ),  # the training's own state is all there is to save
            verbose=0,
        ),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            tuner.fit()
        except _Interrupted:
            signals.check()
            return False
        except TuneError:
            if bridge.error is not None:
                raise bridge.error from None
            raise
    return True


class _Unpickled:
    """Tune pickles all it is given, for a restore that we never ask for; what is alive here stays out of it."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class _Attempts:
    """Which Tune trial is an attempt at which training; the first exception of the queue, before Tune makes it text."""

    def __init__(self, work: TrainingQueue) -> None:
        self.work = work
        self.specs: dict[str, TrainingSpec] = {}
        self.states: dict[str, StateHandle] = {}
        self.error: Exception | None = None

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except Exception as error:
            self.error = self.error or error
            raise


class _Searcher(_Unpickled, Searcher):
    """Hands the trainings of a work to Tune. Each attempt at a training is a Tune trial of its own.

    Tune asks long before there is room, so that worker processes start side by side; but a training that is proposed
    late is proposed with more knowledge, and one that waits might wait to the end: see
    `_Scheduler.choose_trial_to_run`.
    """

    def __init__(self, bridge: _Attempts, capacity: Callable[[], int] | None) -> None:
        super().__init__()
        self._bridge = bridge
        self._room = capacity
        self._fits = 0
        self._next_look = 0.0

    def suggest(self, trial_id: str) -> Any:
        work = self._bridge.work
        if self._room is not None and len(self._bridge.specs) >= self._fits:
            if time.monotonic() < self._next_look:
                return None
            self._fits = max(1, self._room())  # Without any training Tune would wait for one, and not even hear Ctrl-C.
            self._next_look = time.monotonic() + _CAPACITY_SECONDS
            if len(self._bridge.specs) >= self._fits:
                return None
        spec = self._bridge.call(work.next_training)
        if spec is None:
            return Searcher.FINISHED if work.done() else None
        self._bridge.specs[trial_id] = spec
        state = self._bridge.call(work.saved_state, spec.key)
        handed = self._bridge.states[trial_id] = StateHandle(ray.put(state) if state is not None else None)
        return {"training": spec.as_dict(), "state": handed}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        self._bridge.specs.pop(trial_id, None)
        self._bridge.states.pop(trial_id).reference = None

    def save(self, checkpoint_path: str) -> None:
        """Nothing: Tune's snapshots are never read."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing."""


class _Scheduler(_Unpickled, FIFOScheduler):
    """Tells the work of results and failures, and Tune what the work decided."""

    def __init__(self, bridge: _Attempts) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._bridge = bridge

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """None in particular: a process that becomes free takes a new trial, and what starts goes on starting.

        Tune's own choice, found by going through all trials at each step, is the oldest one whose process has not
        started; it would get the free process, and its own be killed. Where trials end all the time, no process of a
        node that joins would live long enough to start.
        """
        return None

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        spec = self._bridge.specs[trial.trial_id]
        report = EpochResult(
            **json.loads(result[PAYLOAD]),
            **{name: result[name].content.tobytes() for name in (STATE, BEST) if name in result},
        )
        goes_on = self._bridge.call(self._bridge.work.on_result, spec.key, report)
        return str(TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP)

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        spec = self._bridge.specs[trial.trial_id]
        self._bridge.call(self._bridge.work.on_failure, spec.key, _failure(trial))


class _LoopCallback(_Unpickled, tune.Callback):
    """Beats at each turn of Tune's loop, at least ten times a second."""

    def __init__(self, bridge: _Attempts, signals: Signals, tick: Callable[[], bool]) -> None:
        self._bridge = bridge
        self._signals = signals
        self._tick = tick

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._bridge.call(self._bridge.work.on_start, self._bridge.specs[trial.trial_id].key)

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        for name in (PAYLOAD, STATE, BEST):  # recorded; Tune would keep the last ones of all trials in memory
            result.pop(name, None)
        self._bridge.states[trial.trial_id].reference = None  # the worker has it

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
