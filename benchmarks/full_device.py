"""How many trials an hour does a machine train, by processes and threads, and what does the program choose?

Real trainings of a part of a store, built as a search's workers build them, on all of P processes of T threads at the
same time; one process with one thread is the reference. All settings of a width take turns, several times over, so that
a machine that is faster for a while is so for all. On a machine with a GPU, `--device cuda` sweeps the number of
processes that share it.
"""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks._report import finish, parser, spread
from graphdb.cpus import usable_cpus
from tuner.cluster.capacity import ExecutionOptions, check_machine
from tuner.cluster.resources import this_machine
from tuner.data import load_crystals
from tuner.protocol import TrainingSpec
from tuner.trainer_factory import CrystalTrainerFactory, make_factory

EPOCHS = 30
Setting = tuple[int, int]
"""Processes, and threads of each."""


def work(pipe: Connection, store: str, fractions: tuple[float, float, float], device: str) -> None:
    """A worker process: asked for (width, threads, seconds), it trains and answers with epochs and seconds."""
    crystals = load_crystals(store, None, fractions=fractions)
    pipe.send("ready")
    while (asked := pipe.recv()) is not None:
        width, threads, seconds = asked
        fixed = {"atom_dim": width, "num_convs": 3}
        factory = make_factory(crystals, run="", fixed=fixed, device=device, threads=threads)
        trainer = _trainer(factory, 0)
        trainer.run_epoch()
        pipe.send("warm")
        pipe.recv()
        start, epochs = time.perf_counter(), 0
        while (spent := time.perf_counter() - start) < seconds:
            trainer.run_epoch()
            epochs += 1
        pipe.send((epochs, spent))


def _trainer(factory: CrystalTrainerFactory, seed: int) -> Any:
    return factory.build(TrainingSpec(key="0000", params={}, seed=seed, epochs=100_000))


@contextmanager
def workers(number: int, *arguments: Any) -> Iterator[list[Connection]]:
    """So many worker processes, ready."""
    context = get_context("spawn")
    pipes, processes = [], []
    for _ in range(number):
        ours, theirs = context.Pipe()
        process = context.Process(target=work, args=(theirs, *arguments), daemon=True)
        process.start()
        pipes.append(ours)
        processes.append(process)
    for pipe in pipes:
        pipe.recv()
    try:
        yield pipes
    finally:
        for pipe in pipes:
            pipe.send(None)
        for process in processes:
            process.join()


def epochs_per_second(pipes: Sequence[Connection], width: int, threads: int, seconds: float) -> float:
    """Of these processes together, while all of them train."""
    for message in ((width, threads, seconds), "go"):
        for pipe in pipes:
            pipe.send(message)
        answers: list[Any] = [pipe.recv() for pipe in pipes]
    return float(sum(epochs / spent for epochs, spent in answers))


def chosen_setting() -> Setting:
    """What a search on this machine takes when it is told nothing."""
    options = ExecutionOptions()
    _, concurrency = check_machine(options, this_machine())
    return concurrency, max(1, int(options.cpus_per_trial))


def settings_of(device: str) -> list[Setting]:
    """What is swept here, the reference first."""
    cpus = usable_cpus()
    if device != "cpu":
        return [(number, 1) for number in (1, 2, 4, 6, 8, 12) if number <= cpus]
    counts = sorted({1, cpus, *(2**power for power in range(cpus.bit_length()))})
    return [(processes, threads) for processes in counts for threads in counts if processes * threads <= 2 * cpus]


def sweep(pipes: Sequence[Connection], settings: Sequence[Setting], width: int, arguments: Any) -> dict[str, Any]:
    """All settings for one width."""
    rates: dict[Setting, list[float]] = {setting: [] for setting in settings}
    for _ in range(arguments.repeats):
        for processes, threads in settings:
            rate = epochs_per_second(pipes[:processes], width, threads, arguments.seconds)
            rates[processes, threads].append(3600 * rate / EPOCHS)
    medians = {setting: spread(found, "trials_per_hour")["median_trials_per_hour"] for setting, found in rates.items()}
    best, chosen = max(medians, key=lambda setting: medians[setting]), chosen_setting()
    return {
        **{_name(setting): spread(found, "trials_per_hour") for setting, found in rates.items()},
        "best": _name(best),
        "chosen": _name(chosen),
        "chosen_share_of_best": round(medians[chosen] / medians[best], 4),
        "chosen_times_reference": round(medians[chosen] / medians[1, 1], 3),
    }


def _name(setting: Setting) -> str:
    return f"{setting[0]}_processes_of_{setting[1]}_threads"


def main(argv: Sequence[str] | None = None) -> int:
    command = parser(__doc__, "full_device")
    add = command.add_argument
    add("--store", type=Path, required=True, metavar="STORE", help="crystals, written by graphdb.build")
    add("--widths", type=int, nargs="+", default=[16, 64, 128], metavar="N", help="atom_dim (16 64 128)")
    add("--seconds", type=float, default=5.0, metavar="S", help="of each measurement (5)")
    add("--repeats", type=int, default=3, metavar="N", help="of each measurement (3)")
    add("--train", type=float, default=0.05, metavar="SHARE", help="of the crystals, to train on (0.05)")
    add("--device", default="cpu", metavar="DEVICE", help="cpu, or cuda (cpu)")
    arguments = command.parse_args(argv)
    valid = arguments.train / 9
    fractions = (arguments.train, valid, 1 - arguments.train - valid)
    settings = settings_of(arguments.device)
    if chosen_setting() not in settings:
        settings.append(chosen_setting())
    most = max(processes for processes, _ in settings)
    with workers(most, str(arguments.store), fractions, arguments.device) as pipes:
        results = {f"width_{width}": sweep(pipes, settings, width, arguments) for width in arguments.widths}
    num_crystals = len(load_crystals(str(arguments.store), None, fractions=fractions).split.train)
    trial = {"epochs_of_a_trial": EPOCHS, "training_crystals": num_crystals, "batch_size": 128, "num_convs": 3}
    question = (__doc__ or "").partition("\n")[0]
    return finish(question, {**trial, **results}, arguments.output, repeats=arguments.repeats)


if __name__ == "__main__":
    from benchmarks import full_device  # the name under which its processes find their function

    sys.exit(full_device.main())
