"""The gated sum as compiled loops over edges, which keep nothing per edge but a band of its Gaussians.

Three passes, each of which computes z of an edge anew (`_input`): `moments` before the normalisation, `forward`, and
`backward`, which writes all gradients. The sums that make the gradients of scale and shift are taken apart: `forward`
sums, per receiver, what does not depend on the loss, and `weighted_sums` multiplies with the rest.

Each function works on the nodes from `start` to `stop`, whole crystals, so that threads share nothing that is written.
Arrays, float32 where nothing else is said:

- ptr (atoms + 1), sender (edges): int64; node r receives the edges ptr[r] to ptr[r + 1].
- products (atoms, 2, width): r in [:, 0], s in [:, 1]; the width is 2 dim, gate before core.
- band (edges, bases, 8), first (edges, bases; int32): radial functions and the row of `edge_weight` (rbf, width) that
  the first of them is multiplied with.
- count, share (edges): w and q.
- mean, scale, shift (width): y = scale (z - mean) + shift. z is centred everywhere, or small differences of large sums
  would lose digits. Sums over more than a few hundred numbers go on in float64.
"""

import functools
import logging
from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
Number: TypeAlias = Any
"""float32, or an integer that numba takes in its place."""
Function = TypeVar("Function", bound=Callable[..., Any])

BAND = 8
"""Gaussians that count for a length. Those beyond are more than four widths away: at most exp(-16) = 1e-7."""

LARGEST_EXPONENT = 30.0
"""As in `radial`; here, because what is kept on disk is made anew when this file changes, and no other."""
FLUSH = 256
"""Nodes after which sums in float32 go into those in float64."""

# Products and sums may fuse. Nothing else of fast-math: NaN and inf stay visible, and `_exp` needs its order kept.
_MATH: dict[str, Any] = {"fastmath": {"contract", "nsz"}, "error_model": "numpy"}
_f32: Any = np.float32
_i32: Any = np.int32


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


def _bitcast(typing: Any, bits: Any) -> Any:
    """The float32 that an int32 holds the bits of."""

    def cast(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), cast


_float_of_bits: Any = intrinsic(_bitcast)


@_inlined
def _exp(x: Number) -> Number:
    """Exp within 1e-7 of its value for x in -87 to 87, beyond that the value there.

    Source:
        Cephes ``expf.c`` (Moshier): reduction by ln 2 in two parts, polynomial of degree 6.
    """
    x = _f32(-87) if x < _f32(-87) else x  # in this order NaN passes
    x = _f32(87) if x > _f32(87) else x
    n = np.floor(x * _f32(1.44269504) + _f32(0.5))
    r = (x - n * _f32(0.693359375)) - n * _f32(-2.12194440e-4)
    p = _f32(1.9875691500e-4)
    p = p * r + _f32(1.3981999507e-3)
    p = p * r + _f32(8.3334519073e-3)
    p = p * r + _f32(4.1665795894e-2)
    p = p * r + _f32(1.6666665459e-1)
    p = p * r + _f32(5.0000001201e-1)
    p = p * (r * r) + r + _f32(1)
    return p * _float_of_bits(_i32((_i32(n) + _i32(127)) << _i32(23)))


@_inlined
def _log1p(u: Number) -> Number:
    """log(1 + u) within 3e-7 of its value for u in 0 to 1: a minimax polynomial of degree 9."""
    p = _f32(-0.02950496) + u * _f32(0.00523262)
    p = _f32(-0.13663207) + u * (_f32(0.07822549) + u * p)
    p = _f32(-0.24842978) + u * (_f32(0.19105988) + u * p)
    return u * (_f32(0.99999997) + u * (_f32(-0.49999493) + u * (_f32(0.33319096) + u * p)))


