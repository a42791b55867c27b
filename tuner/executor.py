"""Ray: starts it, runs the jobs of a work on it with Tune, and leaves no process behind."""

import contextlib
import json
import logging
import os
import re
import shutil
import socket
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray._private import ray_logging, services
from ray._private import worker as ray_worker
from ray.autoscaler.sdk import request_resources
from ray.tune.error import TuneError
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from tuner.errors import SearchError
from tuner.failures import failure_of
from tuner.jobs import Failure, Job, Report, TrainerFactory, Work
from tuner.nodes import check_nodes
from tuner.signals import Signals
from tuner.trainable import BEST, PAYLOAD, STATE, Handed, JobProcess

_ENVIRONMENT = {
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # the user's relative paths stay right in the workers
    "RAY_USAGE_STATS_ENABLED": "0",  # nobody is told
    "RAY_memory_monitor_refresh_ms": "0",  # its kill ends Tune's loop; the kernel's is a lost worker, which goes on
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # what Ray itself recommends; without it a warning on each worker
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_SCHEDULER_EVENTS": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # no second copy of every result in CSV, JSON and TensorBoard
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # ours ends at once: the state is on disk already
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_MAX_PENDING_TRIALS_PG": "1000",  # worker processes that start at a time; by default one after the other
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",  # Tune's own snapshots are never read: the study on disk is the truth
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # we print the first, and keep all
    "TUNE_FORCE_TRIAL_CLEANUP_S": "1",
    "TUNE_WARN_THRESHOLD_S": "60",
}
_WORKER_ENVIRONMENT = {
    # What a worker hands over comes with the answer itself. Above 100 kB, Ray would leave it in the memory of the
    # worker's node and send word of it: with that node it would be lost, and Tune's loop ends when a result is lost.
    "RAY_max_direct_call_object_size": str(1 << 30),
}
_MOST_ASKED_FOR = 1000
_ROOM_SECONDS = 1.0
"""Between two looks at how much room there is."""
_ANSWER_SECONDS = 10.0
"""That a Ray has at whose address we knock."""
_TEMP_PREFIX = "crystune-ray-"
_WITHOUT_RAY = "start one with `ray start --head`, or leave --address out"


@dataclass(frozen=True, kw_only=True, slots=True)
class Resources:
    """What one job occupies."""

    cpus: float
    gpus: float

    def as_bundle(self) -> dict[str, float]:
        """In Ray's words."""
        return {"CPU": self.cpus, "GPU": self.gpus} if self.gpus else {"CPU": self.cpus}

    def __str__(self) -> str:
        cpus = f"{self.cpus:g} CPU{'s' if self.cpus > 1 else ''}"
        return f"{cpus} and {self.gpus:g} GPU" if self.gpus else cpus


class _Interrupted(BaseException):
    """Leaves Tune's loop; not an Exception, because Tune would begin a cleanup that waits for running epochs."""


