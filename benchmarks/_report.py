"""How a benchmark tells and files its answer; benchmarks/README.md lists the keys."""

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from graphdb.cpus import usable_cpus
from graphdb.versions import versions

ROOT = Path(__file__).resolve().parents[1]


def parser(description: str | None, name: str) -> argparse.ArgumentParser:
    """A parser with what all benchmarks share.

    Args:
        description: the module's docstring; its first line is the question.
        name: of the module.
    """
    made = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{name}", description=(description or "").partition("\n")[0]
    )
    made.add_argument("-o", "--output", type=Path, metavar="FILE", help="JSON file for the result")
    made.add_argument(
        "--shared",
        type=Path,
        default=ROOT.parent / "shared",
        metavar="DIR",
        help="folder with data/ and reference/ (default: shared, beside the repository)",
    )
    return made


def finish(
    question: str, results: Mapping[str, Any], output: Path | None, *, repeats: int, packages: Sequence[str] = ()
) -> int:
    """Print the result with its circumstances, file it if a file was given, and return the exit status.

    Args:
        question: in a sentence.
        results: each figure with its unit in its name.
        output: JSON file, or None.
        repeats: measurements behind each figure.
        packages: distributions that matter to the question, besides torch and NumPy.
    """
    report = {
        "question": question,
        "command": _command(),
        "commit": _commit(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "hardware": _hardware(),
        "versions": versions("python", *dict.fromkeys(["torch", "numpy", *packages])),
        "results": results,
        "repeats": repeats,
    }
    text = json.dumps(report, indent=1) + "\n"
    print(text, end="")
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text, encoding="utf-8")
    return 0


def skip(reason: str) -> int:
    """Say why there is no result; that is no failure."""
    print(json.dumps({"skipped": reason}, indent=1))
    return 0


def spread(values: Sequence[float], unit: str) -> dict[str, float]:
    """Median, minimum and maximum of repeated measurements, to 4 digits; the unit ends each name."""
    numbers = {"median": np.median(values), "minimum": min(values), "maximum": max(values)}
    return {f"{name}_{unit}": float(f"{value:.4g}") for name, value in numbers.items()}


def _command() -> str:
    """The command line; of absolute paths the last part, for they are nobody else's."""
    words = ["python", *sys.orig_argv[1:]]
    return " ".join(Path(word).name if os.path.isabs(word) else word for word in words)


def _commit() -> str:
    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", ROOT, *words], capture_output=True, text=True, check=True).stdout.strip()

    try:
        commit = git("rev-parse", "--short=12", "HEAD")
        changed = git("status", "--porcelain", "--untracked-files=no", "--", "graphdb", "model", "tuner", "benchmarks")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{commit}+changes" if changed else commit


def _hardware() -> str:
    parts = [_processor(), f"{usable_cpus()} cores"]
    if hasattr(os, "sysconf"):
        parts.append(f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB memory")
    if hasattr(os, "getloadavg"):
        parts.append(f"load {os.getloadavg()[0]:.1f} at the end")
    return ", ".join(parts)


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
