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
    question: str,
    results: Mapping[str, Any],
    output: Path | None,
    *,
    repeats: int,
    packages: Sequence[str] = (),
    add: bool = False,
) -> int:
    """Print the result with its circumstances, file it if a file was given, and return the exit status.

    Args:
        question: in a sentence.
        results: each figure with its unit in its name.
        output: JSON file, or None.
        repeats: measurements behind each figure.
        packages: distributions that matter to the question, besides torch and NumPy.
        add: to what the file holds already, if that is of the same commit and machine.

    Raises:
        ValueError: if it is not.
    """
    report = document(question, results, repeats=repeats, packages=packages)
    if add and output is not None and output.exists():
        report = _added(json.loads(output.read_text(encoding="utf-8")), report, output)
    print(as_text(report), end="")
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(as_text(report), encoding="utf-8")
    return 0


def as_text(report: Mapping[str, Any]) -> str:
    """A result as it is printed and filed."""
    return json.dumps(report, indent=1) + "\n"


def document(
    question: str, results: Mapping[str, Any], *, repeats: int, packages: Sequence[str] = ()
) -> dict[str, Any]:
    """The result with its circumstances.

    Args:
        question: in a sentence.
        results: each figure with its unit in its name.
        repeats: measurements behind each figure.
        packages: distributions that matter to the question, besides torch and NumPy.
    """
    return {
        "question": question,
        "command": _command(),
        "commit": commit(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "hardware": _hardware(),
        "versions": versions("python", *dict.fromkeys(["torch", "numpy", *packages])),
        "results": results,
        "repeats": repeats,
    }


def _added(there: dict[str, Any], report: dict[str, Any], output: Path) -> dict[str, Any]:
    """Both reports in one; each part's own command and load stay readable."""
    for key in ("question", "commit", "versions", "repeats"):
        if there[key] != report[key]:
            raise ValueError(
                f"parts of one result must have the same {key}, got {report[key]} for {output}, "
                f"which has {there[key]}; choose another file"
            )
    joined = {key: f"{there[key]}; {report[key]}" for key in ("command", "hardware")}
    return {**report, **joined, "results": {**there["results"], **report["results"]}}


def skip(reason: str) -> int:
    """Say why there is no result; that is no failure."""
    print(json.dumps({"skipped": reason}, indent=1))
    return 0


def spread(values: Sequence[float], unit: str) -> dict[str, float]:
    """Median, minimum and maximum of repeated measurements, to 4 digits; the unit ends each name."""
    numbers = {"median": np.median(values), "minimum": min(values), "maximum": max(values)}
    return {f"{name}_{unit}": float(f"{value:.4g}") for name, value in numbers.items()}


def commit(tree: Path = ROOT, *folders: str) -> str:
    """The commit of a tree, ``+changes`` if it is not clean, "unknown" outside a repository.

    Args:
        tree: root of a checkout.
        folders: the last commit that changed one of these; of all packages and the benchmarks when none is named.
    """

    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", tree, *words], capture_output=True, text=True, check=True).stdout.strip()

    try:
        head = git("log", "-1", "--format=%h", "--abbrev=12", *(("--", *folders) if folders else ()))
        watched = folders or ("graphdb", "model", "tuner", "benchmarks")
        changed = git("status", "--porcelain", "--untracked-files=no", "--", *watched)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{head}+changes" if changed else head


def run_with(tree: Path, script: str, *arguments: object) -> Any:
    """What a script of this folder prints as JSON, run in a process of its own with another tree's packages.

    Args:
        tree: root of a checkout of this repository.
        script: name of a file of this folder without ending; it imports nothing of this folder.
        arguments: of the script.
    """
    # -P: this folder must not be searched, for it lies in one tree only.
    command = [sys.executable, "-P", str(Path(__file__).with_name(f"{script}.py")), *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(tree.resolve())}
    answer = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, check=True)
    return json.loads(answer.stdout)


def _command() -> str:
    """The command line; of absolute paths the last part, for they are nobody else's."""
    words = ["python", *sys.orig_argv[1:]]
    return " ".join(Path(word).name if os.path.isabs(word) else word for word in words)


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
