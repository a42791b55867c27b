"""The gated sum as compiled loops over edges, which keep nothing per edge but a band of its Gaussians.

Three passes, each of which computes z of an edge anew (`_input`): `moments` before the normalisation, `forward`, and
`backward`, which writes all gradients. The sums that make the gradients of scale and shift are taken apart: `forward`
sums, per receiver, what does not depend on the loss, and `weighted_sums` multiplies with the rest.

A pass takes few enough nodes at a time for the nearest cache to hold what is computed of their edges, and of these
`LANES` columns of gate and core. It goes over the edges in several short loops: in one long one a processor would wait
for the result of each operation.

Each function works on the nodes from `start` to `stop`, whole crystals, so that threads share nothing that is written.
Arrays, float32 where nothing else is said:

- graph: ptr (atoms + 1), receiver, sender (edges; int64): node r receives the edges ptr[r] to ptr[r + 1];
  band (edges, bases, 8), first (edges, bases; int32): radial functions, and the row of `edge_weight` (rbf, width) that
  the first of them is multiplied with.
- products (atoms, 2, width): r less the mean of z in [:, 0], s in [:, 1]. The width is 2 dim, gate before core, dim a
  multiple of `LANES`. z is centred everywhere, or small differences of large sums would lose digits.
- count, share (edges): w and q.
- scale, shift (width): y = scale z + shift.

Sums over more than a few hundred numbers go on in float64.
"""

import functools
import logging
from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numba import njit
from numpy.typing import NDArray

from model.gated_sum.lanes import (
    LANES,
    at_least,
    at_most,
    item,
    load,
    magnitude,
    power_of_two,
    spread,
    store,
    where_negative,
    zeros,
)

Array: TypeAlias = NDArray[Any]
Graph: TypeAlias = tuple[Array, Array, Array, Array, Array]
Lanes: TypeAlias = Any
"""`LANES` numbers of float32."""
Number: TypeAlias = Any
Function = TypeVar("Function", bound=Callable[..., Any])

LANES_FILE = "092bb80f7385e177"
"""Digest of `lanes`, held by a test: what is kept on disk is made anew when this file changes, and no other."""

BAND = 8
"""Gaussians that count for a length. Those beyond are more than four widths away: at most exp(-16) = 1e-7."""

LARGEST_EXPONENT = 30.0
"""As in `radial`; here for the same reason as `LANES_FILE`."""
FLUSH = 256
"""Nodes after which sums in float32 go into those in float64."""
EDGES = 64
"""What a pass takes at a time: 8 kB of `_kept`, a quarter of what the nearest cache holds."""
GATE, CORE, EXP_GATE, EXP_CORE, KEPT = 0, LANES, 2 * LANES, 3 * LANES, 4 * LANES
"""Where `_begin` keeps what of an edge, and how many numbers."""
ROW = 2 * LANES
"""Numbers of a radial function in `_by_lanes`: gate and core."""

_MATH: dict[str, Any] = {"fastmath": {"contract", "nsz"}, "error_model": "numpy"}
_f32: Any = np.float32
_i32: Any = np.int32
_LOG2_E = 1.44269504
_ROUNDER = 1.5 * 2**23
"""Added to a float32, it leaves no bits for what is behind the point."""


@functools.cache  # once, not for each loop
def _warn(folder: str, reason: str) -> None:
    logging.getLogger(__name__).warning(
        "numba must be able to keep compiled loops in %s, but: %s; going on without. Remove what is there, or let "
        "NUMBA_CACHE_DIR name another folder",
        folder,
        reason,
    )


class Loop:
    """A compiled function that releases the GIL, kept on disk between processes where there is a place for it."""

    def __init__(self, function: Callable[..., None]) -> None:
        """Compile nothing yet."""
        self._function = function
        try:
            self._compiled = njit(nogil=True, cache=True, **_MATH)(function)
        except RuntimeError:  # neither the package's folder nor the user's can be written to
            self._compiled = njit(nogil=True, **_MATH)(function)

    def __call__(self, *arguments: Any) -> None:
        """Run it; the first time it is compiled, or loaded."""
        try:
            self._compiled(*arguments)
        except Exception as error:
            folder = self._compiled.stats.cache_path
            if not folder:
                raise
            _warn(folder, f"{type(error).__name__}: {error}")
            self._compiled = njit(nogil=True, **_MATH)(self._function)
            self._compiled(*arguments)

    @property
    def signatures(self) -> list[Any]:
        """What it was compiled for."""
        return list(self._compiled.signatures)


