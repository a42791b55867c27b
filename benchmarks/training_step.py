"""How long does a training step take, against PyTorch Geometric's CGConv?

Forward, backward and Adam on 256 crystals, three tasks, for several widths and numbers of convolutions. Ours runs on
its own merged graphs and on the same graphs unmerged; the peer (`_cgconv`) on the 12 nearest neighbors, its Gaussians
computed beforehand (ours computes them in the step). Same element table, embedding, pooling, heads, loss and optimizer.
The peer does less: CGConv has no batch normalisation over the edges, which the original network has, and ours too.

The contestants take turns in one process, batch by batch, with the allocator as our entry points set it
(`model.allocator`; it serves the peer as well, being in the same process), and, for the first configuration, once more
in a process that leaves the allocator as it is. Beside the time stands what `_count` says that our step takes at least
on this machine.

Then whole epochs, loaders included: ours from `graphdb.loader`, the peer's from PyG's `DataLoader`. With ``--before``,
also processes of two versions of our code in turns: time of a step, and peak memory.

On a machine that others use too, trust processor seconds with one thread: they leave out the time of others.
"""

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks._cgconv import Peer, PeerLoader, peer_batch
from benchmarks._count import Ceilings, ceilings, count
from benchmarks._crystals import TASKS, in_memory, random_crystals
from benchmarks._report import ROOT, commit, finish, parser, run_with, skip, spread
from graphdb.batch import GraphBatch, Task
from graphdb.crystal import Crystal
from graphdb.graphsettings import GraphSettings, HardNeighbors, SoftNeighbors
from graphdb.loader import InMemoryGraphs, Loader
from graphdb.neighbors import build_graph
from model.allocator import keep_freed_memory
from model.network import MTCGCNN, Architecture
from model.threads import compute_with

BATCH_SIZE, BATCHES = 256, 3
EPOCH_BATCHES = 12
REPEATS = 8
_PAUSE = 0.02
"""Seconds before a contestant's turn: until then the threads of the one before have stopped waiting busily."""
CONFIGURATIONS = ("64x3", "16x3", "32x3", "128x3", "64x1", "64x5")
PARTS = ("steps", "allocator", "epochs", "before")
GRAPHS = {
    "ours_merged": SoftNeighbors(),
    "ours_unmerged": SoftNeighbors(merge_tolerance=0.0),
    "pyg": HardNeighbors(),
}
Step = Callable[[Any, Tensor], None]


def graphs_of(crystals: Sequence[Crystal], settings: GraphSettings) -> InMemoryGraphs:
    """The crystals' graphs with random targets."""
    graphs = [build_graph(c.atomic_numbers, c.lattice, c.frac_coords, settings) for c in crystals]
    return in_memory(graphs, [Task(name) for name in TASKS], settings)


def network(width: int, convolutions: int) -> MTCGCNN:
    """Ours, with random weights."""
    torch.manual_seed(0)
    sizes = Architecture(atom_dim=width, num_convs=convolutions, head_dim=width)
    return MTCGCNN(sizes, [Task(name) for name in TASKS])


def stepper(model: nn.Module) -> Step:
    """One training step of a model, as a function of its input and the targets."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    model.train()

    def step(data: Any, target: Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        functional.mse_loss(model(data), target).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


class Times:
    """Wall and processor seconds of contestants that take turns, each with its own threads."""

    def __init__(self, names: Iterable[str], num_threads: int) -> None:
        """Nothing yet."""
        self.num_threads = num_threads
        self.wall: dict[str, list[float]] = {name: [] for name in names}
        self.processor: dict[str, list[float]] = {name: [] for name in self.wall}

    def turns(self, round_: int) -> list[str]:
        """The contestants in the order of a round; each is first in turn."""
        names = list(self.wall)
        return names[round_ % len(names) :] + names[: round_ % len(names)]

    def add(self, name: str, work: Callable[[], object]) -> None:
        """Do some work of a contestant, and note its time."""
        if name == "pyg":
            torch.set_num_threads(self.num_threads)
        else:
            compute_with(self.num_threads)
        time.sleep(_PAUSE)
        start = time.perf_counter(), time.process_time()
        work()
        self.wall[name].append(time.perf_counter() - start[0])
        self.processor[name].append(time.process_time() - start[1])

    def results(self, unit: str) -> dict[str, Any]:
        """Times by contestant, and the peer's over those of ours in the same round."""
        found: dict[str, Any] = {
            name: {**spread(self.wall[name], f"seconds_{unit}"), **spread(cpu, f"processor_seconds_{unit}")}
            for name, cpu in self.processor.items()
        }
        for name in self.wall.keys() - {"pyg"}:
            found[f"pyg_over_{name}"] = {
                **spread(np.divide(self.wall["pyg"], self.wall[name]).tolist(), "ratio_of_seconds"),
                **spread(np.divide(self.processor["pyg"], self.processor[name]).tolist(), "ratio_of_processor_seconds"),
            }
        return dict(sorted(found.items()))


