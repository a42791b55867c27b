"""What does building a whole store take, and does a build that was killed end in the same store?

Builds mp29k once in peace: seconds, memory of all processes together (proportional set size, sampled), bytes per atom.
Then builds it again, kills it with its workers' parent (SIGKILL) at random moments, finishes it, and compares.
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks._crystals import archive
from benchmarks._report import ROOT, finish, parser, skip
from graphdb.files import partial_path
from graphdb.graphsettings import SoftNeighbors
from graphdb.store import Store
from graphdb.writer import StoreWriter

KILLS, SEED = 3, 0
SAMPLE_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the command.

    Attributes:
        seconds: until it ended or was killed.
        processor_seconds: of all its processes; steadier than `seconds` on a busy machine. Not known of killed runs.
        peak_bytes: memory of all its processes.
        orphans: processes that outlived it.
    """

    seconds: float
    processor_seconds: float
    peak_bytes: int
    orphans: int


def build(source: Path, store: Path, targets: Path, kill_after: float | None = None) -> Run:
    """Run the command; kill it after some seconds if asked to.

    Raises:
        RuntimeError: if it failed by itself.
    """
    command = [sys.executable, "-m", "graphdb.build", str(source), str(store), "--targets", str(targets), "--quiet"]
    start, processor_start = time.monotonic(), sum(os.times()[2:4])
    process = subprocess.Popen(command, cwd=ROOT)
    peak, family = 0, [process.pid]
    while process.poll() is None:
        family = descendants(process.pid)
        peak = max(peak, sum(memory_bytes(pid) for pid in family))
        if kill_after is not None and time.monotonic() - start > kill_after:
            os.kill(process.pid, signal.SIGKILL)
            break
        time.sleep(SAMPLE_SECONDS)
    process.wait()
    seconds = time.monotonic() - start
    if kill_after is None and process.returncode:
        raise RuntimeError(f"{' '.join(command)} must end with 0, got {process.returncode}")
    time.sleep(1.0)
    processor_seconds = sum(os.times()[2:4]) - processor_start
    return Run(seconds, processor_seconds, peak, sum(is_alive(pid) for pid in family))


def descendants(pid: int) -> list[int]:
    """A process and all below it."""
    family = [pid]
    for parent in family:
        try:
            tasks = list(Path(f"/proc/{parent}/task").iterdir())
            family.extend(int(child) for task in tasks for child in (task / "children").read_text().split())
        except OSError:  # it has just ended
            continue
    return family


def memory_bytes(pid: int) -> int:
    """Proportional set size: pages that several processes share count once."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def is_alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    flags = parser(__doc__, "kill_build")
    flags.add_argument("--kills", type=int, default=KILLS, help="how often to kill it (default: %(default)s)")
    flags.add_argument("--seed", type=int, default=SEED, help="of the moments (default: %(default)s)")
    args = flags.parse_args(argv)
    source = archive(args.shared)
    if not source.exists() or not Path("/proc/self/smaps_rollup").exists():
        return skip(f"needs {source.name} of mp29k in the shared folder, and Linux")
    targets = source.with_name("targets.csv")
    with tempfile.TemporaryDirectory() as place:
        whole = build(source, Path(place, "whole"), targets)
        moments = random.Random(args.seed)
        store = Path(place, "killed")
        kills: list[dict[str, float]] = []
        while len(kills) < args.kills:
            run = build(source, store, targets, kill_after=moments.uniform(0.2, 0.9) / args.kills * whole.seconds)
            if store.exists():  # too late: it was done
                break
            found = 0
            if partial_path(store).exists():
                with StoreWriter(store, SoftNeighbors()) as writer:
                    found = writer.num_found
            kills.append({"after_seconds": round(run.seconds, 1), "kept_graphs": found, "orphans": run.orphans})
        rest = build(source, store, targets)
        with Store(Path(place, "whole")) as one, Store(store) as other:
            one.verify()
            num_atoms = int(one.sizes[:, 0].sum())
            results = {
                "crystals": len(one),
                "atoms": num_atoms,
                "whole_build_seconds": round(whole.seconds, 1),
                "whole_build_processor_seconds": round(whole.processor_seconds, 1),
                "peak_memory_of_all_processes_mebibytes": round(whole.peak_bytes / 2**20),
                "store_bytes_per_atom": round(one.path.stat().st_size / num_atoms, 1),
                "kills": kills,
                "last_run_seconds": round(rest.seconds, 1),
                "fingerprint": one.fingerprint,
                "fingerprint_after_kills": other.fingerprint,
                "same_fingerprint": one.fingerprint == other.fingerprint,
                "same_bytes": one.path.read_bytes() == other.path.read_bytes(),
            }
    return finish(
        "What does building a whole store take, and does a build that was killed end in the same store?",
        results,
        args.output,
        repeats=1,
        packages=["pymatgen", "lmdb"],
    )


if __name__ == "__main__":
    sys.exit(main())