def _inlined(function: Function) -> Function:
    """A part of the loops that becomes one with them."""
    compiled: Function = njit(forceinline=True, **_MATH)(function)
    return compiled


@_inlined
def _exp2(x: Lanes) -> Lanes:
    """2 to the power of x within 1e-7 of its value for x in -126 to 126, beyond that the value there.

    That of the nearest whole number, times a minimax polynomial of degree 6 of the rest.
    """
    x = at_most(at_least(x, -126.0), 126.0)
    shifted = x + _ROUNDER
    rest = x - (shifted - _ROUNDER)
    p = rest * 1.5353362e-4 + 1.3398875e-3
    p = p * rest + 9.618437e-3
    p = p * rest + 5.5503324e-2
    p = p * rest + 2.4022648e-1
    p = p * rest + 6.9314718e-1
    return (p * rest + 1.0) * power_of_two(shifted)


@_inlined
def _log1p(u: Lanes) -> Lanes:
    """log(1 + u) within 3e-7 of its value for u in 0 to 1: a minimax polynomial of degree 9."""
    p = u * 0.00523262 - 0.02950496
    p = p * u + 0.07822549
    p = p * u - 0.13663207
    p = p * u + 0.19105988
    p = p * u - 0.24842978
    p = p * u + 0.33319096
    p = p * u - 0.49999493
    return (p * u + 0.99999997) * u