def measure_steps(
    batches: dict[str, list[GraphBatch]], sizes: tuple[int, int], repeats: int, num_threads: int, machine: Ceilings
) -> dict[str, Any]:
    """Times of all contestants for a width and a number of convolutions."""
    ours = network(*sizes)
    inputs: dict[str, list[Any]] = {**batches, "pyg": [peer_batch(batch, ours) for batch in batches["pyg"]]}
    step_ours = stepper(ours)
    steps = {"ours_merged": step_ours, "ours_unmerged": step_ours, "pyg": stepper(Peer(ours))}
    for name, step in steps.items():  # warm up
        for i in range(2):
            step(inputs[name][i], batches[name][i].target)
    times = Times(steps, num_threads)
    for repeat in range(repeats):
        i = repeat % BATCHES
        for name in times.turns(repeat):
            times.add(name, lambda name=name, i=i: steps[name](inputs[name][i], batches[name][i].target))  # type: ignore[misc]
    results = times.results("per_step")
    for name in ("ours_merged", "ours_unmerged"):
        counts = [dataclasses.asdict(count(ours, batch)) for batch in batches[name]]
        least = float(np.mean([count(ours, batch).seconds(machine) for batch in batches[name]]))
        results[name] |= {f"counted_{key}": _round(np.mean([c[key] for c in counts])) for key in counts[0]}
        results[name] |= {
            "counted_seconds_per_step": _round(least),
            "ratio_of_measured_to_counted_seconds": _round(np.median(times.wall[name]) / least),
        }
        if num_threads == 1:
            ratio = _round(np.median(times.processor[name]) / least)
            results[name]["ratio_of_measured_processor_seconds_to_counted_seconds"] = ratio
    return results


def measure_epochs(graphs: dict[str, InMemoryGraphs], repeats: int, num_threads: int) -> dict[str, Any]:
    """Times of whole epochs, and of the loaders alone, for the first configuration."""
    ours = network(*_sizes(CONFIGURATIONS[0]))
    peer = PeerLoader([graphs["pyg"].collate(np.array([i])) for i in range(len(graphs["pyg"]))], ours, BATCH_SIZE)
    loader = Loader(graphs["ours_merged"], batch_size=BATCH_SIZE, shuffle=True)
    unmerged = Loader(graphs["ours_unmerged"], batch_size=BATCH_SIZE, shuffle=True)

    def batches(name: str) -> Iterable[tuple[Any, Tensor]]:
        if name == "pyg":
            return peer
        return ((batch, batch.target) for batch in (loader if name == "ours_merged" else unmerged))

    step_ours, step_peer = stepper(ours), stepper(Peer(ours))

    def epoch(name: str) -> None:
        for data, target in batches(name):
            (step_peer if name == "pyg" else step_ours)(data, target)

    for name in GRAPHS:
        (step_peer if name == "pyg" else step_ours)(*next(iter(batches(name))))  # warm up
    epochs, alone = Times(GRAPHS, num_threads), Times(GRAPHS, num_threads)
    for repeat in range(repeats):
        for each in (loader, unmerged):
            each.set_epoch(repeat)
        for name in epochs.turns(repeat):
            epochs.add(name, lambda name=name: epoch(name))  # type: ignore[misc]
            alone.add(name, lambda name=name: sum(1 for _ in batches(name)))  # type: ignore[misc]
    return {
        "crystals": len(graphs["pyg"]),
        "epochs": repeats,
        "whole": epochs.results("per_epoch"),
        "loader_alone": alone.results("per_epoch"),
    }


