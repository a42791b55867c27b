"""A training step that is recorded once for each size of batch and then replayed: one launch instead of hundreds.

On a small network a GPU waits longer for the next kernel to be launched than it works on it. A CUDA graph launches all
kernels of a step at once, with the arguments that they had when it was recorded. The batch is therefore gathered inside
it, from positions in a fixed place, and whatever changes from step to step (positions, step size, Adam's moments, the
sum of losses) lies on the device.

Source:
    PyTorch, "CUDA semantics", section "CUDA Graphs": whole-network capture, and graphs that share a memory pool.
"""

from collections import Counter
from collections.abc import Callable, Hashable
from typing import Protocol

import torch
from torch import Tensor

from model.resident import FilledBatch, Gatherer
from model.step import TrainingStep

_WARM_UP = 2
"""Steps of each size before one is recorded: libraries allocate and choose algorithms then. They count as steps."""


class Recorder(Protocol):
    """Runs a function of no arguments, and makes a replay of it."""

    def warm_up(self, run: Callable[[], None]) -> None:
        """Run it as it will be recorded."""

    def record(self, run: Callable[[], None]) -> Callable[[], object]:
        """What does the same as `run`, again and again; need not run it."""


class EagerRecorder:
    """Records nothing: a replay runs the function. For devices without CUDA graphs, and for tests."""

    def warm_up(self, run: Callable[[], None]) -> None:
        """Run it."""
        run()

    def record(self, run: Callable[[], None]) -> Callable[[], object]:
        """The function itself."""
        return run


class CudaRecorder:
    """Records CUDA graphs that share their memory: they are never replayed at the same time."""

    def __init__(self, device: torch.device) -> None:
        """On a stream of its own, as capturing asks for."""
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle()

    def warm_up(self, run: Callable[[], None]) -> None:
        """Run it on the stream that records."""
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            run()
        torch.cuda.current_stream(self._device).wait_stream(self._stream)

    def record(self, run: Callable[[], None]) -> Callable[[], object]:
        """A graph of it, to be replayed on the current stream."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
            run()
        return graph.replay  # type: ignore[no-any-return, unused-ignore]


class GraphedStep:
    """`TrainingStep` on filled batches, recorded for each size."""

    def __init__(self, step: TrainingStep, graphs: Gatherer, recorder: Recorder | None = None) -> None:
        """Nothing recorded yet.

        Args:
            step: whose optimizer and sum of losses stay the same objects from now on.
            graphs: on the device of the step.
            recorder: the device's own when None.
        """
        device = step.model.elements.device
        if recorder is None:
            recorder = CudaRecorder(device) if device.type == "cuda" else EagerRecorder()
        self._step, self._graphs, self._recorder = step, graphs, recorder
        self._num_crystals = torch.zeros((), device=device)
        self._rows: dict[int, Tensor] = {}
        self._met: Counter[Hashable] = Counter()
        self._replays: dict[Hashable, Callable[[], object]] = {}

    @property
    def num_recorded(self) -> int:
        """Sizes that are replayed."""
        return len(self._replays)

    def __call__(self, batch: FilledBatch) -> None:
        """Change the weights once."""
        if len(batch.rows) not in self._rows:
            self._rows[len(batch.rows)] = torch.empty_like(batch.rows)
        rows = self._rows[len(batch.rows)]
        rows.copy_(batch.rows)
        self._num_crystals.fill_(batch.num_crystals)
        key = (len(rows), batch.size)

        def run() -> None:
            self._step(self._graphs.gather(rows, batch.size), self._num_crystals)

        if key not in self._replays:
            self._met[key] += 1
            if self._met[key] <= _WARM_UP:
                self._recorder.warm_up(run)
                return
            self._replays[key] = self._recorder.record(run)
        self._replays[key]()