@Loop
def expand(
    length: Array, centers: Array, spacing: Number, basis: Number, row: Number, band: Array, first: Array
) -> None:  # fmt: skip
    """Write `band` and `first` of one basis: lengths over Gaussians whose weights begin at `row`."""
    for e in range(len(length)):
        f = _i32(np.floor((length[e] - centers[0]) / spacing)) - _i32(BAND // 2 - 1)
        f = min(max(f, _i32(0)), _i32(len(centers) - BAND))
        t = (length[e] - load(centers, f)) / spacing
        store(_exp2(at_most(t * t, LARGEST_EXPONENT) * -_LOG2_E), band, (e, basis, 0))
        first[e, basis] = row + f


@Loop
def shares(graph: Graph, share: Array, received: Array, sent: Array, by_rbf: Array) -> None:
    """Add up q per receiver and per sender (atoms), and q times each radial function (rbf; float64).

    The mean of z follows from them: it is linear in r, s and W.
    """
    ptr, _, sender, band, first = graph
    for r in range(len(ptr) - 1):
        for e in range(ptr[r], ptr[r + 1]):
            received[r] += share[e]
            sent[sender[e]] += share[e]
            for i in range(first.shape[1]):
                for k in range(BAND):
                    by_rbf[first[e, i] + k] += share[e] * band[e, i, k]


@_inlined
def _by_lanes(edge_weight: Array) -> Array:
    """W in the order in which edges read it (dim / LANES, 2 LANES rbf): by columns, rbf, gate and core."""
    num_rbf, width = edge_weight.shape
    weights = np.empty((width // (2 * LANES), num_rbf * ROW), _f32)
    for i in range(len(weights)):
        for row in range(num_rbf):
            store(load(edge_weight, (row, i * LANES)), weights, (i, row * ROW + GATE))
            store(load(edge_weight, (row, width // 2 + i * LANES)), weights, (i, row * ROW + CORE))
    return weights


@_inlined
def _empty_into(total: Array, some: Array) -> None:
    """Move what was summed in float32, in the order of `_by_lanes`, into float64."""
    num_rbf, width = total.shape
    for i in range(len(some)):
        for row in range(num_rbf):
            for lane in range(LANES):
                total[row, i * LANES + lane] += some[i, row * ROW + GATE + lane]
                total[row, width // 2 + i * LANES + lane] += some[i, row * ROW + CORE + lane]
    some[:] = 0


@_inlined
def _behind(r: Number, stop: Number, ptr: Array) -> Number:
    """The node behind those that a pass takes at a time: r, and as many more as have `EDGES` with it."""
    behind = r + 1
    while behind < stop and ptr[behind + 1] - ptr[r] <= EDGES:
        behind += 1
    return behind


@_inlined
def _kept(start: Number, stop: Number, ptr: Array) -> Array:
    """Room for what is computed of the edges that a pass takes at a time."""
    most = EDGES
    for r in range(start, stop):
        most = max(most, ptr[r + 1] - ptr[r])
    return np.empty(most * KEPT, _f32)


@_inlined
def _input(e: Number, j: Number, graph: Graph, products: Array, weights: Array) -> tuple[Lanes, Lanes]:
    """Gate and core of an edge's z in the columns from j on, the radial functions from one basis or several."""
    _, receiver, sender, band, first = graph
    width = products.shape[2]
    r, s, c = item(receiver, e), item(sender, e), width // 2 + j
    gate = load(products, (r, 0, j)) + load(products, (s, 1, j))
    core = load(products, (r, 0, c)) + load(products, (s, 1, c))
    for i in range(first.shape[1]):
        at = ROW * np.int64(item(first, (e, i)))
        b = spread(band, (e, i, BAND // 2))  # two sums each, which the processor adds up at the same time
        other_gate = b * load(weights, (j // LANES, at + BAND // 2 * ROW + GATE))
        other_core = b * load(weights, (j // LANES, at + BAND // 2 * ROW + CORE))
        for k in range(BAND // 2):
            b = spread(band, (e, i, k))
            gate += b * load(weights, (j // LANES, at + k * ROW + GATE))
            core += b * load(weights, (j // LANES, at + k * ROW + CORE))
        for k in range(BAND // 2 + 1, BAND):
            b = spread(band, (e, i, k))
            other_gate += b * load(weights, (j // LANES, at + k * ROW + GATE))
            other_core += b * load(weights, (j // LANES, at + k * ROW + CORE))
        gate += other_gate
        core += other_core
    return gate, core


@Loop
def moments(
    start: Number, stop: Number, graph: Graph, products: Array, edge_weight: Array, share: Array, variance: Array
) -> None:
    """Add sum q z^2 to `variance` (width; float64)."""
    ptr = graph[0]
    width = products.shape[2]
    dim = width // 2
    weights, squares = _by_lanes(edge_weight), np.empty(width, _f32)
    behind = start
    while behind < stop:
        r = behind
        behind = _behind(r, stop, ptr)
        for j in range(0, dim, LANES):
            gates = cores = zeros()
            for e in range(ptr[r], ptr[behind]):
                gate, core = _input(e, j, graph, products, weights)
                q = spread(share, e)
                gates += q * gate * gate
                cores += q * core * core
            store(gates, squares, j)
            store(cores, squares, dim + j)
        for j in range(width):
            variance[j] += squares[j]


@_inlined
def _begin(
    begin: Number, end: Number, j: Number, graph: Graph, products: Array, weights: Array, scale: Array, shift: Array,
    kept: Array
) -> None:  # fmt: skip
    """Write gate and core of z, exp(-gate) and exp(-abs(core)) of y: the first half of edges' messages."""
    c = products.shape[2] // 2 + j
    gate_scale, core_scale, gate_shift, core_shift = load(scale, j), load(scale, c), load(shift, j), load(shift, c)
    at = 0
    for e in range(begin, end):
        gate, core = _input(e, j, graph, products, weights)
        store(gate, kept, at + GATE)
        store(core, kept, at + CORE)
        store(_exp2((gate_scale * gate + gate_shift) * -_LOG2_E), kept, at + EXP_GATE)
        store(_exp2(magnitude(core_scale * core + core_shift) * -_LOG2_E), kept, at + EXP_CORE)
        at += KEPT


@_inlined
def _softplus(x: Lanes, exp_x: Lanes) -> Lanes:
    """log(1 + exp(x)), from x and exp(-abs(x))."""
    return at_least(x, 0.0) + _log1p(exp_x)


@_inlined
def _message(core: Lanes, exp_gate: Lanes, exp_core: Lanes) -> tuple[Lanes, Lanes, Lanes]:
    """sigmoid(gate) * softplus(core), and its derivatives by gate and core, from exp(-gate) and exp(-abs(core))."""
    inverse = 1.0 / ((1.0 + exp_gate) * (1.0 + exp_core))  # one division for both
    opening = inverse * (1.0 + exp_core)  # sigmoid(gate)
    slope = inverse * (1.0 + exp_gate)  # sigmoid(abs(core))
    message = opening * _softplus(core, exp_core)
    return message, message - message * opening, opening * where_negative(core, exp_core * slope, slope)


@Loop
def forward(
    start: Number, stop: Number, graph: Graph, products: Array, edge_weight: Array, count: Array, scale: Array,
    shift: Array, total: Array, slopes: Array
) -> None:  # fmt: skip
    """Write t into `total` (atoms, dim), and into `slopes` (atoms, 4, dim) the sums of w h and w h z."""
    ptr = graph[0]
    dim = total.shape[1]
    weights, kept = _by_lanes(edge_weight), _kept(start, stop, ptr)
    behind = start
    while behind < stop:
        begin = behind
        behind = _behind(begin, stop, ptr)
        for j in range(0, dim, LANES):
            _begin(ptr[begin], ptr[behind], j, graph, products, weights, scale, shift, kept)
            core_scale, core_shift = load(scale, dim + j), load(shift, dim + j)
            at = 0
            for r in range(begin, behind):
                t = by_gate = by_core = by_gate_z = by_core_z = zeros()
                for e in range(ptr[r], ptr[r + 1]):
                    gate, core = load(kept, at + GATE), load(kept, at + CORE)
                    message, gate_slope, core_slope = _message(
                        core_scale * core + core_shift, load(kept, at + EXP_GATE), load(kept, at + EXP_CORE)
                    )
                    w = spread(count, e)
                    t += w * message
                    gate_slope *= w
                    core_slope *= w
                    by_gate += gate_slope
                    by_core += core_slope
                    by_gate_z += gate_slope * gate
                    by_core_z += core_slope * core
                    at += KEPT
                store(t, total, (r, j))
                store(by_gate, slopes, (r, 0, j))
                store(by_core, slopes, (r, 1, j))
                store(by_gate_z, slopes, (r, 2, j))
                store(by_core_z, slopes, (r, 3, j))


@Loop
def forward_only(
    start: Number, stop: Number, graph: Graph, products: Array, edge_weight: Array, count: Array, total: Array
) -> None:  # fmt: skip
    """Write t into `total` (atoms, dim), for weights that make y of an edge, not z."""
    ptr = graph[0]
    weights, kept = _by_lanes(edge_weight), _kept(start, stop, ptr)
    behind = start
    while behind < stop:
        begin = behind
        behind = _behind(begin, stop, ptr)
        for j in range(0, total.shape[1], LANES):
            at = 0
            for e in range(ptr[begin], ptr[behind]):
                gate, core = _input(e, j, graph, products, weights)
                store(core, kept, at + CORE)
                store(_exp2(gate * -_LOG2_E), kept, at + EXP_GATE)
                store(_exp2(magnitude(core) * -_LOG2_E), kept, at + EXP_CORE)
                at += KEPT
            at = 0
            for r in range(begin, behind):
                t = zeros()
                for e in range(ptr[r], ptr[r + 1]):
                    core, exp_core = load(kept, at + CORE), load(kept, at + EXP_CORE)
                    t += spread(count, e) * _softplus(core, exp_core) / (1.0 + load(kept, at + EXP_GATE))
                    at += KEPT
                store(t, total, (r, j))


@Loop
def weighted_sums(start: Number, stop: Number, grad: Array, slopes: Array, sums: Array) -> None:
    """Add the sum over nodes of G (atoms, dim) times `slopes` to `sums` (4, dim; float64)."""
    for r in range(start, stop):
        for i in range(4):
            for j in range(grad.shape[1]):
                sums[i, j] += grad[r, j] * slopes[r, i, j]


@_inlined
def _add(value: Lanes, array: Array, index: Any) -> None:
    store(load(array, index) + value, array, index)


@_inlined
def _distribute(
    begin: Number, end: Number, j: Number, graph: Graph, kept: Array, grad_products: Array, grad_weights: Array
) -> None:  # fmt: skip
    """Add the gradients of edges' z, which have taken the place of z, to those of senders and of W."""
    _, _, sender, band, first = graph
    width = grad_products.shape[2]
    at = 0
    for e in range(begin, end):
        gate, core = load(kept, at + GATE), load(kept, at + CORE)
        s = item(sender, e)
        _add(gate, grad_products, (s, 1, j))
        _add(core, grad_products, (s, 1, width // 2 + j))
        for i in range(first.shape[1]):
            to = ROW * np.int64(item(first, (e, i)))
            for k in range(BAND):
                b = spread(band, (e, i, k))
                _add(b * gate, grad_weights, (j // LANES, to + k * ROW + GATE))
                _add(b * core, grad_weights, (j // LANES, to + k * ROW + CORE))
        at += KEPT


@Loop
def backward(
    start: Number, stop: Number, graph: Graph, products: Array, edge_weight: Array, count: Array, scale: Array,
    shift: Array, share: Array, grad: Array, constant: Array, linear: Array, grad_products: Array,
    grad_edge_weight: Array
) -> None:  # fmt: skip
    """Write the gradient of `products`, and add that of `edge_weight` (rbf, width; float64).

    That of an edge's z is scale w G h - q (constant + linear z).
    """
    ptr = graph[0]
    dim = grad.shape[1]
    weights, kept = _by_lanes(edge_weight), _kept(start, stop, ptr)
    some = np.zeros(weights.shape, _f32)  # of grad_edge_weight: what the last nodes add
    grad_products[start:stop] = 0
    emptied = behind = start
    while behind < stop:
        begin = behind
        behind = _behind(begin, stop, ptr)
        for j in range(0, dim, LANES):
            c = dim + j
            _begin(ptr[begin], ptr[behind], j, graph, products, weights, scale, shift, kept)
            core_shift, gate_scale, core_scale = load(shift, c), load(scale, j), load(scale, c)
            gate_constant, core_constant = load(constant, j), load(constant, c)
            gate_linear, core_linear = load(linear, j), load(linear, c)
            at = 0
            for r in range(begin, behind):
                g = load(grad, (r, j))
                to_gate = to_core = zeros()
                for e in range(ptr[r], ptr[r + 1]):
                    gate, core = load(kept, at + GATE), load(kept, at + CORE)
                    _, gate_slope, core_slope = _message(
                        core_scale * core + core_shift, load(kept, at + EXP_GATE), load(kept, at + EXP_CORE)
                    )
                    wg, q = spread(count, e) * g, spread(share, e)
                    gate = gate_scale * wg * gate_slope - q * (gate_constant + gate_linear * gate)
                    core = core_scale * wg * core_slope - q * (core_constant + core_linear * core)
                    to_gate += gate
                    to_core += core
                    store(gate, kept, at + GATE)
                    store(core, kept, at + CORE)
                    at += KEPT
                store(to_gate, grad_products, (r, 0, j))
                store(to_core, grad_products, (r, 0, c))
            _distribute(ptr[begin], ptr[behind], j, graph, kept, grad_products, some)
        if behind - emptied >= FLUSH or behind == stop:
            _empty_into(grad_edge_weight, some)
            emptied = behind


@Loop
def softplus(start: Number, stop: Number, x: Array, result: Array) -> None:
    """Write log(1 + exp(x)) of nodes into `result` (atoms, dim)."""
    for r in range(start, stop):
        for j in range(0, x.shape[1], LANES):
            some = load(x, (r, j))
            store(_softplus(some, _exp2(magnitude(some) * -_LOG2_E)), result, (r, j))


@Loop
def softplus_backward(start: Number, stop: Number, x: Array, grad: Array, result: Array) -> None:
    """Write the gradient of x (atoms, dim) into `result`."""
    for r in range(start, stop):
        for j in range(0, x.shape[1], LANES):
            some = load(x, (r, j))
            exp_some = _exp2(magnitude(some) * -_LOG2_E)
            store(load(grad, (r, j)) * where_negative(some, exp_some, zeros() + 1.0) / (1.0 + exp_some), result, (r, j))
