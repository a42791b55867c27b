"""How many crystals a second does the loader deliver, from memory and streamed?

Batches of 256 in a new random order each epoch. From memory in this process; streamed by two worker processes, which
read ahead and hand tensors over, and, for comparison, in this process. The consumer does nothing else.
"""

import sys
import time
from collections.abc import Sequence

import torch

from benchmarks._report import finish, parser, skip, spread
from graphdb.errors import GraphDBError
from graphdb.loader import GraphSource, InMemoryGraphs, Loader, StreamedGraphs

BATCH_SIZE = 256
WORKERS = 2
REPEATS = 9


def crystals_per_second(loader: Loader, repeats: int) -> list[float]:
    """One figure per epoch; the first, in which workers start and pages are read, is not counted."""
    rates = []
    for epoch in range(repeats + 1):
        loader.set_epoch(epoch)
        start = time.perf_counter()
        crystals = sum(batch.num_crystals for batch in loader)
        rates.append(crystals / (time.perf_counter() - start))
    return rates[1:]


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    flags = parser(__doc__, "loader")
    flags.add_argument("--store", required=True, help="store that graphdb.build wrote, best of mp29k")
    flags.add_argument("--repeats", type=int, default=REPEATS, help="epochs to measure (default: %(default)s)")
    args = flags.parse_args(argv)
    torch.set_num_threads(1)
    try:
        streamed = StreamedGraphs(args.store)
        memory = InMemoryGraphs.from_store(args.store)
    except (GraphDBError, ValueError) as error:
        return skip(str(error))
    results: dict[str, object] = {
        "crystals": len(memory),
        "nodes_per_crystal": round(len(memory.flat.atomic_numbers) / len(memory), 2),
        "edges_per_crystal": round(len(memory.flat.neighbor_index) / len(memory), 1),
        "batch_size": BATCH_SIZE,
    }
    sources: dict[str, tuple[GraphSource, int]] = {
        "in_memory": (memory, 0),
        f"streamed_{WORKERS}_workers": (streamed, WORKERS),
        "streamed_in_this_process": (streamed, 0),  # last: what this process opened, workers could not open
    }
    for name, (graphs, workers) in sources.items():
        loader = Loader(graphs, batch_size=BATCH_SIZE, shuffle=True, num_workers=workers)
        results[name] = spread(crystals_per_second(loader, args.repeats), "crystals_per_second")
    return finish(
        "How many crystals a second does the loader deliver?",
        results,
        args.output,
        repeats=args.repeats,
        packages=["lmdb"],
    )


if __name__ == "__main__":
    sys.exit(main())
