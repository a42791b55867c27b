"""How fast does a GPU train, is what it computes right, and what share of its limits is that?

Under 8 minutes on one H100, with nothing but PyTorch and NumPy there; each part is printed as it ends, and the JSON
file written anew, so that a run that is cut off leaves what it has. In order:

- correctness: a training step against float64 on the CPU (loss, outputs, gradients, running statistics), step by step,
  on batches that are filled up, and as a CUDA graph; then whether an epoch passes while the host may not wait;
- speed: crystals per second of one training, 3 convolutions, batch 256, at widths 16 to 128, for each way of batching;
- processes: 2, 4 and 8 trainings at a time at width 64, summed, without and (where it starts) with NVIDIA's MPS;
- peer: PyTorch Geometric's CGConv at the same widths, on unmerged graphs of the same crystals, its batches ready on the
  device; without that package the same arithmetic in plain PyTorch, and the result says so;
- ceilings: bytes and operations, counted by formula, as shares of the device's peaks;
- training: the configuration of the model that ships, from start to end or as far as time allows.

The data travel as one file: ``python -m benchmarks.gpu --pack STORE`` (or a folder with ``cifs.tar.gz`` and
``targets.csv``) writes ``benchmarks/gpu-data.npz``, 11 MB for 29,432 crystals, which git ignores. Without it crystals
of the same sizes are made up, and the result says so. To try the command without a GPU: ``--device cpu --small``.
"""

import argparse
import io
import json
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import Any

import torch

from benchmarks import _gpu_parts as parts
from benchmarks._gpu_data import Data, load, pack
from benchmarks._gpu_peer import Peer, crystals_per_second, peer_batches
from benchmarks._gpu_processes import mps, together
from benchmarks._report import ROOT, finish, parser, skip, spread
from graphdb.loader import Loader
from model.network import Architecture
from model.train_config import TrainConfig
from model.training import Trainer

DATA = ROOT / "benchmarks" / "gpu-data.npz"
MODEL = ROOT / "model" / "models" / "mp-e4" / "config.json"
QUESTION = "How fast does a GPU train, is what it computes right, and what share of its limits is that?"
WIDTHS, BATCH_SIZE, REPEATS, SECONDS = (64, 16, 32, 128), 256, 3, 450.0
_WORKER = "--worker"


class Run:
    """The parts that have ended, and the time that is left."""

    def __init__(self, args: argparse.Namespace) -> None:
        """The clock starts."""
        self._end = self._part_end = time.monotonic() + float(args.seconds)
        self.args = args
        self.device = torch.device(args.device)
        self.small: bool = args.small
        if self.device.type == "cpu":
            torch.set_num_threads(1)  # several trainings share it
        self.widths = (16,) if args.small else WIDTHS
        self.batch_size = 8 if args.small else BATCH_SIZE
        self.measured_seconds = 0.1 if args.small else 1.0
        self.data: Data = load(args.data, 100 if args.small else 29_432)
        chip = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "none, the CPU stands in"
        self.results: dict[str, Any] = {"gpu": chip, "data": self.data.origin, "batch_size": self.batch_size}

    @property
    def left(self) -> float:
        """Seconds for this part."""
        return self._part_end - time.monotonic()

    def part(self, name: str, work: Callable[["Run"], dict[str, Any]], seconds: float) -> None:
        """Do a part, tell and keep what it found or why it found nothing.

        Args:
            name: of the part.
            work: what it does; it looks at `left`.
            seconds: for it, of those that are left for all.
        """
        start = time.monotonic()
        self._part_end = min(start + seconds, self._end)
        try:
            self.results[name] = work(self)
        except Exception as error:  # noqa: BLE001 - whatever it is, the parts to come are worth having
            self.results[name] = {"failed": f"{type(error).__name__}: {error}"}
        self.results[name]["seconds_of_this_part"] = round(time.monotonic() - start, 1)
        print(json.dumps({name: self.results[name]}, indent=1), flush=True)
        with redirect_stdout(io.StringIO()):
            self.write()

    def write(self) -> int:
        """Print and file what there is; returns the exit status."""
        return finish(QUESTION, self.results, self.args.output, repeats=REPEATS, packages=["torch_geometric"])


