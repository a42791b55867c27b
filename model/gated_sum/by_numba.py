"""The gated sum by the compiled loops of `model.gated_sum.loops`: float32, on CPUs."""

import itertools
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from graphdb.batch import GraphBatch
from graphdb.shapes import Float
from model.batch_norm import EPS
from model.gated_sum import loops
from model.gated_sum.lanes import LANES
from model.gated_sum.loops import Array
from model.gated_sum.radial import RadialBasis
from model.threads import loop_threads


class CompiledEdges:
    """The edges of a batch as NumPy arrays, with the few Gaussians that count for each."""

    def __init__(self, batch: GraphBatch, bases: Sequence[RadialBasis]) -> None:
        """See `model.gated_sum.choice.prepare`."""
        bonds = batch.neighbor_weight * batch.multiplicity[batch.receiver]
        self.num_bonds = bonds.sum()
        self._num_rbf = [len(basis.centers) for basis in bases]
        band = np.empty((len(bonds), len(bases), loops.BAND), np.float32)
        first = np.empty((len(bonds), len(bases)), np.int32)
        row = 0
        for i, basis in enumerate(bases):
            centers = basis.centers.numpy()
            missing = max(loops.BAND - len(centers), 0)  # their weights are 0
            centers = np.append(centers, centers[-1] + basis.spacing * np.arange(1, missing + 1, dtype=np.float32))
            width = np.float32(basis.spacing)
            loops.expand(basis.length.numpy(), centers, width, i, row, band, first)
            row += len(centers)
        ptr, sender = batch.neighbor_ptr.numpy(), batch.neighbor_index.numpy()
        self.graph = (ptr, batch.receiver.numpy(), sender, band, first)
        self.count = batch.neighbor_weight.numpy()
        self.share = (bonds / self.num_bonds).numpy()
        self._rows_of_weights = row
        self.pieces = _pieces(batch, loop_threads())
        """Nodes of consecutive whole crystals: the first, and the one behind the last."""

    def gated_sum(
        self,
        atoms: Float[Tensor, "atoms dim"],
        node_weight: Float[Tensor, "dim products"],
        edge_weight: Float[Tensor, "rbf width"],
        gamma: Float[Tensor, " width"],
        beta: Float[Tensor, " width"],
        fixed: tuple[Float[Tensor, " width"], Float[Tensor, " width"]] | None,
    ) -> tuple[Float[Tensor, "atoms dim"], Float[Tensor, " width"], Float[Tensor, " width"]]:
        """See `model.gated_sum.choice.Edges`."""
        if min(self._num_rbf) < loops.BAND:
            parts = torch.split(edge_weight, self._num_rbf)
            edge_weight = torch.cat([functional.pad(w, (0, 0, 0, max(loops.BAND - len(w), 0))) for w in parts])
        dim = len(gamma) // 2
        node_weight = _fill_up(node_weight, parts=4)
        edge_weight, gamma, beta = (_fill_up(each, parts=2) for each in (edge_weight, gamma, beta))
        if fixed is not None:
            fixed = _fill_up(fixed[0], parts=2), _fill_up(fixed[1], parts=2)
        recorded = torch.is_grad_enabled()
        # Inference mode is a setting of each thread, and ours are not in it.
        with torch.inference_mode(mode=False), torch.set_grad_enabled(recorded):
            if fixed is not None and not recorded:
                total, mean, variance = self._sum_only(atoms, node_weight, edge_weight, gamma, beta, fixed), *fixed
            else:
                parameters = node_weight, edge_weight, gamma, beta
                total, mean, variance = _GatedSum.apply(atoms, *parameters, self, fixed)  # type: ignore[no-untyped-call]
        if total.shape[1] == dim:
            return total, mean, variance
        mean, variance = (each.view(2, -1)[:, :dim].flatten() for each in (mean, variance))
        return total[:, :dim], mean, variance

    def _sum_only(
        self,
        atoms: Tensor,
        node_weight: Tensor,
        edge_weight: Tensor,
        gamma: Tensor,
        beta: Tensor,
        fixed: tuple[Tensor, Tensor],
    ) -> Float[Tensor, "atoms dim"]:
        """The sum with fixed mean and variance, which the weights take in, for nobody who asks for gradients."""
        mean, variance = fixed
        scale = gamma.detach() * (variance + EPS).rsqrt()
        width = len(scale)
        bias = torch.cat([beta.detach() - scale * mean, torch.zeros(width)])
        node_weight, edge_weight = node_weight.detach() * scale.repeat(2), edge_weight.detach() * scale
        atoms = atoms.detach().contiguous()
        products, total = torch.empty(len(atoms), 2 * width), torch.empty(len(atoms), width // 2)
        arrays = self.graph, _numpy(products.view(-1, 2, width)), _numpy(edge_weight), self.count, _numpy(total)

        def work(start: int, stop: int) -> None:
            torch.addmm(bias, atoms[start:stop], node_weight, out=products[start:stop])
            loops.forward_only(start, stop, *arrays)

        self.each(work)
        return total

    def softplus(self, x: Float[Tensor, "atoms dim"]) -> Float[Tensor, "atoms dim"]:
        """See `model.gated_sum.choice.Edges`."""
        if x.shape[1] % LANES:
            return functional.softplus(x)
        recorded = torch.is_grad_enabled()
        with torch.inference_mode(mode=False), torch.set_grad_enabled(recorded):
            return _Softplus.apply(x, self)  # type: ignore[no-any-return, no-untyped-call]

    def mean(self, atoms: Tensor, node_weight: Tensor, edge_weight: Tensor) -> Float[Tensor, " width"]:
        """Of z over all bonds: z is linear in the atom vectors and the radial functions, and so is its mean."""
        of_nodes, of_rbf = self._shares
        as_receiver, as_sender = of_nodes @ atoms  # (2, dim)
        to_receiver, to_sender = node_weight.chunk(2, dim=1)
        mean: Tensor = as_receiver @ to_receiver + as_sender @ to_sender + of_rbf @ edge_weight
        return mean

    @cached_property
    def _shares(self) -> tuple[Tensor, Tensor]:
        """Q of all edges of each node, as their receiver and as their sender (2, atoms), and of each Gaussian (rbf)."""
        ptr, *_ = self.graph
        of_nodes = np.zeros((2, len(ptr) - 1), np.float32)
        of_rbf = np.zeros(self._rows_of_weights)
        loops.shares(self.graph, self.share, of_nodes[0], of_nodes[1], of_rbf)
        return torch.from_numpy(of_nodes), torch.from_numpy(of_rbf).float()

    def each(self, work: Callable[..., None], *into: Array) -> None:
        """Do a piece of work for all pieces of the batch, on as many threads.

        Args:
            work: told the first node of a piece, the one behind its last, and the arrays of `into`.
            into: what all pieces add to; each gets zeros of its own.
        """
        if len(self.pieces) < 2:
            for piece in self.pieces:
                work(*piece, *into)
            return
        own = [[np.zeros_like(array) for array in into] for _ in self.pieces]
        threads = _threads(len(self.pieces) - 1, os.getpid())
        jobs = [threads.submit(work, *piece, *arrays) for piece, arrays in zip(self.pieces[1:], own[1:], strict=True)]
        work(*self.pieces[0], *own[0])
        for job in jobs:
            job.result()
        for array, parts in zip(into, zip(*own, strict=True), strict=True):
            for part in parts:
                array += part


class _GatedSum(torch.autograd.Function):
    """Forward and backward by hand: see `model.gated_sum`."""

    @staticmethod
    def forward(
        ctx: Any,
        atoms: Tensor,
        node_weight: Tensor,
        edge_weight: Tensor,
        gamma: Tensor,
        beta: Tensor,
        edges: CompiledEdges,
        fixed: tuple[Tensor, Tensor] | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As `CompiledEdges.gated_sum`."""
        width = edge_weight.shape[1]
        # Whether gradients are recorded is a setting of each thread: only tensors without any are safe in all of them.
        atoms, node_weight, edge_weight = atoms.detach().contiguous(), node_weight.detach(), edge_weight.detach()
        mean = edges.mean(atoms, node_weight, edge_weight) if fixed is None else fixed[0]
        products = torch.empty(len(atoms), 2 * width)
        linear = (edges.graph, _numpy(products.view(-1, 2, width)), _numpy(edge_weight))
        bias = torch.cat([-mean, torch.zeros(width)])

        def multiply(start: int, stop: int, *sums: Array) -> None:
            torch.addmm(bias, atoms[start:stop], node_weight, out=products[start:stop])
            if fixed is None:
                loops.moments(start, stop, *linear, edges.share, *sums)

        squares = np.zeros(width)
        edges.each(multiply, squares)
        variance = torch.from_numpy(squares).float() if fixed is None else fixed[1]
        inverse_std = (variance + EPS).rsqrt()
        scale = gamma * inverse_std
        total = torch.empty(len(atoms), width // 2)
        normalised = (*linear, edges.count, _numpy(scale), _numpy(beta))
        slopes = torch.empty(len(atoms), 4, width // 2)
        edges.each(lambda start, stop: loops.forward(start, stop, *normalised, _numpy(total), _numpy(slopes)))
        ctx.save_for_backward(atoms, node_weight, edge_weight, products, scale, beta, inverse_std, slopes)
        ctx.edges, ctx.batch_statistics = edges, fixed is None
        ctx.mark_non_differentiable(mean, variance)
        return total, mean, variance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor | None, ...]:
        """Gradients of atoms, node_weight, edge_weight, gamma and beta."""
        saved = (tensor.detach() for tensor in ctx.saved_tensors)
        atoms, node_weight, edge_weight, products, scale, beta, inverse_std, slopes = saved
        edges: CompiledEdges = ctx.edges
        width = edge_weight.shape[1]
        grad = grad_outputs[0].contiguous()
        sums = np.zeros((4, width // 2))
        edges.each(lambda start, stop, sums: loops.weighted_sums(start, stop, _numpy(grad), _numpy(slopes), sums), sums)
        grad_beta, grad_gamma = torch.from_numpy(sums).float().view(2, width)
        grad_gamma = grad_gamma * inverse_std
        constant, slope = scale * grad_beta, scale * inverse_std * grad_gamma
        if not ctx.batch_statistics:
            constant, slope = torch.zeros_like(constant), torch.zeros_like(slope)
        grad_products = torch.empty(len(atoms), 2 * width)
        grad_atoms = torch.empty_like(atoms)
        normalised = (
            *(edges.graph, _numpy(products.view(-1, 2, width)), _numpy(edge_weight)),
            *(edges.count, _numpy(scale), _numpy(beta)),
            *(edges.share, _numpy(grad), _numpy(constant), _numpy(slope), _numpy(grad_products.view(-1, 2, width))),
        )

        def multiply(start: int, stop: int, to_nodes: Array, to_edges: Array) -> None:
            loops.backward(start, stop, *normalised, to_edges)
            piece = grad_products[start:stop]
            torch.mm(piece, node_weight.t(), out=grad_atoms[start:stop])
            torch.mm(atoms[start:stop].t(), piece, out=torch.from_numpy(to_nodes))

        grad_node_weight = np.zeros(node_weight.shape, np.float32)
        grad_edge_weight = np.zeros(edge_weight.shape)
        edges.each(multiply, grad_node_weight, grad_edge_weight)
        of_weights = torch.from_numpy(grad_node_weight), torch.from_numpy(grad_edge_weight).float()
        return grad_atoms, *of_weights, grad_gamma, grad_beta, None, None


class _Softplus(torch.autograd.Function):
    """PyTorch's own takes seven times as long."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, edges: CompiledEdges) -> Tensor:
        """As `CompiledEdges.softplus`."""
        x = x.detach().contiguous()
        result = torch.empty_like(x)
        arrays = _numpy(x), _numpy(result)
        edges.each(lambda start, stop: loops.softplus(start, stop, *arrays))
        ctx.save_for_backward(x)
        ctx.edges = edges
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor, None]:
        """The gradient of x."""
        (x,) = ctx.saved_tensors
        result = torch.empty_like(x)
        arrays = _numpy(x), _numpy(grad_outputs[0].contiguous()), _numpy(result)
        ctx.edges.each(lambda start, stop: loops.softplus_backward(start, stop, *arrays))
        return result, None


def _fill_up(columns: Tensor, parts: int) -> Tensor:
    """Each of some parts that lie side by side, filled up with columns of 0 to a multiple of `LANES`."""
    missing = -(columns.shape[-1] // parts) % LANES
    if not missing:
        return columns
    return functional.pad(columns.reshape(*columns.shape[:-1], parts, -1), (0, missing)).flatten(-2)


def _numpy(tensor: Tensor) -> Array:
    """The same memory."""
    return tensor.detach().numpy()


def _pieces(batch: GraphBatch, num_threads: int) -> list[tuple[int, int]]:
    """Nodes of consecutive whole crystals, with about as many edges in each piece as in the others."""
    atom_ptr = batch.atom_ptr.numpy()
    edge_ptr = batch.neighbor_ptr.numpy()[atom_ptr]
    wanted = edge_ptr[-1] * np.arange(1, num_threads) / num_threads
    bounds = np.unique([0, *atom_ptr[np.searchsorted(edge_ptr, wanted)], atom_ptr[-1]]).tolist()
    return list(itertools.pairwise(bounds))


@cache
def _threads(num_threads: int, process: int) -> ThreadPoolExecutor:
    """Threads beside this one, of this process: one that was forked has none of its parent's."""
    threads = ThreadPoolExecutor(num_threads, "gated sum")
    ready = threading.Barrier(num_threads + 1)

    def leave_one_to_pytorch() -> None:
        ready.wait()  # so that each thread takes one of these
        torch.set_num_threads(1)

    before = torch.get_num_threads()
    jobs = [threads.submit(leave_one_to_pytorch) for _ in range(num_threads)]
    ready.wait()
    for job in jobs:
        job.result()
    torch.set_num_threads(before)  # it is also what threads begin with that start later
    return threads


def warm_up() -> None:
    """Have all loops compiled, or loaded from where they were kept, by using them once on a crystal of one atom."""
    one, none, start = torch.ones(1), torch.zeros(1, dtype=torch.int64), torch.arange(2)
    batch = GraphBatch(
        **dict.fromkeys(("index", "atomic_numbers", "neighbor_index", "edge_by_sender", "crystal", "receiver"), none),
        **dict.fromkeys(("atom_ptr", "neighbor_ptr", "sender_ptr"), start),
        **dict.fromkeys(("multiplicity", "neighbor_distance", "neighbor_weight"), one),
        target=one[:, None],
        target_mask=one[:, None] > 0,
    )
    edges = CompiledEdges(batch, [RadialBasis(one, torch.arange(float(loops.BAND)), 1.0)])
    atoms = torch.ones(1, LANES, requires_grad=True)
    norm = torch.ones(2 * LANES)
    node_weight, edge_weight = torch.ones(LANES, 4 * LANES), torch.ones(loops.BAND, 2 * LANES)
    with torch.no_grad():
        edges.gated_sum(atoms, node_weight, edge_weight, norm, norm, (norm, norm))
    total, *_ = edges.gated_sum(atoms, node_weight, edge_weight, norm, norm, None)
    torch.autograd.backward(edges.softplus(total).sum())
