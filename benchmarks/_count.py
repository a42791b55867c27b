"""What a training step must at least compute and move, and what this machine can do a second.

Every operation that the mathematics of `model.gated_sum` asks for counts as one: a sum, a product, a comparison, a
conversion. A gated sum passes over its edges three times and computes z anew each time from 8 Gaussians, which is
cheaper than to keep it; exp and log are polynomials.
"""

import time
from dataclasses import dataclass

import torch

from graphdb.batch import GraphBatch
from model.network import MTCGCNN

_BAND = 8
_EXP = 21  # by log2(e) 1, clamp 2, reduction 3, polynomial 12, power of two 3
_LOG1P = 17  # polynomial of degree 9
# Two exp, one log1p, 1 / ((1 + u) (1 + v)) for both sigmoids, and the derivatives by gate and core.
_MESSAGE = 2 * _EXP + _LOG1P + 17
_Z = 2 * _BAND + 1
_EDGE_COLUMN = {  # per edge and column of z; there are two columns, gate and core, per channel
    "moments": _Z + 3,  # q z z, summed
    "forward": _Z + 2 + (_MESSAGE + 10) / 2,  # normalised; w times the message and its slopes, with z and without
    "backward": _Z + 2 + (_MESSAGE + 1) / 2 + 6 + 2 + 2 * _BAND,  # dz; by receiver and sender; the weights' gradient
}
_NODE_CHANNEL = 8 + 5 + 12 + _EXP + _LOG1P + 8 + _EXP + 4  # sums of slopes, norm, its gradient, softplus, its gradient
_ADAM = 14


@dataclass(frozen=True, slots=True)
class Ceilings:
    """What the machine can do."""

    gigaflop_per_second: float
    """In a product of two float32 matrices."""
    gigabytes_per_second: float
    """Read and written by a copy that no cache holds."""


@dataclass(frozen=True, slots=True)
class Count:
    """Of one training step."""

    edge_gigaflop: float
    """In the three passes over the edges."""
    node_gigaflop: float
    """In all else."""
    gigabytes: float
    """Moved: what the step keeps from its forward to its backward pass, written and read once, and the edges, read in
    each pass."""

    def seconds(self, machine: Ceilings) -> float:
        """The least that a step can take."""
        arithmetic = (self.edge_gigaflop + self.node_gigaflop) / machine.gigaflop_per_second
        return max(arithmetic, self.gigabytes / machine.gigabytes_per_second)


def count(model: MTCGCNN, batch: GraphBatch) -> Count:
    """What a training step of this model with this batch takes."""
    sizes = model.architecture
    nodes, edges, crystals = len(batch.atomic_numbers), len(batch.neighbor_index), batch.num_crystals
    dim, hidden, convs = sizes.atom_dim, sizes.head_dim, sizes.num_convs
    of_edges = convs * edges * 2 * dim * sum(_EDGE_COLUMN.values())
    # A matrix product of n rows, a and b columns takes 2 n a b, and as much for each of its two gradients.
    products = convs * 3 * 2 * nodes * dim * 4 * dim
    embedding = 2 * 2 * model.elements.numel() * dim  # no gradient of the table
    layers = [(dim, hidden), *[(hidden, hidden)] * (sizes.num_head_layers - 1), (hidden, 1)]
    heads = len(model.tasks) * sum(3 * 2 * crystals * a * b for a, b in layers)
    of_nodes = products + embedding + heads + convs * nodes * dim * _NODE_CHANNEL + _ADAM * model.num_parameters
    # Per node and channel: products and slopes (4 each), and what norm and softplus keep (3).
    kept = convs * nodes * dim * (4 + 4 + 3) * 4
    per_edge = 4 * _BAND + 4 + 8 + 4 + 4  # band, first, sender, w, q
    return Count(of_edges / 1e9, of_nodes / 1e9, (2 * kept + (3 * convs + 1) * edges * per_edge) / 1e9)


def ceilings(repeats: int = 5) -> Ceilings:
    """Measured with as many threads as torch uses; the best of several."""
    size = 1024
    a, b = torch.rand(2, size, size)
    source = torch.rand(64 * 2**20)
    target = torch.empty_like(source)
    product, copied = [], []
    for _ in range(repeats):
        start = time.perf_counter()
        torch.mm(a, b)
        product.append(time.perf_counter() - start)
        start = time.perf_counter()
        target.copy_(source)
        copied.append(time.perf_counter() - start)
    return Ceilings(2 * size**3 / min(product[1:]) / 1e9, 2 * 4 * len(source) / min(copied[1:]) / 1e9)
