"""How long does it take from `tuner.search` to the first training step on another machine?

Needs root, for a laboratory of two hosts on this machine (tests/cluster/lab.py): a head that trains nothing, and a
worker with a disk and an object store of its own. The store lies on the head's disk alone; a second search finds the
worker's copy. Both machines' clocks are this one's, so the seconds of driver and worker are on one line of time.
"""

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import _report
from graphdb.store import Store
from graphdb.writer import StoreWriter
from tests.cluster.lab import Lab
from tuner import data, trainer_factory
from tuner.cluster import session
from tuner.protocol import TrainingSpec
from tuner.trainer_factory import CrystalTrainerFactory

HOSTS = {"head": "10.77.0.2", "gpu1": "10.77.0.3"}
EVENTS = Path("/mnt/shared/events.jsonl")
PHASES = {
    "main": "start_python",
    "loaded": "read_and_split_the_store",
    "ray": "connect_to_ray",
    "handed": "put_what_trials_share",
    "asked": "start_the_trial_s_process",
    "copied": "copy_to_the_worker_s_disk",
    "built": "build_the_training",
    "stepped": "first_step",
}
LIMIT_SECONDS = 900


def main(argv: list[str] | None = None) -> int:
    """Measure."""
    parser = _report.parser(__doc__, "first_step")
    parser.add_argument("--store", type=Path, required=True, metavar="STORE", help="crystals, written by graphdb.build")
    parser.add_argument("--times", type=int, default=1, help="as often under new ids, for a larger store (1)")
    parser.add_argument("--repeats", type=int, default=3, help="searches on fresh workers (3)")
    arguments = parser.parse_args(argv)
    if reason := Lab.unavailable():
        return _report.skip(reason)
    with tempfile.TemporaryDirectory(prefix="first-step-", dir="/var/tmp") as folder:
        store = arguments.store
        if arguments.times > 1:
            store = Path(folder) / "large.lmdb"
            enlarge(arguments.store, store, arguments.times)
        with Store(store) as opened:
            size = {"crystals": len(opened), "store_bytes": store.stat().st_size}
            size["bytes_in_memory"] = opened.bytes_in_memory
        fresh: list[dict[str, float]] = []
        again: list[dict[str, float]] = []
        for _ in range(arguments.repeats):
            with tempfile.TemporaryDirectory(dir=folder) as place, Lab(Path(place), HOSTS) as lab:
                with store.open("rb") as source, lab.path("head", "/root/my.lmdb").open("wb") as target:
                    while piece := source.read(2**26):
                        target.write(piece)
                start_ray(lab)
                fresh.append(measure(lab))
                again.append(measure(lab))
    return _report.finish(
        "How long does it take from tuner.search to the first training step on another machine?",
        {**size, "first_search": summary(fresh), "second_search": summary(again)},
        arguments.output,
        repeats=arguments.repeats,
        packages=["ray"],
    )


def enlarge(small: Path, large: Path, times: int) -> None:
    """A store with each crystal several times, under different ids."""
    with Store(small) as store:
        crystals = list(zip(store.material_ids, store.raw_records(), store.digests(), strict=True))
        columns = {name: np.tile(store.targets([name])[:, 0], times) for name in store.properties}
        units = {name: found.unit for name, found in store.properties.items()}
        settings = store.settings
    wanted = {}
    with StoreWriter(large, settings) as writer:
        for time_ in range(times):
            for material_id, record, digest in crystals:
                wanted[name := f"{time_:04d}-{material_id}"] = digest
                writer.add_graph(name, digest, record)
        writer.finish(wanted, columns, units, [])


def start_ray(lab: Lab) -> None:
    """On the head without, on the worker with one CPU."""
    start = [sys.executable, "-m", "ray.scripts.scripts", "start", "--disable-usage-stats"]
    head = ["--head", "--num-cpus=0", "--port=6379", "--include-dashboard=false"]
    lab.exec("head", *start, *head, f"--node-ip-address={HOSTS['head']}")
    lab.exec("gpu1", *start, "--num-cpus=1", f"--address={HOSTS['head']}:6379", f"--node-ip-address={HOSTS['gpu1']}")