def measure_before(tree: Path, graphs: InMemoryGraphs, threads: int, rounds: int) -> dict[str, Any]:
    """Time and peak memory of processes with another version of our code and with this one, in turns."""
    width, convolutions = _sizes(CONFIGURATIONS[0])
    trees = {"before": tree.resolve(), "now": ROOT}
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in trees}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "graphs.npz"
        np.savez(file, **{f.name: getattr(graphs.flat, f.name) for f in dataclasses.fields(graphs.flat)})
        words = ["--width", width, "--convolutions", convolutions, "--batches", BATCHES, "--threads", threads]
        for _ in range(rounds):
            for name, where in trees.items():
                answer = run_with(where, "_steps", file, *words, "--steps", 20)
                if Path(answer["tree"]) != where:
                    raise RuntimeError(
                        f"the steps must run with the packages of {where}, got those of {answer['tree']}"
                    )
                found[name].append(answer)
    units = {
        "seconds_per_step": "seconds_per_step",
        "processor_seconds_per_step": "processor_seconds_per_step",
        "peak_mebibytes": "mebibytes_of_the_process",
        "peak_mebibytes_before_the_first_step": "mebibytes_before_the_first_step",
        "own_mebibytes": "mebibytes_without_files_such_as_libraries",
    }
    results: dict[str, Any] = {"processes_of_each": rounds}
    for name, answers in found.items():
        results[name] = {"commit": commit(trees[name]), "compiled_loops": answers[0]["compiled"]}
        for key, unit in units.items():
            results[name] |= spread([answer[key] for answer in answers], unit)
    for key in ("seconds_per_step", "processor_seconds_per_step", "peak_mebibytes", "own_mebibytes"):
        ratios = [a[key] / b[key] for a, b in zip(found["before"], found["now"], strict=True)]
        results |= spread(ratios, f"ratio_of_{key}_before_to_now")
    return results


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """All that was asked for, in this process but for the allocator and the version before."""
    torch.set_num_threads(args.threads)
    if not args.own_allocator:
        keep_freed_memory()
    machine = ceilings()
    needed = BATCH_SIZE * (EPOCH_BATCHES if "epochs" in args.parts else BATCHES)
    crystals = [crystal for _, crystal in random_crystals(args.shared, needed, seed=0)]
    of_steps = crystals[: BATCH_SIZE * BATCHES]
    of_threads = {key: value for key, value in os.environ.items() if key.startswith(("OMP_", "GOMP_", "NUMBA_"))}
    results: dict[str, Any] = {"threads": args.threads, "environment": of_threads}
    graphs = {name: graphs_of(of_steps, settings) for name, settings in GRAPHS.items()}
    if "steps" in args.parts:
        rows = [np.arange(i, len(of_steps), BATCHES) for i in range(BATCHES)]
        batches = {name: [each.collate(row) for row in rows] for name, each in graphs.items()}
        results["machine"] = {key: _round(value) for key, value in dataclasses.asdict(machine).items()}
        results["sizes"] = {
            name: {
                "nodes_per_batch": round(float(np.mean([len(batch.atomic_numbers) for batch in made]))),
                "edges_per_batch": round(float(np.mean([len(batch.neighbor_index) for batch in made]))),
            }
            for name, made in batches.items()
        }
        for text in args.configurations:
            results[_name(text)] = measure_steps(batches, _sizes(text), args.repeats, args.threads, machine)
    if "allocator" in args.parts:
        words = ["--parts", "steps", "--configurations", args.configurations[0], "--own-allocator"]
        words += ["--threads", str(args.threads), "--repeats", str(args.repeats), "--shared", str(args.shared)]
        command = [sys.executable, "-m", "benchmarks.training_step", *words]
        answer = json.loads(subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout)
        name = _name(args.configurations[0])
        results[f"{name}_with_the_allocator_as_it_is"] = answer["results"][name]
    if "before" in args.parts and args.before:
        results["before_and_now"] = measure_before(args.before, graphs["ours_merged"], args.threads, args.rounds)
    if "epochs" in args.parts:
        graphs = {name: graphs_of(crystals, settings) for name, settings in GRAPHS.items()}
        results["epochs"] = measure_epochs(graphs, args.rounds, args.threads)
    return results


def _sizes(text: str) -> tuple[int, int]:
    """Width and number of convolutions of ``64x3``."""
    width, _, convolutions = text.partition("x")
    return int(width), int(convolutions)


def _name(text: str) -> str:
    return "width_{}_convolutions_{}".format(*_sizes(text))


def _round(value: float) -> float:
    return float(f"{value:.4g}")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    flags = parser(__doc__, "training_step")
    flags.add_argument("--threads", type=int, default=2, help="of torch (default: %(default)s)")
    flags.add_argument("--repeats", type=int, default=REPEATS, help="steps of each (default: %(default)s)")
    flags.add_argument("--rounds", type=int, default=3, help="epochs, and processes of --before (default: %(default)s)")
    flags.add_argument("--configurations", nargs="+", default=CONFIGURATIONS, metavar="WIDTHxCONVOLUTIONS")
    flags.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    flags.add_argument("--before", type=Path, metavar="DIR", help="checkout of the version to compare with")
    flags.add_argument("--add", action="store_true", help="to what FILE holds already, measured in another run")
    flags.add_argument("--own-allocator", action="store_true", help="leave the allocator as it is")
    args = flags.parse_args(argv)
    try:
        import torch_geometric  # noqa: F401
    except ImportError as error:
        return skip(f"PyTorch Geometric is not there ({error}); pip install torch_geometric")
    try:
        results = measure(args)
    except FileNotFoundError as error:
        return skip(str(error))
    question = "How long does a training step take, against PyTorch Geometric's CGConv?"
    packages = ["torch_geometric", "numba"]
    return finish(question, results, args.output, repeats=args.repeats, packages=packages, add=args.add)


if __name__ == "__main__":
    sys.exit(main())
