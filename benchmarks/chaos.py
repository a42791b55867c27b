"""Does a search over real crystals end in the same table, whatever breaks every 20 s?

A lab of several hosts (tests/cluster), `ray up`, `python -m tuner.search` over the sample, and for some minutes a fault
every 20 s, drawn by seed: training or raylet killed; a host off, and on later; its cable cut, and fixed later; driver
killed, and resumed; head off and on; results folder full, or gone, for a while. A search that ends before is resumed
with more trials. With --folder, seeds that came to their end are not repeated by the next command. Then: each trial is
in the table once, its epochs are in the log once, Optuna's storage and ASHA's rungs agree (tests/cluster/claims.py).
Without early stopping the random sampler's trials do not depend on what the others find: there every curve must equal
that of an undisturbed search, which runs last; its seconds an epoch tell how much time the faults cost.
"""

import argparse
import json
import math
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks._chaos import Chaos, Setting
from benchmarks._report import finish, parser, skip
from tests.cluster.claims import Table
from tests.cluster.lab import Lab

TOLERANCE = 1e-5
"""Relative; of scores."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Raises:
        AssertionError: if a claim does not hold; the seed's folder then has the run, its log and the faults.
    """
    arguments = _parser().parse_args(argv)
    if (reason := Lab.unavailable()) is not None:
        return skip(reason)
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="crystune-chaos-"))
    setting = Setting(
        sampler=arguments.sampler,
        trials=arguments.trials,
        max_epochs=arguments.max_epochs,
        minutes=arguments.minutes,
        every=arguments.every,
    )
    results: dict[str, Any] = {"sampler": setting.sampler, "early_stopping": setting.early_stopping}
    tables: dict[int, Table] = {}
    for seed in arguments.seeds:
        chaos = Chaos(setting, folder / f"seed-{seed}", seed)
        tables[seed] = chaos.recall() or chaos.execute()
        results[f"seed_{seed}"] = chaos.figures
        print(json.dumps({f"seed_{seed}": chaos.figures}), file=sys.stderr, flush=True)
    trials = max(len(table.records) for table in tables.values())
    peace = Chaos(setting.in_peace(trials), folder / "undisturbed", None)
    reference = peace.recall() or peace.execute()
    results["undisturbed"] = peace.figures
    for seed, table in tables.items():
        if not setting.early_stopping:
            results[f"seed_{seed}"].update(compare(table, reference))
        share = len(table.lines) / len(reference.lines)  # in epochs
        lost = results[f"seed_{seed}"]["seconds"] - share * peace.figures["seconds"]
        results[f"seed_{seed}"]["seconds_lost_against_undisturbed"] = round(lost, 1)
    question = (__doc__ or "").partition("\n")[0]
    return finish(question, results, arguments.output, repeats=len(arguments.seeds), packages=["ray", "optuna"])


def compare(table: Table, reference: Table) -> dict[str, Any]:
    """What is equal, and by how much scores differ.

    Raises:
        AssertionError: if a trial has another outcome, other parameters, or another curve than in the reference.
    """
    largest, equal = 0.0, 0
    for found, wanted in zip(table.rows(), reference.rows()[: len(table.records)], strict=True):
        number, *_, curve = found
        assert found[:3] == wanted[:3], f"trial {number}: {found[:3]} instead of {wanted[:3]}"
        assert curve.keys() == wanted[3].keys(), f"trial {number} has other epochs"
        differences = [abs(score / wanted[3][epoch] - 1) for epoch, score in curve.items()]
        assert all(math.isfinite(each) and each < TOLERANCE for each in differences), f"trial {number}: {differences}"
        largest = max(largest, *differences)
        equal += curve == wanted[3]
    return {"curves_compared": len(table.records), "curves_equal_to_the_last_bit": equal, "largest_difference": largest}


def _parser() -> argparse.ArgumentParser:
    made = parser(__doc__, "chaos")
    made.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], metavar="S", help="of the faults (0 1 2)")
    made.add_argument("--sampler", choices=("random", "tpe"), default="random", help="tpe: with ASHA (random: without)")
    made.add_argument("--minutes", type=float, default=10.0, help="as long as there are faults (10)")
    made.add_argument("--every", type=float, default=20.0, metavar="S", help="seconds between faults (20)")
    made.add_argument("--trials", type=int, default=40, metavar="N", help="at least (40)")
    made.add_argument("--max-epochs", type=int, default=20, metavar="N", help="of a trial (20)")
    made.add_argument("--folder", type=Path, metavar="DIR", help="where the labs' disks stay; temporary if left out")
    return made


if __name__ == "__main__":
    sys.exit(main())