def measure(lab: Lab) -> dict[str, float]:
    """Seconds of each phase of one search, which ends after its first step."""
    events = lab.path("head", str(EVENTS))
    events.unlink(missing_ok=True)
    begun = time.time()
    driver = lab.popen("head", sys.executable, "-m", "benchmarks.first_step", "--driver", output=lab_log(lab))
    try:
        while "stepped" not in (found := dict(read(events))):
            if driver.poll() is not None or time.time() > begun + LIMIT_SECONDS:
                raise RuntimeError(f"the search did not get to its first step:\n{lab_log(lab).read()}")
            time.sleep(0.01)
    finally:
        driver.kill()
        driver.wait()
    times = [begun, *(found[name] for name in PHASES)]
    phases = dict(zip(PHASES.values(), np.diff(times).tolist(), strict=True))
    return {"in_all": times[-1] - begun, **phases}


def summary(runs: list[dict[str, float]]) -> dict[str, Any]:
    """Of each phase."""
    return {name: _report.spread([run[name] for run in runs], "seconds") for name in runs[0]}


def lab_log(lab: Lab) -> Any:
    """What the driver says."""
    return (lab.folder / "driver.log").open("a+", encoding="utf-8")


def read(events: Path) -> Iterator[tuple[str, float]]:
    """The first time of each event."""
    if events.exists():
        for line in reversed(events.read_text().splitlines()):
            if line.endswith("]"):
                name, when = json.loads(line)
                yield name, when


def note(name: str) -> None:
    """That something has happened on this host."""
    with EVENTS.open("a", encoding="utf-8") as file:
        file.write(json.dumps([name, time.time()]) + "\n")


class NotedFactory(CrystalTrainerFactory):
    """Builds trainings, and notes when."""

    def build(self, spec: TrainingSpec) -> Any:
        """A training that notes its first step."""
        note("asked")
        trainer = CrystalTrainerFactory.build(self, spec)
        note("built")
        step = trainer._step

        def noted(*arguments: Any) -> Any:
            loss = step(*arguments)
            note("stepped")
            trainer._step = step  # type: ignore[method-assign, unused-ignore]
            return loss

        trainer._step = noted  # type: ignore[assignment, method-assign]
        return trainer

    def _graphs(self) -> Any:
        graphs = CrystalTrainerFactory._graphs(self)
        note("copied")
        return graphs


def drive() -> int:
    """The search itself, on the head, with notes of its phases."""
    note("main")
    from ray import tune

    from tuner import search

    def noted(name: str, function: Any) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            result = function(*arguments, **named)
            note(name)
            return result

        return call

    def make(*arguments: Any, **named: Any) -> NotedFactory:
        made = make_factory(*arguments, **named)
        return NotedFactory(**{field.name: getattr(made, field.name) for field in fields(made)})

    make_factory, trainer_factory.make_factory = trainer_factory.make_factory, make
    data.load_crystals = noted("loaded", data.load_crystals)
    session.Cluster.__enter__ = noted("ray", session.Cluster.__enter__)  # type: ignore[method-assign]
    tune.with_parameters = noted("handed", tune.with_parameters)
    flags = "--address auto --space table5 --store /root/my.lmdb --trials 1 --max-epochs 2 --finalists 0 --device cpu"
    return search.main([*flags.split(), "--runs", "/mnt/shared/runs", "--name", f"run-{time.time():.0f}"])


if __name__ == "__main__":
    # The worker unpickles `NotedFactory`, and looks for it in a module that has its name.
    from benchmarks import first_step

    sys.exit(first_step.drive() if sys.argv[1:] == ["--driver"] else first_step.main())
