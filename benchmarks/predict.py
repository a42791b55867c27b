"""What does predicting cost beside building a store of the same crystals, from CIFs and from a store?

Every figure is of whole commands, each in a process of its own, builds and predictions in turn. The rate without start
is that of the crystals by which a store of ten times as many (the same graphs under other ids) has more. ``--memory``
measures the memory of all processes of a prediction of so many CIFs instead (proportional set size, sampled).
"""

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks._crystals import archive
from benchmarks._report import ROOT, finish, parser, skip, spread
from benchmarks.kill_build import descendants, memory_bytes
from graphdb.store import Store
from graphdb.writer import StoreWriter

CRYSTALS, REPEATS = 7_000, 3
MEMORY_CRYSTALS = (42_500, 170_000)
TIMES = 10
SAMPLE_SECONDS = 0.2
MODEL = "mp-e4"


def write_cifs(source: Path, folder: Path, count: int) -> None:
    """Write the CIFs of an archive to a folder, again and again under other names until there are so many."""
    folder.mkdir()
    with tarfile.open(source) as members:
        texts = [members.extractfile(member) for member in members if member.name.endswith(".cif")]
        contents = [text.read() for text in texts[:count] if text is not None]
    for number in range(count):
        (folder / f"c{number:06d}.cif").write_bytes(contents[number % len(contents)])


def write_larger(store: Path, larger: Path) -> None:
    """Write a store with each graph of another one several times."""
    with Store(store) as source, StoreWriter(larger, source.settings) as writer:
        digests = {}
        for name, record in zip(source.material_ids, source.raw_records(), strict=True):
            for copy in range(TIMES):
                digests[f"{name}-{copy}"] = bytes(16)
                writer.add_graph(f"{name}-{copy}", bytes(16), record)
        writer.finish(digests, {}, {}, [])


def seconds_of(*command: str, tree: Path = ROOT) -> float:
    """Wall time of a command of a source tree that must end well."""
    start = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", *command],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree)},
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return time.monotonic() - start


def peak_bytes_of(*command: str) -> int:
    """Memory of a command and of all its processes, at its peak."""
    process = subprocess.Popen(
        [sys.executable, "-m", *command], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    peak = 0
    while process.poll() is None:
        peak = max(peak, sum(memory_bytes(pid) for pid in descendants(process.pid)))
        time.sleep(SAMPLE_SECONDS)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} must end with 0, got {process.returncode}")
    return peak


def time_commands(source: Path, place: Path, count: int, repeats: int, tree: Path) -> dict[str, Any]:
    """Building, predicting the same CIFs, predicting from the store; of a tree of before, just the first two."""
    cifs, store, table = place / "cifs", place / "graphs.store", place / "table.csv"
    write_cifs(source, cifs, count)
    write_cifs(source, place / "few", 300)
    # What is imported comes into the page cache, compiled loops into numba's.
    seconds_of("graphdb.build", str(place / "few"), str(place / "few.store"), tree=tree)
    seconds_of("model.predict", MODEL, str(place / "few"), "-o", str(table), tree=tree)
    commands = {
        "build": ("graphdb.build", str(cifs), str(store), "--overwrite", "--quiet"),
        "predict_cifs": ("model.predict", MODEL, str(cifs), "-o", str(table)),
        "predict_one_cif": ("model.predict", MODEL, str(cifs / "c000000.cif"), "-o", str(table)),
        "predict_store": ("model.predict", MODEL, str(store), "-o", str(table)),
        "predict_larger_store": ("model.predict", MODEL, str(place / "larger.store"), "-o", str(table)),
    }
    if tree != ROOT:
        commands = {name: command for name, command in commands.items() if not name.endswith("store")}
    times: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(repeats):
        for name, command in commands.items():
            if number == 0 and name == "predict_store":
                write_larger(store, place / "larger.store")
            times[name].append(seconds_of(*command, tree=tree))
    results: dict[str, Any] = {"crystals": count, "model": MODEL}
    results |= {name: spread(values, "seconds") for name, values in times.items()}
    pairs = zip(times["predict_cifs"], times["build"], strict=True)
    results["predict_cifs_against_build"] = spread([predict / build for predict, build in pairs], "times_as_long")
    if tree != ROOT:
        return results
    results["from_the_store"] = spread([count / whole for whole in times["predict_store"]], "crystals_per_second")
    results["from_the_larger_store"] = spread(
        [TIMES * count / whole for whole in times["predict_larger_store"]], "crystals_per_second"
    )
    stores = zip(times["predict_larger_store"], times["predict_store"], strict=True)
    rates = [(TIMES - 1) * count / (larger - smaller) for larger, smaller in stores]
    results["from_the_store_without_start"] = spread(rates, "crystals_per_second")
    return results


def measure_memory(source: Path, place: Path, counts: Sequence[int]) -> dict[str, Any]:
    """Peak memory of predicting folders of so many CIFs."""
    results: dict[str, Any] = {"model": MODEL}
    peaks = []
    for count in sorted(counts):
        write_cifs(source, place / "cifs", count)
        peaks.append(peak_bytes_of("model.predict", MODEL, str(place / "cifs"), "-o", str(place / "table.csv")))
        shutil.rmtree(place / "cifs")
        results[f"peak_mebibytes_for_{count}_crystals"] = round(peaks[-1] / 2**20)
    if len(counts) > 1:
        results["bytes_per_further_crystal"] = round((peaks[-1] - peaks[0]) / (max(counts) - min(counts)))
    return results


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    flags = parser(__doc__, "predict")
    flags.add_argument("--crystals", type=int, default=CRYSTALS, help="how many (default: %(default)s)")
    flags.add_argument("--repeats", type=int, default=REPEATS, help="of each command (default: %(default)s)")
    flags.add_argument(
        "--tree", type=Path, default=ROOT, metavar="DIR", help="source tree to measure (default: this one)"
    )
    flags.add_argument(
        "--memory",
        type=int,
        nargs="*",
        metavar="N",
        help=f"measure memory instead, for so many CIFs (default: {' '.join(map(str, MEMORY_CRYSTALS))})",
    )
    args = flags.parse_args(argv)
    source = archive(args.shared)
    if not source.exists() or not Path("/proc/self/smaps_rollup").exists():
        return skip(f"needs {source.name} of mp29k in the shared folder, and Linux")
    with tempfile.TemporaryDirectory() as place:
        if args.memory is not None:
            results = measure_memory(source, Path(place), args.memory or MEMORY_CRYSTALS)
        else:
            results = time_commands(source, Path(place), args.crystals, args.repeats, args.tree)
    question = "What does predicting cost beside building a store of the same crystals, from CIFs and from a store?"
    repeats = 1 if args.memory is not None else args.repeats
    return finish(question, results, args.output, repeats=repeats, packages=["lmdb", "gemmi", "numba"])


if __name__ == "__main__":
    sys.exit(main())