@_inlined
def _gaussians(length: Number, centers: Array, spacing: Number, band: Array) -> Number:
    """Write the Gaussians that count for a length, and return the index of the first one."""
    first = _i32(np.floor((length - centers[0]) / spacing)) - _i32(BAND // 2 - 1)
    first = min(max(first, _i32(0)), _i32(len(centers) - BAND))
    for k in range(BAND):
        t = (length - centers[first + k]) / spacing
        t = t * t
        band[k] = _exp(-(_f32(LARGEST_EXPONENT) if t > _f32(LARGEST_EXPONENT) else t))
    return first


@Loop
def expand(
    length: Array, centers: Array, spacing: Number, basis: Number, row: Number, band: Array, first: Array
) -> None:  # fmt: skip
    """Write `band` and `first` of one basis: lengths over Gaussians whose weights begin at `row`."""
    for e in range(len(length)):
        first[e, basis] = row + _gaussians(length[e], centers, spacing, band[e, basis])


@Loop
def shares(
    ptr: Array, sender: Array, band: Array, first: Array, share: Array, received: Array, sent: Array, spread: Array
) -> None:
    """Add up q per receiver and per sender (atoms), and q times each radial function (rbf; float64).

    The mean of z follows from them: it is linear in r, s and W.
    """
    for r in range(len(ptr) - 1):
        for e in range(ptr[r], ptr[r + 1]):
            received[r] += share[e]
            sent[sender[e]] += share[e]
            for i in range(first.shape[1]):
                for k in range(BAND):
                    spread[first[e, i] + k] += share[e] * band[e, i, k]


@_inlined
def _input(z: Array, received: Array, sent: Array, edge_weight: Array, band: Array, first: Array) -> None:
    """Z of an edge, whose radial functions come from one basis or several."""
    for i in range(len(first)):
        b, f = band[i], first[i]
        b0, b1, b2, b3, b4, b5, b6, b7 = b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]
        w0, w1, w2, w3 = edge_weight[f], edge_weight[f + 1], edge_weight[f + 2], edge_weight[f + 3]
        w4, w5, w6, w7 = edge_weight[f + 4], edge_weight[f + 5], edge_weight[f + 6], edge_weight[f + 7]
        if i == 0:
            for j in range(len(z)):
                low = b0 * w0[j] + b1 * w1[j] + b2 * w2[j] + b3 * w3[j]
                z[j] = received[j] + sent[j] + low + b4 * w4[j] + b5 * w5[j] + b6 * w6[j] + b7 * w7[j]
        else:
            for j in range(len(z)):
                low = b0 * w0[j] + b1 * w1[j] + b2 * w2[j] + b3 * w3[j]
                z[j] += low + b4 * w4[j] + b5 * w5[j] + b6 * w6[j] + b7 * w7[j]


@_inlined
def _subtract(row: Array, mean: Array, received: Array) -> None:
    """Write r of a receiver, less the mean of z."""
    for j in range(len(received)):
        received[j] = row[j] - mean[j]


@Loop
def moments(
    start: Number, stop: Number, ptr: Array, sender: Array, band: Array, first: Array,
    products: Array, edge_weight: Array, mean: Array,
    share: Array, variance: Array
) -> None:  # fmt: skip
    """Add sum q (z - mean)^2 to `variance` (width; float64)."""
    width = products.shape[2]
    z, received, squares = np.empty(width, _f32), np.empty(width, _f32), np.empty(width, _f32)
    for r in range(start, stop):
        squares[:] = 0
        _subtract(products[r, 0], mean, received)
        for e in range(ptr[r], ptr[r + 1]):
            _input(z, received, products[sender[e], 1], edge_weight, band[e], first[e])
            q = share[e]
            for j in range(width):
                squares[j] += q * z[j] * z[j]
        for j in range(width):
            variance[j] += squares[j]


@_inlined
def _message(gate: Number, core: Number) -> tuple[Number, Number, Number]:
    """sigmoid(gate) * softplus(core), and its derivatives by gate and core."""
    u, v = _exp(-gate), _exp(-abs(core))
    inverse = _f32(1) / ((_f32(1) + u) * (_f32(1) + v))  # one division for both
    opening = inverse * (_f32(1) + v)  # sigmoid(gate)
    slope = inverse * (_f32(1) + u)  # sigmoid(abs(core))
    message = opening * ((_f32(0) if core < _f32(0) else core) + _log1p(v))
    return message, message - message * opening, opening * (v * slope if core < _f32(0) else slope)


@Loop
def forward(
    start: Number, stop: Number, ptr: Array, sender: Array, band: Array, first: Array,
    products: Array, edge_weight: Array, mean: Array,
    count: Array, scale: Array, shift: Array, total: Array, slopes: Array
) -> None:  # fmt: skip
    """Write t into `total` (atoms, dim), and into `slopes` (atoms, 4, dim) the sums of w h and w h (z - mean)."""
    width = products.shape[2]
    dim = width // 2
    z, received = np.empty(width, _f32), np.empty(width, _f32)
    gate, core = z[:dim], z[dim:]
    gate_scale, core_scale, gate_shift, core_shift = scale[:dim], scale[dim:], shift[:dim], shift[dim:]
    for r in range(start, stop):
        t = total[r]
        by_gate, by_core, by_gate_z, by_core_z = slopes[r, 0], slopes[r, 1], slopes[r, 2], slopes[r, 3]
        t[:] = 0
        slopes[r] = 0
        _subtract(products[r, 0], mean, received)
        for e in range(ptr[r], ptr[r + 1]):
            _input(z, received, products[sender[e], 1], edge_weight, band[e], first[e])
            w = count[e]
            for j in range(dim):
                message, gate_slope, core_slope = _message(
                    gate[j] * gate_scale[j] + gate_shift[j], core[j] * core_scale[j] + core_shift[j]
                )
                t[j] += w * message
                by_gate[j] += w * gate_slope
                by_core[j] += w * core_slope
                by_gate_z[j] += w * gate_slope * gate[j]
                by_core_z[j] += w * core_slope * core[j]