def correctness(run: Run) -> dict[str, Any]:
    """Errors of each way to take a step, and whether an epoch waits."""
    return {
        **parts.correctness(run.data, run.device, run.batch_size),
        "an_epoch_without_waiting": parts.nothing_waits(run.data, run.device, run.batch_size),
    }


def speed(run: Run) -> dict[str, Any]:
    """Crystals per second of one training by width and mode."""
    results: dict[str, Any] = {"modes": dict(parts.MODES)}
    for width in run.widths:
        found: dict[str, Any] = {}
        for mode in parts.MODES:
            if run.left < 5 and not run.small:
                found[mode] = {"skipped": "no time was left"}
                continue
            runner = parts.Runner(run.data, mode, width, run.batch_size, run.device)
            for _ in range(2):  # graphs are recorded at the third batch of a size
                runner.epoch()
            found[mode] = spread([runner.measure(run.measured_seconds) for _ in range(REPEATS)], "crystals_per_second")
        results[f"width_{width}"] = found
    return results


def processes(run: Run) -> dict[str, Any]:
    """Crystals per second of several trainings at a time, summed."""
    results: dict[str, Any] = {"width": run.widths[0]}
    mode = best_mode(run.results, run.widths[0])
    results["mode"] = mode
    command = [sys.executable, "-m", "benchmarks.gpu", "--device", str(run.device), "--data", str(run.args.data)]
    command += [*(["--small"] if run.small else []), _WORKER]
    counts = (2,) if run.small else (2, 4, 8)
    for name, sharing in (("without_mps", nullcontext), ("with_mps", mps)):
        with sharing() as problem:
            if problem:
                results[name] = {"skipped": problem}
                continue
            for count in counts:
                if run.left < 25 and not run.small:
                    results[f"{name}_{count}_processes"] = {"skipped": f"{run.left:.0f} s were left"}
                    continue
                try:
                    sums = together([*command, mode], count, REPEATS, max(run.left, 60))
                    results[f"{name}_{count}_processes"] = spread(sums, "crystals_per_second_summed")
                except (RuntimeError, OSError, ValueError) as error:  # such as memory for fewer processes only
                    results[f"{name}_{count}_processes"] = {"failed": f"{type(error).__name__}: {error}"}
    return results


def best_mode(results: dict[str, Any], width: int) -> parts.Mode:
    """The mode that was fastest for one training."""
    found = results.get("speed", {}).get(f"width_{width}", {})
    return max(parts.MODES, key=lambda mode: found.get(mode, {}).get("median_crystals_per_second", 0.0))


def serve(run: Run, mode: parts.Mode) -> int:
    """Be one of several trainings: measure at each line that comes, and tell crystals per second."""
    runner = parts.Runner(run.data, mode, run.widths[0], run.batch_size, run.device)
    for _ in range(2):
        runner.epoch()
    parts.synchronize(run.device)
    print("ready", flush=True)
    for _ in sys.stdin:
        print(runner.measure(2 * run.measured_seconds), flush=True)
    return 0


def peer(run: Run) -> dict[str, Any]:
    """Crystals per second of the peer, and how many times as fast we are."""
    results: dict[str, Any] = {}
    for width in run.widths:
        if run.left < 5 and not run.small:
            results[f"width_{width}"] = {"skipped": "no time was left"}
            continue
        ours = parts.new_model(run.data, Architecture(atom_dim=width, head_dim=width, num_convs=3))
        contestant = Peer(ours).to(run.device)
        rows = parts.train_loader(run.data, run.batch_size).plan()[:20]
        batches = list(peer_batches(run.data.graphs, rows, ours, run.device))
        rates = [
            crystals_per_second(contestant, batches, run.measured_seconds, lambda: parts.synchronize(run.device))
            for _ in range(REPEATS)
        ]
        results["peer"] = contestant.name
        found = spread(rates, "crystals_per_second")
        mine = run.results.get("speed", {}).get(f"width_{width}", {})
        for mode in mine:
            if "median_crystals_per_second" in mine[mode]:
                ratio = mine[mode]["median_crystals_per_second"] / found["median_crystals_per_second"]
                found[f"{mode}_times_as_fast"] = float(f"{ratio:.3g}")
        results[f"width_{width}"] = found
    return results


