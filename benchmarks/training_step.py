"""How long does a training step take, against PyTorch Geometric's CGConv?

Forward, backward and Adam on 256 crystals, 3 convolutions of width 64, three tasks. Ours runs on its own merged graphs
and on the same graphs unmerged; the peer on the 12 nearest neighbors, its Gaussian expansion computed beforehand (ours
computes it in the step). Same element table, embedding, pooling, heads, loss and optimizer. The peer does less:
CGConv has no batch normalisation over the edges, which the original network has, and ours too.

The contestants take turns in one process, batch by batch. Twice, in two processes: with the allocator as our entry
points set it (`model.allocator`; it serves the peer as well, being in the same process), and as glibc has it.
On a machine that others use too, trust processor seconds with one thread: they leave out the time of others.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks._crystals import TASKS, in_memory, random_crystals
from benchmarks._report import ROOT, finish, parser, skip, spread
from graphdb.batch import GraphBatch, Task
from graphdb.crystal import Crystal
from graphdb.graphsettings import GraphSettings, HardNeighbors, SoftNeighbors
from graphdb.neighbors import build_graph
from model.allocator import keep_freed_memory
from model.gated_sum.radial import expand_lengths
from model.network import MTCGCNN, Architecture, Head

WIDTH, CONVOLUTIONS, BATCH_SIZE, BATCHES = 64, 3, 256, 5
REPEATS = 30
GRAPHS = {
    "ours_merged": SoftNeighbors(),
    "ours_unmerged": SoftNeighbors(merge_tolerance=0.0),
    "pyg": HardNeighbors(),
}
_PART = "--part"


class Peer(nn.Module):
    """CGCNN as a user of PyTorch Geometric writes it."""

    def __init__(self, ours: MTCGCNN) -> None:
        """The sizes, the element table and the kinds of layers of `ours`; weights of its own."""
        super().__init__()
        from torch_geometric.nn import CGConv

        sizes = ours.architecture
        self.register_buffer("elements", ours.elements.clone())
        self.embedding = nn.Linear(ours.elements.shape[1], sizes.atom_dim)
        self.convs = nn.ModuleList(
            CGConv(channels=sizes.atom_dim, dim=sizes.num_rbf, batch_norm=True) for _ in range(sizes.num_convs)
        )
        self.heads = nn.ModuleList(
            Head(sizes.atom_dim, sizes.head_dim, sizes.num_head_layers) for _ in range(len(ours.tasks))
        )

    def forward(self, data: tuple[Tensor, Tensor, Tensor, Tensor, int]) -> Tensor:
        """Scaled predictions (B, T) from atomic numbers, edge index, edge features, crystal of each atom, and B."""
        from torch_geometric.nn import global_mean_pool

        numbers, edge_index, edge_attr, crystal, num_crystals = data
        elements: Tensor = self.get_buffer("elements")
        x = self.embedding(elements).index_select(0, numbers)
        for conv in self.convs:
            x = conv(x, edge_index, edge_attr)
        pooled = global_mean_pool(x, crystal, num_crystals)
        return torch.cat([head(pooled) for head in self.heads], dim=1)


def batch_of(crystals: Sequence[Crystal], settings: GraphSettings) -> GraphBatch:
    """The crystals as one batch of ours, with random targets."""
    graphs = [build_graph(c.atomic_numbers, c.lattice, c.frac_coords, settings) for c in crystals]
    return in_memory(graphs, [Task(name) for name in TASKS], settings).collate(np.arange(len(graphs)))


def peer_data(batch: GraphBatch, ours: MTCGCNN) -> tuple[Tensor, Tensor, Tensor, Tensor, int]:
    """A batch in the peer's terms; edges run from sender to receiver."""
    receiver = torch.repeat_interleave(torch.arange(len(batch.atomic_numbers)), batch.neighbor_ptr.diff())
    crystal = torch.repeat_interleave(torch.arange(batch.num_crystals), batch.atom_ptr.diff())
    spacing = ours.architecture.rbf_cutoff / (ours.architecture.num_rbf - 1)
    edge_attr = expand_lengths(batch.neighbor_distance, ours.centers, spacing)
    return batch.atomic_numbers, torch.stack([batch.neighbor_index, receiver]), edge_attr, crystal, batch.num_crystals


