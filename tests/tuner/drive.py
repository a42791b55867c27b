"""Runs a whole search with fake trainings, as a process that tests may kill: python drive.py '{"folder": ..., ...}'."""

import json
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]  # workers get PYTHONPATH from the test

from faketrainer import FakeFactory
from rich.console import Console
from tuner.campaign import Campaign, Means
from tuner.errors import SearchError
from tuner.runfolder import RunFolder
from tuner.settings import SearchSettings
from tuner.space import parse_space, read_space_text

KNOWN = ("num_convs", "atom_dim", "head_dim", "num_head_layers", "weight_decay", "learning_rate")


@dataclass
class Plan:
    folder: str
    trials: int = 8
    max_epochs: int = 9
    concurrency: int = 1
    sampler: str = "tpe"
    seed: int = 3
    finalists: int = 0
    finalist_seeds: int = 2
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
        asha={"grace_epochs": 1, "reduction": 3},
        max_epochs=plan.max_epochs,
        trials=plan.trials,
        finalists=plan.finalists,
        finalist_seeds=plan.finalist_seeds,
    )


def evaluate(folder: Path) -> dict[str, dict[str, float]]:
    score = json.loads((folder / "config.json").read_text())["best_score"]
    return {task: {"mae": score, "rmse": score, "r2": 0.5, "mae_over_mad": score} for task in FakeFactory().tasks}


def campaign(plan: Plan) -> Campaign:
    run = RunFolder(Path(plan.folder))
    settings = settings_of(plan)
    if not run.exists():
        run.write({"settings": settings.as_dict(), "status": "new"})
    return Campaign(
        run=run,
        settings=settings,
        space=parse_space(settings.space_text, "table5.toml", settings.tasks, KNOWN, lambda name, value: None),
        factory=FakeFactory(**plan.factory),
        evaluate=evaluate,
        means=Means(concurrency=plan.concurrency),
        console=Console(highlight=False),
        resume_command="python drive.py again",
    )


if __name__ == "__main__":
    try:
        campaign(Plan(**json.loads(sys.argv[1]))).execute()
    except SearchError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