def ceilings(run: Run) -> dict[str, Any]:
    """The fastest mode's speeds against the device's peaks."""
    speeds = {}
    for width in run.widths:
        found = run.results.get("speed", {}).get(f"width_{width}", {})
        best = found.get(best_mode(run.results, width), {}).get("median_crystals_per_second")
        if best is not None:
            speeds[width] = best
    return parts.ceilings(run.data, run.device, speeds, small=run.small)


def training(run: Run) -> dict[str, Any]:
    """The shipped model's configuration, trained until its end or until the time is over."""
    shipped = json.loads(MODEL.read_text(encoding="utf-8"))
    config = TrainConfig.from_dict({**shipped["train"], "seed": 0, **({"epochs": 2} if run.small else {})})
    rows, mode = run.data.split, best_mode(run.results, run.widths[0])

    def loader(name: str, *, shuffle: bool = False) -> Loader:
        size = config.batch_size if shuffle else 512
        return Loader(run.data.graphs, rows[name], batch_size=size, shuffle=shuffle, seed=0)

    train: Any = loader("train", shuffle=True)
    trainer = Trainer(
        architecture=Architecture.from_dict(shipped["architecture"]),
        config=config,
        train=train.on(run.device) if mode == "graphs" else train,
        validation=loader("validation"),
        device=run.device,
        cuda_graphs=mode == "graphs",
    )
    start = time.monotonic()
    while not trainer.finished and (run.left > 10 or run.small):
        trainer.run_epoch()
    last = trainer.history[-1]
    return {
        "mode": mode,
        "epochs": trainer.epoch,
        "epochs_of_the_schedule": config.epochs,
        "wall_seconds": round(time.monotonic() - start, 1),
        "median_crystals_per_second_with_validation": spread(
            [report.num_crystals / report.seconds for report in trainer.history], "crystals_per_second"
        )["median_crystals_per_second"],
        "last_train_loss": last.train_loss,
        "best_epoch": trainer.best_epoch,
        "best_validation_score": trainer.best_score,
        "validation_mae": {name: m.mae for name, m in trainer.history[max(trainer.best_epoch, 1) - 1].metrics.items()},
        "validation_mae_of_the_shipped_model": {
            name: metrics["mae"] for name, metrics in shipped["metrics"]["validation"].items()
        },
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    flags = parser(__doc__, "gpu")
    flags.add_argument("--data", type=Path, default=DATA, help="packed crystals (default: benchmarks/gpu-data.npz)")
    flags.add_argument("--pack", type=Path, metavar="SOURCE", help="write the packed file from a store, and end")
    flags.add_argument("--device", default="cuda", help="(default: %(default)s)")
    flags.add_argument("--seconds", type=float, default=SECONDS, help="for all parts (default: %(default)s)")
    flags.add_argument("--small", action="store_true", help="one width, few crystals: to try the command")
    flags.add_argument(_WORKER, choices=list(parts.MODES), help=argparse.SUPPRESS)  # one of several processes
    args = flags.parse_args(argv)
    if args.pack is not None:
        tasks = tuple(task["name"] for task in json.loads(MODEL.read_text(encoding="utf-8"))["tasks"])
        print(f"{args.data}: {pack(args.pack, args.data, tasks) / 1e6:.1f} MB")
        return 0
    if args.device.startswith("cuda") and not torch.cuda.is_available():
        return skip("there is no CUDA device; to try the command: --device cpu --small")
    run = Run(args)
    if args.worker is not None:
        return serve(run, args.worker)
    print(json.dumps(run.results, indent=1), flush=True)
    for name, work, seconds in (
        ("correctness", correctness, 60.0),
        ("speed", speed, 130.0),
        ("processes", processes, 130.0),
        ("peer", peer, 40.0),
        ("ceilings", ceilings, 20.0),
        ("training", training, args.seconds),
    ):
        run.part(name, work, seconds)
    return run.write()


if __name__ == "__main__":
    sys.exit(main())
