"""Which file computes the gated sum of a batch."""

import functools
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from graphdb.batch import GraphBatch
from graphdb.shapes import Float
from model.gated_sum.by_torch import TorchEdges
from model.gated_sum.radial import RadialBasis
from model.threads import give_back_to_pytorch

if TYPE_CHECKING:
    from model.gated_sum.by_numba import CompiledEdges


class Edges(Protocol):
    """The edges of a batch, with what every convolution needs of them computed once."""

    num_bonds: Float[Tensor, ""]
    """Of the unmerged crystals."""

    def gated_sum(
        self,
        atoms: Float[Tensor, "atoms dim"],
        node_weight: Float[Tensor, "dim products"],
        edge_weight: Float[Tensor, "rbf width"],
        gamma: Float[Tensor, " width"],
        beta: Float[Tensor, " width"],
        fixed: tuple[Float[Tensor, " width"], Float[Tensor, " width"]] | None,
    ) -> tuple[Float[Tensor, "atoms dim"], Float[Tensor, " width"], Float[Tensor, " width"]]:
        """The sum t, and the mean and variance that were used, of which gradients know nothing.

        Args:
            atoms: the atom vectors.
            node_weight: makes of them r and s, side by side: 4 dim columns.
            edge_weight: W, the rows of all bases one after the other; the width is 2 dim.
            gamma: scale of the normalisation.
            beta: its shift.
            fixed: mean and variance, or None for the batch's own.
        """

    def softplus(self, x: Float[Tensor, "atoms dim"]) -> Float[Tensor, "atoms dim"]:
        """log(1 + exp(x))."""


def prepare(batch: GraphBatch, bases: Sequence[RadialBasis], *, compiled: bool = True) -> Edges:
    """The edges of a batch, ready for its convolutions.

    Args:
        batch: on any device.
        bases: what spreads the lengths of the edges over radial functions.
        compiled: whether compiled loops may serve, which they can do in float32 on CPUs, where numba is installed.
    """
    numbers = batch.neighbor_weight
    if compiled and numbers.device.type == "cpu" and numbers.dtype == torch.float32 and (make := _compiled_edges()):
        return make(batch, bases)
    return TorchEdges(batch, bases)


@functools.cache
def _compiled_edges() -> "type[CompiledEdges] | None":
    """The class, or None without numba, which takes half a second to load and so is loaded when it is needed."""
    try:
        from model.gated_sum.by_numba import CompiledEdges
    except ImportError as error:
        logging.getLogger(__name__).warning(
            "numba must be installed for fast training and prediction on CPUs, but %s; going on twice as slowly "
            "(pip install numba)",
            error,
        )
        give_back_to_pytorch()
        return None
    return CompiledEdges


def warm_up() -> None:
    """Load the compiled loops, before anything is timed: seconds where they must be compiled, half a second later."""
    if _compiled_edges() is not None:
        from model.gated_sum import by_numba

        by_numba.warm_up()
