"""How many trials run at a time, and what each gets, on one machine or on nodes that come and go."""

import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from graphdb.command import count
from graphdb.progress import duration_text
from tuner.cluster.resources import Resources, amount, of_trial
from tuner.errors import SearchError

if TYPE_CHECKING:
    from tuner.cluster.session import Cluster

_WAIT_SECONDS = 1800.0
_REMIND_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True, slots=True)
class ExecutionOptions:
    """What this invocation may use; nothing here changes what is searched."""

    address: str | None = None
    """Of a running Ray; None starts one."""
    concurrency: int | None = None
    """Trainings at the same time; None for as many as fit."""
    cpus_per_trial: float = 1.0
    gpus_per_trial: float | None = None
    """None for DEFAULT_GPU_SHARE where there are GPUs."""
    epoch_timeout: float | None = None
    """Seconds that an epoch may take; None to judge by the epochs so far."""
    time_budget: float | None = None
    """Seconds for the search; finalists come on top."""
    retry_failed: bool = False
    """Run the parameters of failed trials again."""
    data_bytes: int = 0
    """Size of the crystals that all workers of a machine share."""


def find_capacity(
    options: ExecutionOptions,
    cluster: "Cluster",
    *,
    num_trials: int,
    say: Callable[[str], None],
    check: Callable[[], None],
) -> tuple[Resources, int | None]:
    """What a trial gets, and how many run at a time: None for as many as fit, since nodes may join.

    Args:
        options: what the user asks for.
        cluster: entered. One that was there already is waited for, until a trial fits some node.
        num_trials: of the search; an autoscaler is asked for nodes for them.
        say: shows a line to the user.
        check: called while waiting; raises to end the wait.

    Raises:
        SearchError: if no trial fits, or not as many as were asked for, or the versions of the nodes differ.
    """
    if options.address is None:
        return check_machine(options, cluster.nodes()[0])
    started = time.monotonic()
    reminder = started
    while True:  # an autoscaler takes minutes to start the first node; `ray up` returns before its workers are there
        nodes = cluster.nodes()
        trial = of_trial(options.cpus_per_trial, options.gpus_per_trial, nodes)
        if num_fitting(trial, nodes):
            cluster.check_versions()
            return trial, options.concurrency
        now = time.monotonic()
        if now - started > _WAIT_SECONDS:
            raise SearchError(
                f"a trial must fit a node within {duration_text(_WAIT_SECONDS)}, but it asks for {trial} of "
                f"{_text(nodes)}; lower --cpus-per-trial or --gpus-per-trial; `ray status` on the head tells what "
                "became of the workers"
            )
        if now >= reminder:
            say(f"Waiting for a worker: a trial takes {trial}, and the cluster has {_text(nodes)} so far")
            reminder = now + _REMIND_SECONDS
        cluster.ask_for(trial, options.concurrency or num_trials)
        time.sleep(0.5)
        check()


def check_machine(options: ExecutionOptions, machine: Resources) -> tuple[Resources, int]:
    """What a trial gets on one machine, and how many run at a time; a SearchError names the flag that asks for more."""
    trial = of_trial(options.cpus_per_trial, options.gpus_per_trial, [machine])
    for flag, wanted, there, unit in (
        ("--cpus-per-trial", trial.cpus, machine.cpus, "CPU"),
        ("--gpus-per-trial", trial.gpus, machine.gpus, "GPU"),
    ):
        if wanted > there + 1e-9:
            raise SearchError(
                f"{flag} must be at most {there:g}, got {wanted:g}: this machine has {amount(there, unit)}; "
                "lower it, or leave it out"
            )
    fits = num_fitting(trial, [machine])
    wanted = fits if options.concurrency is None else options.concurrency
    if wanted > fits:
        raise SearchError(
            f"--concurrent must be at most {fits}, got {wanted}: {count(fits, 'trial')} of {trial} "
            f"{'fits' if fits == 1 else 'fit'} this machine ({_text([machine])}); lower it, or leave it out"
            + ("; a smaller --cpus-per-trial makes room for more trials" if trial.cpus > 1 else "")
        )
    return trial, wanted


def num_fitting(trial: Resources, nodes: Sequence[Resources]) -> int:
    """How many such trials run at a time. A share of a GPU is of a single one: 0.4 fits twice, not two and a half."""
    total = 0
    for node in nodes:
        fits = math.floor(node.cpus / trial.cpus + 1e-9)
        if trial.gpus > 0:
            per_gpu = math.floor(1 / trial.gpus + 1e-9)
            fits = min(fits, int(node.gpus) * per_gpu if per_gpu else math.floor(node.gpus / trial.gpus + 1e-9))
        total += fits
    return total


def _text(nodes: Sequence[Resources]) -> str:
    kinds = Counter((node.cpus, node.gpus) for node in nodes)
    return ", ".join(
        f"{f'{number} x ' if number > 1 else ''}{amount(cpus, 'CPU')} and {amount(gpus, 'GPU')}"
        for (cpus, gpus), number in kinds.items()
    )
