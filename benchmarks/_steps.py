"""Training steps with whatever tree of this repository is on the path: their time and peak memory.

`training_step` runs it, with the graphs in a file.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

import model
from graphdb.batch import Task
from graphdb.graph import FlatGraphs
from graphdb.graphsettings import SoftNeighbors
from graphdb.loader import InMemoryGraphs
from model.allocator import keep_freed_memory
from model.network import MTCGCNN, Architecture


def has(module: str) -> bool:
    """Whether this tree has a module of `model`; an import could find that of an editable installation instead."""
    return Path(model.__file__).with_name(f"{module}.py").exists()


def begin(threads: int) -> None:
    """Set this process up as the entry points of this tree do, whatever its version has for that."""
    keep_freed_memory()
    if has("threads"):
        from model.threads import compute_with

        compute_with(threads)
    else:  # a version before the compiled loops
        torch.set_num_threads(threads)
    if has("eager"):
        from model.eager import leave_out_compiler

        leave_out_compiler()


def mebibytes(entry: str) -> float:
    """Memory of this process: "VmHWM", the most it has had in use, or "RssAnon", what it shares with no file now.

    `ru_maxrss` would begin with that of the parent.
    """
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(entry):
            return int(line.split()[1]) / 2**10
    raise RuntimeError(f"{entry} must be in /proc/self/status, but it is not; run this on Linux")


def steps(args: argparse.Namespace) -> dict[str, Any]:
    """Forward, backward and Adam, the batches in turn."""
    begin(args.threads)
    torch.manual_seed(0)
    with np.load(args.graphs) as arrays:
        flat = FlatGraphs(**{name: arrays[name] for name in arrays.files})
    size = len(flat.num_atoms)
    graphs = InMemoryGraphs(
        flat,
        material_ids=[str(i) for i in range(size)],
        tasks=[Task(name) for name in "abc"],
        targets=np.random.default_rng(0).standard_normal((size, 3)),
        settings=SoftNeighbors(),
    )
    batches = [graphs.collate(rows) for rows in np.split(np.arange(size), args.batches)]
    network = MTCGCNN(Architecture(atom_dim=args.width, num_convs=args.convolutions), graphs.tasks)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, fused=True)
    network.train()
    before = mebibytes("VmHWM")
    times, processor = [], []
    for i in range(-3, args.steps):  # the first three warm up
        batch = batches[i % args.batches]
        start = time.perf_counter(), time.process_time()
        optimizer.zero_grad(set_to_none=True)
        functional.mse_loss(network(batch), batch.target).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if i >= 0:
            times.append(time.perf_counter() - start[0])
            processor.append(time.process_time() - start[1])
    return {
        "tree": str(Path(model.__file__).parents[1]),
        "compiled": "model.gated_sum.by_numba" in sys.modules,
        "seconds_per_step": statistics.median(times),
        "processor_seconds_per_step": statistics.median(processor),
        "peak_mebibytes": mebibytes("VmHWM"),
        "peak_mebibytes_before_the_first_step": before,
        "own_mebibytes": mebibytes("RssAnon"),  # the most, too: the allocator keeps what is freed
    }


if __name__ == "__main__":
    flags = argparse.ArgumentParser()
    flags.add_argument("graphs")
    for name in ("width", "convolutions", "batches", "steps", "threads"):
        flags.add_argument(f"--{name}", type=int, required=True)
    print(json.dumps(steps(flags.parse_args())))
