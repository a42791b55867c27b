"""How long does a command take to answer, from the shell's point of view?

Seconds on the clock of whole processes, one after the other, whose files the machine has read before: ``--help`` of
each command, ``tuner.report`` on a small finished search, and ``model.predict`` on one file.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks._report import ROOT, finish, parser, spread
from tuner.cli import COMMANDS

SEARCH = "--space table5 --trials 10 --max-epochs 2 --finalists 1 --finalist-seeds 1 --name small"
SALT = """data_salt
_cell_length_a 3.99
_cell_length_b 3.99
_cell_length_c 3.99
_cell_angle_alpha 60
_cell_angle_beta 60
_cell_angle_gamma 60
loop_
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
Na 0 0 0
Cl 0.5 0.5 0.5
"""


def seconds(words: Sequence[str], repeats: int) -> list[float]:
    """Of so many processes, after one that does not count."""
    return [once(words) for _ in range(repeats + 1)][1:]


def once(words: Sequence[str]) -> float:
    """Of one process."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    start = time.perf_counter()
    subprocess.run([sys.executable, *words], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def main(argv: Sequence[str] | None = None) -> int:
    command = parser(__doc__, "startup")
    command.add_argument("--repeats", type=int, default=5, metavar="N", help="processes for each figure (5)")
    arguments = command.parse_args(argv)
    modules = ["tuner.cli", *(module for module, _ in COMMANDS.values())]
    helps = {module: seconds(["-m", module, "--help"], arguments.repeats) for module in modules}
    with tempfile.TemporaryDirectory() as folder:
        crystal, run = Path(folder) / "salt.cif", Path(folder) / "small"
        crystal.write_text(SALT)
        once(["-m", "tuner.search", *SEARCH.split(), "--runs", folder])
        report = seconds(["-m", "tuner.report", str(run)], arguments.repeats)
        predict = seconds(["-m", "model.predict", "mp-e4", str(crystal)], arguments.repeats)
    results = {
        "python_that_does_nothing": spread(seconds(["-c", "pass"], arguments.repeats), "seconds"),
        "help": {module: spread(found, "seconds") for module, found in helps.items()},
        "slowest_help_median_seconds": max(statistics.median(found) for found in helps.values()),
        "report_on_a_small_run": spread(report, "seconds"),
        "predict_one_file": spread(predict, "seconds"),
    }
    question = (__doc__ or "").partition("\n")[0]
    return finish(question, results, arguments.output, repeats=arguments.repeats, packages=["matplotlib", "ray"])


if __name__ == "__main__":
    sys.exit(main())