class Cluster:
    """A running Ray: of our own on this machine, or one that is there already."""

    def __init__(self, address: str | None, *, data_bytes: int = 0) -> None:
        """Prepare; nothing starts before ``with``.

        Args:
            address: of a running Ray ("auto" finds the one of this node); None starts one of our own.
            data_bytes: size of what all workers share.
        """
        self._address = address
        self._data_bytes = data_bytes
        self._temp: str | None = None
        self._asked_for: int | None = None
        self._environment: dict[str, str | None] = {}

    def __enter__(self) -> "Cluster":
        """Start or connect.

        Raises:
            SearchError: if no Ray answers at the address.
        """
        environment = dict(_ENVIRONMENT)
        if self._address is None:  # the workers find this very package, also where it is not installed
            paths = [str(Path(__file__).resolve().parents[1]), os.environ.get("PYTHONPATH", "")]
            environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
        self._environment = {name: os.environ.get(name) for name in environment}
        os.environ.update(environment)
        _silence()
        common: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL, "configure_logging": False}
        try:
            if self._address is not None:
                try:
                    _check_that_it_answers(self._address)
                    ray.init(address=self._address, runtime_env={"env_vars": _WORKER_ENVIRONMENT}, **common)
                except (OSError, RuntimeError, ValueError) as error:
                    reason = str(error).splitlines()[0]
                    raise SearchError(
                        f"--address must name a running Ray, got {self._address!r}: {reason}; {_WITHOUT_RAY}"
                    ) from error
                node: Any = ray_worker._global_node  # there is no public way to its folder
                if node is not None and Path(node.get_temp_dir_path()).name.startswith(_TEMP_PREFIX):
                    raise SearchError(
                        f"--address must name a running Ray that is shared, but {self._address!r} finds only the one "
                        f"that another search has started for itself; {_WITHOUT_RAY}"
                    )
            else:
                _remove_stale_temporary_folders()
                self._temp = tempfile.mkdtemp(prefix=f"{_TEMP_PREFIX}{os.getpid()}-")
                ray.init(
                    "local",  # whatever else runs here, and whatever RAY_ADDRESS names
                    num_cpus=usable_cpus(),
                    include_dashboard=False,
                    object_store_memory=max(100_000_000, 3 * self._data_bytes),
                    _temp_dir=self._temp,
                    **common,
                )
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Stop or disconnect, and clean up."""
        if self._asked_for:
            self.ask_for_nothing()
        ray.shutdown()
        if self._temp is not None:
            shutil.rmtree(self._temp, ignore_errors=True)
        for name, value in self._environment.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

    def restart(self) -> None:
        """End all that runs."""
        self.__exit__()
        self.__enter__()

    def nodes(self) -> list[Resources]:
        """What each living node has."""
        return [
            Resources(cpus=node["Resources"].get("CPU", 0.0), gpus=node["Resources"].get("GPU", 0.0))
            for node in ray.nodes()  # type: ignore[no-untyped-call]
            if node["Alive"]
        ]

    def check_versions(self) -> None:
        """Ask every node.

        Raises:
            SearchError: naming those whose Python, Ray, torch or crystune differs from ours.
        """
        check_nodes()

    def ask_for(self, job: Resources, count: int) -> None:
        """Have the autoscaler, where there is one, provide room for this many jobs.

        Tune alone would ask for one job after the other, and so for one node after the other.
        """
        wanted = min(count, _MOST_ASKED_FOR)
        if self._address is None or wanted == self._asked_for:
            return
        with contextlib.suppress(Exception):  # A wish; a cluster without an autoscaler has nobody to hear it.
            request_resources(bundles=[job.as_bundle()] * wanted)
        self._asked_for = wanted

    def ask_for_nothing(self) -> None:
        """Have the autoscaler forget what was asked for, also by a driver that was killed: idle nodes may go."""
        self.ask_for(Resources(cpus=1, gpus=0), 0)


def _check_that_it_answers(address: str) -> None:
    """Ray itself tries for ever to reach one that left its address behind, as after a restart of the machine."""
    if "://" in address:
        return
    found = services.canonicalize_bootstrap_address(address)
    host, _, port = (found or "").rpartition(":")
    if not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_SECONDS).close()
    except OSError as error:
        raise ConnectionError(f"nothing answers at {found}") from error


def _silence() -> None:
    """Keep Ray's notes off the screen: its loggers, and what its nodes print through us whatever the log level."""
    for name in ("ray", "ray.tune", "ray.train"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    for name in ("stdout_deduplicator", "stderr_deduplicator"):
        deduplicator = getattr(ray_logging, name, None)
        if deduplicator is not None:
            deduplicator.skip_re = re.compile(
                ""
            )  # there is no public switch; RAY_DEDUP_LOGS_SKIP_REGEX is read at import


def usable_cpus() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def execute(
    work: Work,
    factory: TrainerFactory,
    *,
    resources: Resources,
    concurrency: int | None,
    room: Callable[[], int] | None = None,
    signals: Signals,
    tick: Callable[[], bool],
) -> bool:
    """Run jobs until the work is done. Needs an entered `Cluster`.

    Args:
        work: asked for jobs, told of everything.
        factory: builds the trainings; travels to each worker once, its arrays shared by all of a node.
        resources: of one job; the GPUs of a single job may differ (`Job.gpus`).
        concurrency: jobs that run at the same time, at most; None for as many as there is room for, whenever.
        room: how many jobs fit the nodes that are there now; no more than that, and one for a node that joins, are
            handed out. None where `concurrency` is known to fit.
        signals: end the run when received.
        tick: called about ten times a second; False ends the run at once, as if it had been killed.

    Returns:
        Whether the work was done, rather than ended by `tick`.

    Raises:
        KeyboardInterrupt: after Ctrl-C or a SIGTERM.
        Exception: whatever `work` raised.
    """
    bridge = _Bridge(work)
    proposer = _Proposer(bridge, room)

    def of_job(config: dict[str, Any]) -> tune.PlacementGroupFactory:
        gpus = config["job"]["gpus"] if config.get("job") else None
        return tune.PlacementGroupFactory(
            [replace(resources, gpus=resources.gpus if gpus is None else gpus).as_bundle()]
        )

    trainable = tune.with_resources(tune.with_parameters(JobProcess, factory=factory), of_job)
    with tempfile.TemporaryDirectory(prefix="crystune-tune-") as scratch:  # Tune's own files, which nobody reads
        return _fit(bridge, proposer, trainable, concurrency=concurrency, scratch=scratch, signals=signals, tick=tick)


def _fit(
    bridge: "_Bridge",
    proposer: "_Proposer",
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
            scheduler=_Decider(bridge),
            num_samples=-1,
            max_concurrent_trials=concurrency,
            reuse_actors=True,
            trial_name_creator=lambda trial: str(trial.trial_id),
            trial_dirname_creator=lambda trial: str(trial.trial_id),
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=scratch,
            callbacks=[_Pulse(bridge, signals, tick)],
            failure_config=tune.FailureConfig(max_failures=0),  # another attempt is another Tune trial, see _Bridge
            checkpoint_config=tune.CheckpointConfig(
                checkpoint_at_end=False
            ),  # the job's own state is all there is to save
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


class _Bridge:
    """Which Tune trial is an attempt at which job; and the first exception of the work, before Tune makes it text."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.jobs: dict[str, Job] = {}
        self.states: dict[str, Handed] = {}
        self.error: Exception | None = None

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except Exception as error:
            self.error = self.error or error
            raise


class _Proposer(_Unpickled, Searcher):
    """Hands the jobs of a work to Tune. Each attempt at a job is a Tune trial of its own.

    Tune asks long before there is room, so that worker processes start side by side; but a job that is proposed late
    is proposed with more knowledge.
    """

    def __init__(self, bridge: _Bridge, room: Callable[[], int] | None) -> None:
        super().__init__()
        self._bridge = bridge
        self._room = room
        self._fits = 0
        self._next_look = 0.0

    def suggest(self, trial_id: str) -> Any:
        work = self._bridge.work
        if self._room is not None and len(self._bridge.jobs) > self._fits:
            if time.monotonic() < self._next_look:
                return None
            self._fits = self._room()
            self._next_look = time.monotonic() + _ROOM_SECONDS
            if len(self._bridge.jobs) > self._fits:
                return None
        job = self._bridge.call(work.next_job)
        if job is None:
            return Searcher.FINISHED if work.done() else None
        self._bridge.jobs[trial_id] = job
        state = self._bridge.call(work.saved_state, job.key)
        handed = self._bridge.states[trial_id] = Handed(ray.put(state) if state is not None else None)
        return {"job": job.as_dict(), "state": handed}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        self._bridge.jobs.pop(trial_id, None)
        self._bridge.states.pop(trial_id).reference = None

    def save(self, checkpoint_path: str) -> None:
        """Nothing: Tune's snapshots are never read."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing."""


class _Decider(_Unpickled, FIFOScheduler):
    """Tells the work of results and failures, and Tune what the work decided."""

    def __init__(self, bridge: _Bridge) -> None:
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
        job = self._bridge.jobs[trial.trial_id]
        report = Report(
            **json.loads(result[PAYLOAD]),
            **{name: result[name].content.tobytes() for name in (STATE, BEST) if name in result},
        )
        goes_on = self._bridge.call(self._bridge.work.on_report, job.key, report)
        return str(TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP)

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        job = self._bridge.jobs[trial.trial_id]
        self._bridge.call(self._bridge.work.on_failure, job.key, _failure(trial))


class _Pulse(_Unpickled, tune.Callback):
    """Beats at each turn of Tune's loop, at least ten times a second."""

    def __init__(self, bridge: _Bridge, signals: Signals, tick: Callable[[], bool]) -> None:
        self._bridge = bridge
        self._signals = signals
        self._tick = tick

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._bridge.call(self._bridge.work.on_start, self._bridge.jobs[trial.trial_id].key)

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
        assert trial.storage is not None and trial.pickled_error_file is not None
        stored = Path(trial.storage.trial_fs_path)
        stored.mkdir(parents=True, exist_ok=True)
        shutil.copy(trial.pickled_error_file, stored)
        error: object = trial.get_pickled_error()
    except Exception:  # noqa: BLE001 - the exception class may be unknown here; the text is in the other file
        error = None
    text = str(error) if error is not None else Path(trial.error_file).read_text() if trial.error_file else "no details"
    return failure_of(error, re.sub(r"\x1b\[[0-9;]*m", "", text))


def _remove_stale_temporary_folders() -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{_TEMP_PREFIX}*"):
        owner = folder.name[len(_TEMP_PREFIX) :].partition("-")[0]
        if owner.isdigit() and not _is_alive(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
