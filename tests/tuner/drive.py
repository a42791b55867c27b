"""Runs a whole search with fake trainings, as a process that tests may kill: its argument is a `Plan` as JSON."""

import argparse
import json
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from graphdb.command import Parser, run
from graphdb.records import finite_or_none
from tests.tuner.conftest import KNOWN, accept_anything
from tests.tuner.faketrainer import FakeFactory
from tuner.cluster.capacity import ExecutionOptions
from tuner.driver import SearchDriver
from tuner.protocol import EpochResult
from tuner.run.run_folder import RunFolder
from tuner.run.settings import SearchSettings
from tuner.space.toml import parse_space, read_space_text
from tuner.study.study import Study
from tuner.trials.search import SearchQueue
from tuner.trials.stopping import SECTIONS, make_rule


@dataclass
class Plan:
    folder: str
    trials: int = 8
    max_epochs: int = 9
    concurrency: int = 1
    sampler: str = "tpe"
    seed: int = 3
    finalists: int | None = 0
    finalist_seeds: int | None = 2
    address: str | None = None
    gpus_per_trial: float | None = None
    epoch_timeout: float | None = None
    asha: bool = True
    factory: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> str:
        return json.dumps(asdict(self))


def settings_of(plan: Plan) -> SearchSettings:
    text = read_space_text("table5")[1]
    factory = FakeFactory(**plan.factory)
    return SearchSettings(
        space_name="table5",
        space_text=text,
        store=None,
        fingerprint="none",
        tasks=tuple(factory.tasks),
        units=tuple("eV" for _ in factory.tasks),
        split={"train": 100, "validation": 10, "test": 10, "rule": "none", "seed": 0},
        seed=plan.seed,
        sampler=plan.sampler,
        stopping={"rule": "asha", "grace_epochs": 1, "reduction": 3} if plan.asha else {"rule": "none"},
        max_epochs=plan.max_epochs,
        trials=plan.trials,
        finalists=plan.finalists,
        finalist_seeds=plan.finalist_seeds,
    )


def evaluate(folder: Path) -> dict[str, dict[str, float]]:
    score = json.loads((folder / "config.json").read_text())["best_score"]
    return {task: {"mae": score, "rmse": score, "r2": 0.5, "mae_over_mad": score} for task in FakeFactory().tasks}


def driver(plan: Plan) -> SearchDriver:
    run = RunFolder(Path(plan.folder))
    settings = settings_of(plan)
    if not run.exists():
        run.write({"settings": settings.as_dict(), "status": "new"})
    return SearchDriver(
        run=run,
        settings=settings,
        space=parse_space(settings.space_text, "table5.toml", settings.tasks, KNOWN, accept_anything, SECTIONS),
        factory=FakeFactory(**plan.factory),
        evaluate=evaluate,
        options=ExecutionOptions(
            address=plan.address,
            concurrency=plan.concurrency or None,
            gpus_per_trial=plan.gpus_per_trial,
            epoch_timeout=plan.epoch_timeout,
        ),
        console=Console(highlight=False),
        resume_command="python drive.py again",
    )


def search_in_process(plan: Plan) -> SearchQueue:
    """The same search without Ray and without processes, one training at a time."""
    run = RunFolder(Path(plan.folder))
    settings = settings_of(plan)
    factory = FakeFactory(**plan.factory)
    space = parse_space(settings.space_text, "table5.toml", settings.tasks, KNOWN, accept_anything, SECTIONS)
    run.path.mkdir(parents=True, exist_ok=True)
    queue = SearchQueue(
        run,
        Study(space, sampler=plan.sampler, seed=plan.seed),
        rule=make_rule(settings.stopping, plan.max_epochs),
        num_trials=plan.trials,
        max_epochs=plan.max_epochs,
        seed=plan.seed,
        notice=lambda queue, what, training: None,
    )
    while (spec := queue.next_training()) is not None:
        trainer = factory.build(spec)
        goes_on = True
        while goes_on:
            body = finite_or_none(trainer.run_epoch().as_dict())
            report = EpochResult(epoch=trainer.epoch, finished=trainer.finished, body=body)
            goes_on = queue.on_result(spec.key, report)
    assert queue.done()
    return queue


if __name__ == "__main__":
    parser = Parser("tests.tuner.drive", "Runs a search with fake trainings.")
    parser.add_argument("plan")

    def execute(arguments: argparse.Namespace) -> int:
        return 0 if driver(Plan(**json.loads(arguments.plan))).execute() else 1

    sys.exit(run(parser, execute))
