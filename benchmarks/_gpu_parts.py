"""The measurements of `benchmarks.gpu`, each a function that returns figures; without a GPU the CPU stands in."""

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Literal

import torch

from benchmarks._gpu_data import Data
from graphdb.batch import GraphBatch
from graphdb.device import DeviceLoader, FilledRows
from graphdb.loader import Loader
from model.graphed import GraphedStep
from model.network import MTCGCNN, Architecture
from model.scaler import TargetScaler
from model.step import TrainingStep
from model.train_config import TrainConfig

Mode = Literal["host", "device", "filled", "graphs"]
MODES: dict[Mode, str] = {
    "host": "put together on the host and copied",
    "device": "gathered on the device",
    "filled": "gathered on the device and filled up, step by step",
    "graphs": "gathered on the device, filled up, CUDA graphs",
}
_FLOATS = ("multiplicity", "neighbor_distance", "neighbor_weight", "target")


def synchronize(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def new_model(data: Data, architecture: Architecture) -> MTCGCNN:
    """The same weights each time, scaled to the training split."""
    torch.manual_seed(0)
    model = MTCGCNN(architecture, data.graphs.tasks)
    names = [task.name for task in data.graphs.tasks]
    model.scaler = TargetScaler.fit(data.graphs.targets[data.split["train"]], names)
    return model.train()


def train_loader(data: Data, batch_size: int) -> Loader:
    """The training split in random order."""
    return Loader(data.graphs, data.split["train"], batch_size=batch_size, shuffle=True, seed=0)


def on_device(loader: Loader, device: torch.device) -> DeviceLoader:
    """The same batches on the device.

    Raises:
        RuntimeError: if the graphs do not fit.
    """
    found = loader.on(device)
    if found is None:
        raise RuntimeError(f"{device} has no room for the graphs")
    return found


# --- correctness -----------------------------------------------------------------------------------------------------


def correctness(data: Data, device: torch.device, batch_size: int) -> dict[str, Any]:
    """Distances from float64 on the CPU, ``|x - reference| / |reference|``, of a training step in each mode.

    The batch that is compared is not the one that was recorded, and weights and statistics are those at the start.
    """
    source = on_device(train_loader(data, batch_size), device)
    same = _of_one_size(source)
    rows = same[1].rows[-same[1].num_crystals :].cpu().numpy()
    batch = data.graphs.collate(rows)
    sizes = Architecture()
    reference = _results(new_model(data, sizes).double(), _double_batch(batch), batch.num_crystals)
    results = {}
    for name, where in (("float32_on_the_cpu", torch.device("cpu")), ("device", device)):
        results[name] = _results(new_model(data, sizes).to(where), batch.to(where), batch.num_crystals)
    model = new_model(data, sizes).to(device)
    gathered = source.graphs.gather(same[1].rows, same[1].size)
    results["filled"] = _results(model, gathered, batch.num_crystals)
    model = new_model(data, sizes).to(device)
    results["graphs"] = _recorded_results(model, source, same, device)
    return {
        "edges": len(batch.neighbor_index),
        **{f"{name}_relative_error": _distances(found, reference) for name, found in results.items()},
    }


def _of_one_size(source: DeviceLoader) -> tuple[FilledRows, FilledRows]:
    """Two batches of different crystals that are filled up to the same size."""
    met: dict[Any, FilledRows] = {}
    for epoch in range(100):
        source.set_epoch(epoch)
        for batch in source.filled():
            if not isinstance(batch, FilledRows):
                continue
            if batch.size in met:
                return met[batch.size], batch
            met[batch.size] = batch
    raise RuntimeError("no two batches of an epoch have the same size")


def _step_of(model: MTCGCNN) -> TrainingStep:
    return TrainingStep(model, TrainConfig(grad_clip=None))


def _results(model: MTCGCNN, batch: GraphBatch, num_crystals: int) -> dict[str, list[torch.Tensor]]:
    """Loss, outputs (of a step that changes no weights), gradients and running statistics."""
    outputs: list[torch.Tensor] = []
    hook = model.register_forward_hook(lambda module, arguments, output: outputs.append(output.detach()))
    step = _step_of(model)
    step.set_rate(0.0)
    step(batch, num_crystals)
    hook.remove()
    return {"outputs": [outputs[0][-num_crystals:]], **_state(step)}


def _recorded_results(
    model: MTCGCNN, source: DeviceLoader, batches: tuple[FilledRows, FilledRows], device: torch.device
) -> dict[str, list[torch.Tensor]]:
    start = {name: buffer.clone() for name, buffer in model.named_buffers() if "running" in name}
    step = _step_of(model)
    step.set_rate(0.0)
    graphed = GraphedStep(step, source.graphs)
    for _ in range(4):
        graphed(batches[0])
    for name, buffer in model.named_buffers():
        if name in start:
            buffer.copy_(start[name])
    step.loss_sum.zero_()
    graphed(batches[1])
    synchronize(device)
    return _state(step)


def _state(step: TrainingStep) -> dict[str, list[torch.Tensor]]:
    running = [buffer for name, buffer in step.model.named_buffers() if "running" in name]
    gradients = [p.grad for p in step.model.parameters() if p.grad is not None]
    return {"loss": [step.loss_sum[None]], "gradients": gradients, "running_statistics": running}


def _double_batch(batch: GraphBatch) -> GraphBatch:
    return replace(batch, **{name: getattr(batch, name).double() for name in _FLOATS})


def _distances(found: dict[str, list[torch.Tensor]], reference: dict[str, list[torch.Tensor]]) -> dict[str, float]:
    def flat(tensors: list[torch.Tensor]) -> torch.Tensor:
        return torch.cat([tensor.detach().cpu().double().reshape(-1) for tensor in tensors])

    distances = {}
    for name, tensors in found.items():
        wanted = flat(reference[name])
        distances[name] = float(f"{float((flat(tensors) - wanted).norm() / wanted.norm()):.3g}")
    return distances


# --- speed -----------------------------------------------------------------------------------------------------------


class Runner:
    """Training steps without end, in one of the modes."""

    def __init__(self, data: Data, mode: Mode, width: int, batch_size: int, device: torch.device) -> None:
        """Nothing run yet; 3 convolutions of this width."""
        self.device = device
        sizes = Architecture(atom_dim=width, head_dim=width, num_convs=3)
        self.step = TrainingStep(new_model(data, sizes).to(device), TrainConfig())
        self._mode = mode
        self._loader = train_loader(data, batch_size)
        self._source = None if mode == "host" else on_device(self._loader, device)
        self._graphed = GraphedStep(self.step, self._source.graphs) if self._source and mode == "graphs" else None
        self._epoch = itertools.count()

    def _batches(self) -> Iterator[GraphBatch | FilledRows]:
        source = self._source or self._loader
        source.set_epoch(next(self._epoch))
        if self._source is not None and self._mode in ("filled", "graphs"):
            yield from self._source.filled()
        else:
            yield from source

    def epoch(self, until: Callable[[], bool] = lambda: False) -> int:
        """Steps over the training split, or until told to stop; returns the crystals trained on."""
        done = 0
        for batch in self._batches():
            self.step.set_rate(1e-3)
            if isinstance(batch, GraphBatch):
                self.step(batch.to(self.device), batch.num_crystals)
            elif self._graphed is not None:
                self._graphed(batch)
            else:
                assert self._source is not None
                self.step(self._source.graphs.gather(batch.rows, batch.size), batch.num_crystals)
            done += batch.num_crystals
            if until():
                break
        return done

    def measure(self, seconds: float) -> float:
        """Crystals per second over at least so many seconds."""
        synchronize(self.device)
        start, done = time.perf_counter(), 0
        while time.perf_counter() - start < seconds:
            done += self.epoch(lambda: time.perf_counter() - start >= seconds)
            synchronize(self.device)
        return done / (time.perf_counter() - start)


def nothing_waits(data: Data, device: torch.device, batch_size: int) -> dict[Any, str]:
    """Whether an epoch passes while PyTorch forbids the host to wait for the device."""
    if device.type != "cuda":
        return dict.fromkeys(MODES, "not checked: this is no CUDA device")
    results: dict[Any, str] = {}
    for mode in MODES:
        runner = Runner(data, mode, 64, batch_size, device)
        runner.epoch()  # what is allocated and recorded once may wait
        runner.epoch()
        synchronize(device)
        torch.cuda.set_sync_debug_mode("error")
        try:
            runner.epoch()
            results[mode] = "nothing waits"
        except RuntimeError as error:
            results[mode] = f"waits: {str(error).splitlines()[0]}"
        finally:
            torch.cuda.set_sync_debug_mode("default")
            synchronize(device)
    return results


# --- ceilings --------------------------------------------------------------------------------------------------------

PEAKS = {"H100": (3.35e12, 67e12), "H200": (4.8e12, 67e12)}
"""Bytes/s and float32 operations/s outside the matrix units, by the data sheets of the SXM modules."""
_PASSES = 45
"""Reads and writes of an array (edges, 2 width) by a convolution as it is written, counted operation by operation.

Forward 21: the gather and sum of products 3, the product with radial functions 2, mean and variance 7, normalisation 4,
softplus and sigmoid 3, message and its sum 2. Backward 24: message 5, both gradients 4, sums for scale and shift 5,
what mean and variance hold of the gradient 7, the sums by receiver and sender 2, the product with radial functions 1.
"""


def work_per_crystal(nodes: float, edges: float, sizes: Architecture) -> tuple[float, float]:
    """Bytes moved and float32 operations of a training step, counted by formula: of convolutions, where nearly all is.

    Args:
        nodes: of a crystal.
        edges: of a crystal.
        sizes: of the network.
    """
    width, rbf = sizes.atom_dim, sizes.num_rbf
    moved = 4 * (edges * (_PASSES * 2 * width + 4 * rbf) + nodes * (40 * width))
    product = 2 * (nodes * width * 4 * width * 3 + edges * rbf * 2 * width * 2)
    elementwise = edges * 2 * width * 60
    return sizes.num_convs * moved, sizes.num_convs * (product + elementwise)


def measured_peaks(device: torch.device, megabytes: int) -> tuple[float, float]:
    """Bytes/s of a copy (read and written) and operations/s of a float32 product, best of five."""
    source = torch.zeros(megabytes << 18, device=device)
    target = torch.empty_like(source)
    side = 4096 if device.type == "cuda" else 512
    matrix = torch.randn(side, side, device=device)

    def best(work: Callable[[], Any]) -> float:
        times = []
        for _ in range(6):
            synchronize(device)
            start = time.perf_counter()
            work()
            synchronize(device)
            times.append(time.perf_counter() - start)
        return min(times[1:])

    return 2 * 4 * source.numel() / best(lambda: target.copy_(source)), 2 * side**3 / best(lambda: matrix @ matrix)


def ceilings(data: Data, device: torch.device, speeds: dict[int, float], *, small: bool) -> dict[str, Any]:
    """The measured speeds as shares of what memory and arithmetic would allow.

    Args:
        data: whose mean sizes count.
        device: that was measured.
        speeds: crystals per second by width.
        small: measure the peaks on small arrays.
    """
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    copied, multiplied = measured_peaks(device, 16 if small else 1024)
    known = next((peaks for chip, peaks in PEAKS.items() if chip in name), None)
    bandwidth, arithmetic = known or (copied, multiplied)
    crystals = len(data.graphs)
    nodes, edges = len(data.graphs.flat.atomic_numbers) / crystals, len(data.graphs.flat.neighbor_index) / crystals
    results: dict[str, Any] = {
        "peaks": "data sheet" if known else "measured",
        "measured_copy_bytes_per_second": float(f"{copied:.4g}"),
        "measured_float32_product_operations_per_second": float(f"{multiplied:.4g}"),
    }
    for width, speed in speeds.items():
        moved, operations = work_per_crystal(nodes, edges, Architecture(atom_dim=width, head_dim=width, num_convs=3))
        results[f"width_{width}"] = {
            "bytes_per_crystal_as_written": round(moved),
            "operations_per_crystal": round(operations),
            "crystals_per_second_at_memory_peak": round(bandwidth / moved),
            "crystals_per_second_at_arithmetic_peak": round(arithmetic / operations),
            "share_of_memory_peak": float(f"{speed * moved / bandwidth:.3g}"),
            "share_of_arithmetic_peak": float(f"{speed * operations / arithmetic:.3g}"),
        }
    return results
