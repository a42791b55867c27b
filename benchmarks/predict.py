"""What does predicting cost beside building a store of the same crystals, from CIFs and from a store?

Every figure is of whole commands, each in a process of its own, builds and predictions in turn. What a command takes
that has one crystal to predict counts as its start. With ``--memory``, it is the memory of all processes of a prediction
of so many CIFs instead (proportional set size, sampled).
"""

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

CRYSTALS, REPEATS = 7_000, 3
MEMORY_CRYSTALS = (42_500, 170_000)
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


def seconds_of(*command: str) -> float:
    """Wall time of a command of ours that must end well."""
    start = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
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


def time_commands(source: Path, place: Path, count: int, repeats: int) -> dict[str, Any]:
    """Building, predicting the same CIFs, predicting from the store."""
    cifs, store, table = place / "cifs", place / "graphs.store", place / "table.csv"
    write_cifs(source, cifs, count)
    first = str(sorted(cifs.iterdir())[0])
    seconds_of("graphdb.build", first, str(place / "one.store"))  # also brings what is imported into the page cache
    seconds_of("model.predict", MODEL, first, "-o", str(table))
    commands = {
        "build": ("graphdb.build", str(cifs), str(store), "--overwrite", "--quiet"),
        "predict_cifs": ("model.predict", MODEL, str(cifs), "-o", str(table)),
        "predict_store": ("model.predict", MODEL, str(store), "-o", str(table)),
        "predict_one_cif": ("model.predict", MODEL, first, "-o", str(table)),
        "predict_store_of_one": ("model.predict", MODEL, str(place / "one.store"), "-o", str(table)),
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(repeats):
        for name, command in commands.items():
            times[name].append(seconds_of(*command))
    results: dict[str, Any] = {"crystals": count, "model": MODEL}
    results |= {name: spread(values, "seconds") for name, values in times.items()}
    pairs = zip(times["predict_cifs"], times["build"], strict=True)
    results["predict_cifs_against_build"] = spread([predict / build for predict, build in pairs], "times_as_long")
    results["from_the_store"] = spread([count / whole for whole in times["predict_store"]], "crystals_per_second")
    starts = zip(times["predict_store"], times["predict_store_of_one"], strict=True)
    rates = [(count - 1) / max(whole - start, 1e-3) for whole, start in starts]
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
            results = time_commands(source, Path(place), args.crystals, args.repeats)
    question = "What does predicting cost beside building a store of the same crystals, from CIFs and from a store?"
    repeats = 1 if args.memory is not None else args.repeats
    return finish(question, results, args.output, repeats=repeats, packages=["lmdb", "gemmi", "numba"])


if __name__ == "__main__":
    sys.exit(main())
