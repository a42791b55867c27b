"""Searches killed at random moments of their uploads go on, on another machine, as if nothing had happened."""

import json
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.tuner.drive import Plan, search_in_process
from tests.tuner.logs import epochs_in
from tuner.run.mirror import objects
from tuner.run.mirror.bucket import Bucket
from tuner.run.mirror.pull import pull
from tuner.run.run_folder import RunFolder
from tuner.trials.restore import read_trials

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[4]


def table(run: RunFolder) -> list[Any]:
    return [(r.number, r.state, dict(r.params), dict(r.curve)) for r in list(read_trials(run).values())]


def has_an_epoch(uri: str) -> bool:
    newest = objects.newest_manifest(Bucket(uri))
    return newest is not None and objects.size_of(newest.files.get("epochs.jsonl", ())) > 0


def life(plan: Plan, uri: str, seed: int, kill_after: float | None) -> int:
    command = [sys.executable, "-m", "tests.tuner.mirrordrive", plan.as_json(), uri, str(seed)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "began\n"
        if kill_after is not None:
            while not has_an_epoch(uri):  # before that, a resumed search may begin another trial first
                time.sleep(0.01)
            time.sleep(kill_after)
            process.kill()
        return process.wait(120)


def test_a_search_killed_again_and_again_with_its_disk_ends_with_the_same_table(tmp_path: Path) -> None:
    undisturbed = Plan(folder=str(tmp_path / "undisturbed"), trials=10)
    search_in_process(undisturbed)
    uri, draw = f"file://{tmp_path}/bucket/mine", random.Random(7)
    kills = number = 0
    while True:
        number += 1
        folder = tmp_path / f"head{number}"
        plan = Plan(folder=str(folder), trials=10, factory={"seconds_per_epoch": 0.02})
        code = life(plan, uri, number, draw.uniform(0.0, 0.4) if kills < 8 else None)
        if code == 0:
            break
        kills += 1
        copy = RunFolder(tmp_path / f"copy{number}")
        pull(uri, copy.path)
        check(copy, RunFolder(folder))
    final = RunFolder(tmp_path / "final")
    pull(uri, final.path)
    assert kills >= 5
    assert table(final) == table(RunFolder(Path(undisturbed.folder)))
    lines = [(line["key"], line["epoch"]) for line in epochs_in(final.epochs)]
    assert len(lines) == len(set(lines))
    assert final.read() == {"status": "done"}


def check(copy: RunFolder, head: RunFolder) -> None:
    """The copy is a moment of the head's folder: logs begin alike, states belong to the log."""
    assert head.epochs.read_bytes().startswith(copy.epochs.read_bytes())
    epochs: dict[str, int] = {}
    for line in epochs_in(copy.epochs):
        epochs[line["key"]] = line["epoch"]
    for record in list(read_trials(copy).values()):
        logged = epochs.get(f"{record.number:04d}", 0)
        assert max(record.curve, default=0) == logged or not record.has_ended
    for state in copy.path.glob("trials/*/state.zip"):
        logged = epochs.get(state.parent.name, 0)
        assert json.loads(state.read_text())["epoch"] in (logged, logged + 1)
