"""The whole way on several hosts: `ray up` with cluster.local.yaml, a search, a worker that loses power, `ray down`."""

import json
import sys
import time
from pathlib import Path

import pytest

from tests.cluster.claims import attempts_that_ended, check_run
from tests.cluster.lab import Lab
from tests.cluster.raylab import TOKEN, nodes, ray_down, ray_up
from tests.tuner.logs import epochs_in
from tuner.run import jsonlines
from tuner.run.run_folder import RunFolder

pytestmark = [pytest.mark.lab, pytest.mark.ray]

SEARCH = (
    "-u -m tuner.search --address auto --space table5 --trials 8 --max-epochs 40 --finalists 1 --finalist-seeds 1 "
    "--final-epochs 4 --sampler random --name real"
)


def running(run: RunFolder) -> set[str]:
    """Trials that have reported an epoch and go on: two of them are one on each worker, which has one CPU."""
    lines = epochs_in(run.epochs)
    last = {line["key"]: line["decision"] for line in lines}
    return {key for key, decision in last.items() if decision == "continue"}


def test_a_search_on_two_workers_survives_the_loss_of_one(tmp_path: Path) -> None:
    """On real crystals. The head keeps the run on its own disk: no folder is shared."""
    began = time.monotonic()
    with Lab(tmp_path) as lab:
        seconds = {"ray up": ray_up(lab)}
        assert {name: node.get("GPU") for name, node in nodes(lab).items()} == {"head": None, "gpu1": 1, "gpu2": 1}
        run = RunFolder(lab.path("head", "/root/runs/real"))
        log = tmp_path / "search.log"
        with log.open("w") as output:
            search = lab.popen("head", sys.executable, *SEARCH.split(), environment=TOKEN, output=output)
            while len(running(run)) < 2:
                assert search.poll() is None, log.read_text()
                assert time.monotonic() - began < 150, log.read_text()
                time.sleep(0.05)
            lab.power_off("gpu2")
            lost = time.time()
            assert search.wait(timeout=150) == 0, log.read_text()
        print(log.read_text())
        table = check_run(run.path)
        assert all(r.state in ("finished", "stopped") for r in table.records)
        ended = attempts_that_ended(run.path)
        assert ended, "what ran on gpu2 was noticed to be lost"
        assert {kind for _, kind, _ in ended} == {"lost worker"}, "what ran on gpu2 was noticed to be lost"
        assert len(ended) == 1, "one trial at a time ran there, and its finished epochs are safe"
        assert ended[0][2] >= 1, "one trial at a time ran there, and its finished epochs are safe"
        first_back = min(
            line["time"]
            for line in epochs_in(run.epochs) + jsonlines.read(run.finalist_epochs)
            if any(line["key"] == key and line["epoch"] == epoch + 1 for key, _, epoch in ended)
        )
        finalists = run.read_finalists()
        assert finalists is not None
        assert len(finalists["finalists"]) == 1
        assert json.loads(run.run_json.read_text())["status"] == "done"
        export = f"{sys.executable} -m tuner.export /root/runs/real -o /root/export"
        lab.exec("head", *export.split())
        assert lab.path("head", "/root/export/config.json").exists()
        seconds["ray down"] = ray_down(lab)
    seconds["all"] = time.monotonic() - began
    figures = {
        "epochs retrained, at most": len(ended),
        "resumed after s": first_back - lost,
        **{f"{what} s": round(value, 1) for what, value in seconds.items()},
    }
    print(json.dumps({"fault": "host powered off, real crystals", **figures}))
