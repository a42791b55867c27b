"""What must hold of a run after any fault, checked on its files alone."""

import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.tuner.logs import epochs_in
from tuner.run.log import Training
from tuner.run.run_folder import RunFolder
from tuner.run.settings import SearchSettings
from tuner.trials.restore import read_trials
from tuner.trials.stopping import make_rule
from tuner.trials.stopping.asha import Asha

_ATTEMPT = re.compile(r"^--- (lost worker|exception|out of GPU memory) after epoch (\d+)", re.MULTILINE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A finished search."""

    records: tuple[Training, ...]
    lines: tuple[dict[str, Any], ...]

    def rows(self) -> list[Any]:
        """Outcome, parameters and curve of each trial, in order."""
        return [(r.number, r.state, dict(r.params), dict(r.curve)) for r in self.records]


def check_run(folder: Path) -> Table:
    """Each trial is in the table once and has ended; log, table, Optuna's journal and ASHA's rungs agree.

    Raises:
        AssertionError: if not.
    """
    run = RunFolder(folder)
    settings = SearchSettings.from_dict(run.read()["settings"])
    records = list(read_trials(run).values())
    lines = epochs_in(run.epochs)
    assert [r.number for r in records] == list(range(settings.trials)), "each trial exactly once"
    assert all(r.has_ended for r in records), {r.number: r.state for r in records}
    assert not lines or max(Counter((line["key"], line["epoch"]) for line in lines).values()) == 1
    for record in records:
        mine = [line for line in lines if int(line["key"]) == record.number]
        assert [line["epoch"] for line in mine] == list(range(1, len(mine) + 1)), f"a gap in trial {record.number}"
        scores = {line["epoch"]: line["body"]["score"] for line in mine}
        assert {epoch: score for epoch, score in scores.items() if score is not None} == dict(record.curve)
        if record.state != "failed":
            assert mine[-1]["decision"] == record.state
            assert all(line["decision"] == "continue" for line in mine[:-1])
        if record.state == "finished":
            assert len(mine) == settings.max_epochs or mine[-1]["body"]["epoch"] == len(mine)
    rule = make_rule(settings.stopping, settings.max_epochs)
    if isinstance(rule, Asha):
        _check_rungs(rule, records, lines)
    # What the files of trials hold: the best checkpoint of each trial that has a score, and nothing unfinished.
    for record in records:
        found = {path.name for path in run.trial(record.number).glob("*")}
        assert found == ({"best"} if record.curve else set()), f"trial {record.number} leaves {found}"
        if record.curve:
            best = json.loads((run.trial(record.number) / "best" / "config.json").read_text())
            score = (
                best["score"] if "score" in best else best["best_score"]
            )  # of a real training, or of a pretended one
            assert score == record.curve[best["best_epoch"]] == min(record.curve.values()), f"trial {record.number}"
    return Table(records=tuple(records), lines=tuple(lines))


def _check_rungs(asha: Asha, records: list[Training], lines: list[dict[str, Any]]) -> None:
    """The log's decisions are ASHA's, and what Optuna keeps implies the same rungs."""
    best: dict[str, float] = {}
    for line in lines:
        if line["decision"] == "diverged":
            continue
        best[line["key"]] = min(best.get(line["key"], float("inf")), line["body"]["score"])
        goes_on = asha.record(int(line["key"]), line["epoch"], best[line["key"]])
        assert line["decision"] == ("continue" if goes_on else "stopped") or line["decision"] == "finished"
    reached = {
        rung: {r.number: min(v for e, v in r.curve.items() if e <= rung) for r in records if rung in r.curve}
        for rung in asha.rungs()
    }
    assert asha.rungs() == reached


def attempts_that_ended(folder: Path) -> list[tuple[str, str, int]]:
    """(trial or finalist, kind of failure, epochs that were safe by then) of every attempt that did not end well."""
    found = []
    for path in sorted(RunFolder(folder).failures.glob("*.txt")):
        found += [(path.stem, kind, int(epoch)) for kind, epoch in _ATTEMPT.findall(path.read_text())]
    return found
