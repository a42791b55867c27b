"""Types of arrays with their shapes: ``Float[Tensor, "edges rbf"]``, ``Int[NDArray[np.int64], " atoms"]``.

The tests check them by jaxtyping and beartype (tests/conftest.py); elsewhere they are the type of the array alone, and
neither package is needed. Axes have the same names everywhere: atoms (nodes of the graph), edges, crystals, tasks, rbf.
"""

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import Annotated as Bool
    from typing import Annotated as Float
    from typing import Annotated as Int
    from typing import Annotated as UInt
elif "jaxtyping" in sys.modules:
    from jaxtyping import Bool, Float, Int, UInt
else:

    class _Unchecked:
        def __class_getitem__(cls, type_and_shape: tuple[Any, str]) -> Any:
            return type_and_shape[0]

    Bool = Float = Int = UInt = _Unchecked

__all__ = ["Bool", "Float", "Int", "UInt"]
