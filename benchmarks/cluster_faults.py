"""What does each fault of a cluster cost: after how long noticed and resumed, how many epochs trained again?

Runs the suite of faults in the lab (tests/cluster, `make lab-faults`; needs root) and files the figures that it prints.
Trials there are pretended ones of half a second an epoch; their number of epochs trained again is counted, not guessed.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks._report import ROOT, finish, parser, skip
from tests.cluster.lab import Lab

PYTEST = ("-m", "pytest", "-q", "-s", "-m", "lab and slow")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        0, or pytest's status if a test fails; figures are filed of a suite that is green only.
    """
    arguments_of = parser(__doc__, "cluster_faults")
    arguments_of.add_argument("--tests", default="tests/cluster", metavar="PATH", help="which tests (tests/cluster)")
    arguments = arguments_of.parse_args(argv)
    if (reason := Lab.unavailable()) is not None:
        return skip(reason)
    with tempfile.TemporaryDirectory(prefix="crystune-faults-") as folder:
        figures = Path(folder) / "figures.jsonl"
        command = [sys.executable, *PYTEST, arguments.tests, f"--basetemp={folder}/tests"]
        code = subprocess.run(command, cwd=ROOT, env={**os.environ, "FAULT_FIGURES": str(figures)}).returncode
        if code:
            return code
        lines = [json.loads(line) for line in figures.read_text(encoding="utf-8").splitlines()]
    results = {line.pop("fault"): line for line in lines}
    return finish((__doc__ or "").partition("\n")[0], results, arguments.output, repeats=1, packages=["ray", "optuna"])


if __name__ == "__main__":
    sys.exit(main())