def stepper(model: nn.Module) -> Callable[[Any, Tensor], None]:
    """One training step of a model, as a function of its input and the targets."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    model.train()

    def step(data: Any, target: Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        functional.mse_loss(model(data), target).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def measure(args: argparse.Namespace, *, keep: bool) -> dict[str, Any]:
    """Times of all contestants in this process."""
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    if keep:
        keep_freed_memory()
    crystals = [crystal for _, crystal in random_crystals(args.shared, BATCHES * BATCH_SIZE, seed=0)]
    sizes = Architecture(atom_dim=WIDTH, num_convs=CONVOLUTIONS, head_dim=WIDTH)
    ours = MTCGCNN(sizes, [Task(name) for name in TASKS])
    batches = {
        name: [batch_of(crystals[i::BATCHES], settings) for i in range(BATCHES)] for name, settings in GRAPHS.items()
    }
    inputs: dict[str, list[Any]] = {**batches, "pyg": [peer_data(batch, ours) for batch in batches["pyg"]]}
    step_ours = stepper(ours)
    steps = {"ours_merged": step_ours, "ours_unmerged": step_ours, "pyg": stepper(Peer(ours))}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    processor: dict[str, list[float]] = {name: [] for name in steps}
    names = list(steps)
    for repeat in range(-3, args.repeats):  # the first three warm up
        for name in names[repeat % 3 :] + names[: repeat % 3]:
            target = batches[name][repeat % BATCHES].target
            start = time.perf_counter(), time.process_time()
            steps[name](inputs[name][repeat % BATCHES], target)
            if repeat >= 0:
                seconds[name].append(time.perf_counter() - start[0])
                processor[name].append(time.process_time() - start[1])
    results: dict[str, Any] = {}
    for name, times in seconds.items():
        results[name] = {
            "nodes_per_batch": round(float(np.mean([len(batch.atomic_numbers) for batch in batches[name]]))),
            "edges_per_batch": round(float(np.mean([len(batch.neighbor_index) for batch in batches[name]]))),
            **spread(times, "seconds_per_step"),
            **spread(processor[name], "processor_seconds_per_step"),
        }
    for name in ("ours_merged", "ours_unmerged"):
        ratios = np.divide(seconds["pyg"], seconds[name]).tolist()
        results[f"pyg_over_{name}"] = spread(ratios, "ratio_of_neighboring_steps")
        ratios = np.divide(processor["pyg"], processor[name]).tolist()
        results[f"pyg_over_{name}"] |= spread(ratios, "ratio_of_processor_seconds")
    return results


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    flags = parser(__doc__, "training_step")
    flags.add_argument("--threads", type=int, default=2, help="of torch (default: %(default)s)")
    flags.add_argument("--repeats", type=int, default=REPEATS, help="steps of each (default: %(default)s)")
    flags.add_argument(_PART, choices=["keep", "default"], help=argparse.SUPPRESS)  # one of the two processes
    args = flags.parse_args(argv)
    try:
        import torch_geometric  # noqa: F401
    except ImportError as error:
        return skip(f"PyTorch Geometric is not there ({error}); pip install torch_geometric")
    if args.part:
        print(json.dumps(measure(args, keep=args.part == "keep")))
        return 0
    try:
        random_crystals(args.shared, 0, seed=0)
    except FileNotFoundError as error:
        return skip(str(error))
    results: dict[str, Any] = {"threads": args.threads}
    for part, name in (("keep", "allocator_keeps_freed_memory"), ("default", "allocator_as_it_is")):
        command = [sys.executable, "-m", "benchmarks.training_step", _PART, part, "--shared", str(args.shared)]
        command += ["--threads", str(args.threads), "--repeats", str(args.repeats)]
        answer = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True)
        results[name] = json.loads(answer.stdout)
    question = "How long does a training step take, against PyTorch Geometric's CGConv?"
    return finish(question, results, args.output, repeats=args.repeats, packages=["torch_geometric"])


if __name__ == "__main__":
    sys.exit(main())