@Loop
def forward_only(
    start: Number, stop: Number, ptr: Array, sender: Array, band: Array, first: Array,
    products: Array, edge_weight: Array, mean: Array, count: Array, scale: Array, shift: Array, total: Array
) -> None:  # fmt: skip
    """What `forward` writes into `total`, without what only gradients need."""
    width = products.shape[2]
    dim = width // 2
    z, received = np.empty(width, _f32), np.empty(width, _f32)
    gate, core = z[:dim], z[dim:]
    gate_scale, core_scale, gate_shift, core_shift = scale[:dim], scale[dim:], shift[:dim], shift[dim:]
    for r in range(start, stop):
        t = total[r]
        t[:] = 0
        _subtract(products[r, 0], mean, received)
        for e in range(ptr[r], ptr[r + 1]):
            _input(z, received, products[sender[e], 1], edge_weight, band[e], first[e])
            w = count[e]
            for j in range(dim):
                message, _, _ = _message(
                    gate[j] * gate_scale[j] + gate_shift[j], core[j] * core_scale[j] + core_shift[j]
                )
                t[j] += w * message


@Loop
def weighted_sums(start: Number, stop: Number, grad: Array, slopes: Array, sums: Array) -> None:
    """Add the sum over nodes of G (atoms, dim) times `slopes` to `sums` (4, dim; float64)."""
    for r in range(start, stop):
        for i in range(4):
            for j in range(grad.shape[1]):
                sums[i, j] += grad[r, j] * slopes[r, i, j]


@_inlined
def _add_to_weights(grad: Array, of_input: Array, band: Array, first: Array) -> None:
    """Add what the gradient of an edge's z adds to that of the weights."""
    for i in range(len(first)):
        for k in range(BAND):
            b, row = band[i, k], grad[first[i] + k]
            for j in range(len(of_input)):
                row[j] += b * of_input[j]


@_inlined
def _empty_into(total: Array, some: Array) -> None:
    """Move what was summed in float32 into float64."""
    for k in range(total.shape[0]):
        for j in range(total.shape[1]):
            total[k, j] += some[k, j]
            some[k, j] = 0


@Loop
def backward(
    start: Number, stop: Number, ptr: Array, sender: Array, band: Array, first: Array,
    products: Array, edge_weight: Array, mean: Array,
    count: Array, scale: Array, shift: Array, share: Array, grad: Array, constant: Array, linear: Array,
    grad_products: Array, grad_edge_weight: Array
) -> None:  # fmt: skip
    """Write the gradient of `products`, and add that of `edge_weight` (rbf, width; float64).

    That of an edge's z is scale w G h - q (constant + linear (z - mean)).
    """
    width = products.shape[2]
    dim = width // 2
    z, received = np.empty(width, _f32), np.empty(width, _f32)
    gate, core = z[:dim], z[dim:]
    gate_scale, core_scale, gate_shift, core_shift = scale[:dim], scale[dim:], shift[:dim], shift[dim:]
    gate_constant, core_constant, gate_linear, core_linear = constant[:dim], constant[dim:], linear[:dim], linear[dim:]
    some = np.zeros((len(edge_weight), width), _f32)  # of grad_edge_weight: what the last nodes add
    grad_products[start:stop] = 0
    for r in range(start, stop):
        g, to_receiver = grad[r], grad_products[r, 0]
        _subtract(products[r, 0], mean, received)
        for e in range(ptr[r], ptr[r + 1]):
            _input(z, received, products[sender[e], 1], edge_weight, band[e], first[e])
            w, q = count[e], share[e]
            for j in range(dim):
                _, gate_slope, core_slope = _message(
                    gate[j] * gate_scale[j] + gate_shift[j], core[j] * core_scale[j] + core_shift[j]
                )
                wg = w * g[j]
                gate[j] = gate_scale[j] * wg * gate_slope - q * (gate_constant[j] + gate_linear[j] * gate[j])
                core[j] = core_scale[j] * wg * core_slope - q * (core_constant[j] + core_linear[j] * core[j])
            to_sender = grad_products[sender[e], 1]
            for j in range(width):
                to_receiver[j] += z[j]
                to_sender[j] += z[j]
            _add_to_weights(some, z, band[e], first[e])
        if (r - start) % FLUSH == FLUSH - 1 or r == stop - 1:
            _empty_into(grad_edge_weight, some)
