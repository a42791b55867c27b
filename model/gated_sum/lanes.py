"""Eight float32 numbers that compiled loops hold and compute with as one: a type of numba's, and its operators.

A loop over edges then keeps its sums in registers, which LLVM does not manage in a loop over numbers. Where a
processor's registers hold fewer, LLVM takes several.
"""

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel import models
from numba.extending import intrinsic, lower_builtin, register_model, type_callable
from numba.np.arrayobj import make_array

LANES = 8

_FLOATS, _INTS = ir.VectorType(ir.FloatType(), LANES), ir.VectorType(ir.IntType(32), LANES)
_intrinsic: Any = intrinsic
_FLAGS = ("contract", "nsz")
"""Products and sums may fuse. Nothing else of fast-math: NaN and inf stay visible."""


class _Lanes(types.Type):
    def __init__(self) -> None:
        super().__init__(name=f"float32 x {LANES}")


_lanes = _Lanes()


@register_model(_Lanes)
class _Model(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _FLOATS)


def _in_lanes(context: Any, builder: Any, value: Any, kind: Any) -> Any:
    """Lanes as they are, and a number in all of them."""
    if isinstance(kind, _Lanes):
        return value
    number, zero = context.cast(builder, value, kind, types.float32), ir.Constant(ir.IntType(32), 0)
    one = builder.insert_element(ir.Constant(_FLOATS, ir.Undefined), number, zero)
    return builder.shuffle_vector(one, ir.Constant(_FLOATS, ir.Undefined), ir.Constant(_INTS, None))


def _define(function: Callable[..., Any], build: Callable[[Any, Any, Any], Any]) -> None:
    """Let loops use an operator, or a function of two arguments, with lanes on one side at least."""

    def typing(context: Any) -> Callable[[Any, Any], Any]:
        return lambda a, b: _lanes if isinstance(a, _Lanes) or isinstance(b, _Lanes) else None

    def lower(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        a, b = (_in_lanes(context, builder, *each) for each in zip(arguments, signature.args, strict=True))
        return build(builder, a, b)

    type_callable(function)(typing)
    for kinds in ((_Lanes, _Lanes), (_Lanes, types.Number), (types.Number, _Lanes)):
        lower_builtin(function, *kinds)(lower)


def at_least(a: Any, b: Any) -> Any:
    """A, or b where that is larger; NaN where a is."""


def at_most(a: Any, b: Any) -> Any:
    """A, or b where that is smaller; NaN where a is."""


_define(at_least, lambda builder, a, b: builder.select(builder.fcmp_ordered("<", a, b), b, a))
_define(at_most, lambda builder, a, b: builder.select(builder.fcmp_ordered(">", a, b), b, a))
for _operator in (operator.add, operator.iadd):
    _define(_operator, lambda builder, a, b: builder.fadd(a, b, flags=_FLAGS))
for _operator in (operator.sub, operator.isub):
    _define(_operator, lambda builder, a, b: builder.fsub(a, b, flags=_FLAGS))
for _operator in (operator.mul, operator.imul):
    _define(_operator, lambda builder, a, b: builder.fmul(a, b, flags=_FLAGS))
_define(operator.truediv, lambda builder, a, b: builder.fdiv(a, b, flags=_FLAGS))


@_intrinsic
def zeros(context: Any) -> Any:
    """0 in all lanes."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return ir.Constant(_FLOATS, None)

    return _lanes(), build


@_intrinsic
def where_negative(context: Any, condition: Any, a: Any, b: Any) -> Any:
    """A in the lanes in which the condition is below 0, b in the others."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        condition, a, b = arguments
        return builder.select(builder.fcmp_ordered("<", condition, ir.Constant(_FLOATS, None)), a, b)

    return _lanes(condition, a, b), build


@_intrinsic
def magnitude(context: Any, x: Any) -> Any:
    """Without its sign."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        bits = builder.and_(builder.bitcast(arguments[0], _INTS), ir.Constant(_INTS, [0x7FFFFFFF] * LANES))
        return builder.bitcast(bits, _FLOATS)

    return _lanes(x), build


@_intrinsic
def power_of_two(context: Any, shifted: Any) -> Any:
    """2 to the power of n, whole numbers in -126 to 127, given as 1.5 x 2^23 + n: there n stands in the last bits."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        exponent = builder.add(builder.bitcast(arguments[0], _INTS), ir.Constant(_INTS, [127] * LANES))
        return builder.bitcast(builder.shl(exponent, ir.Constant(_INTS, [23] * LANES)), _FLOATS)

    return _lanes(shifted), build


def _address(context: Any, builder: Any, kinds: Any, array: Any, index: Any) -> Any:
    """Where an element of an array is, of which only the first axis may be left open. Looks at no bound."""
    array_kind, index_kind = kinds
    if not isinstance(index_kind, types.BaseTuple):
        index, index_kind = context.make_tuple(builder, types.UniTuple(index_kind, 1), [index]), [index_kind]
    indices = zip(cgutils.unpack_tuple(builder, index), index_kind, strict=True)
    whole = [context.cast(builder, value, kind, types.intp) for value, kind in indices]
    made = make_array(array_kind)(context, builder, array)
    return cgutils.get_item_pointer(context, builder, array_kind, made, whole, wraparound=False)


@_intrinsic
def item(context: Any, array: Any, index: Any) -> Any:
    """The element at an index, which is not looked at: numba's own brackets ask whether it is negative."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(_address(context, builder, signature.args, *arguments))

    return array.dtype(array, index), build


@_intrinsic
def spread(context: Any, array: Any, index: Any) -> Any:
    """The element of float32 at an index, in all lanes."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        number = builder.load(_address(context, builder, signature.args, *arguments))
        return _in_lanes(context, builder, number, types.float32)

    return _lanes(array, index), build


@_intrinsic
def load(context: Any, array: Any, index: Any) -> Any:
    """The element of float32 at an index and those after it."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address = _address(context, builder, signature.args, *arguments)
        return builder.load(builder.bitcast(address, _FLOATS.as_pointer()), align=4)

    return _lanes(array, index), build


@_intrinsic
def store(context: Any, value: Any, array: Any, index: Any) -> Any:
    """Write lanes over the element of float32 at an index and those after it."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address = _address(context, builder, signature.args[1:], *arguments[1:])
        builder.store(arguments[0], builder.bitcast(address, _FLOATS.as_pointer()), align=4)
        return context.get_dummy_value()

    return types.void(value, array, index), build
