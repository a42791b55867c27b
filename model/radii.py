"""Radii of the elements, so that a length can be told from what is usual between two of them.

An edge of 2 Å is a long bond between carbon atoms and a short one between cesium atoms. The network sees the length
over the sum of the two radii beside the length itself. The radii are fitted to the crystals that a model trains on and
kept in the model: each atom's shortest edges are as long as the sum of the radii of their ends.

The prior, which decides for elements that are rare or not there, are covalent radii.

Source:
    Prior: Cordero et al. 2008, Table 2 (Mn, Fe, Co: mean of both spins; C: sp3); beyond Cm the last value.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from graphdb.batch import GraphBatch
from graphdb.shapes import Float

NEAREST = 1.01
"""Edges count as an atom's shortest up to this many times the shortest one."""
_SMALLEST, _LARGEST = 0.2, 4.0
"""Å."""
# fmt: off
_COVALENT = (  # Å, from hydrogen on
    0.31, 0.28, 1.28, 0.96, 0.84, 0.76, 0.71, 0.66, 0.57, 0.58, 1.66, 1.41, 1.21, 1.11, 1.07, 1.05, 1.02, 1.06, 2.03,
    1.76, 1.70, 1.60, 1.53, 1.39, 1.50, 1.42, 1.38, 1.24, 1.32, 1.22, 1.22, 1.20, 1.19, 1.20, 1.20, 1.16, 2.20, 1.95,
    1.90, 1.75, 1.64, 1.54, 1.47, 1.46, 1.42, 1.39, 1.45, 1.44, 1.42, 1.39, 1.39, 1.38, 1.39, 1.40, 2.44, 2.15, 2.07,
    2.04, 2.03, 2.01, 1.99, 1.98, 1.98, 1.96, 1.94, 1.92, 1.92, 1.89, 1.90, 1.87, 1.87, 1.75, 1.70, 1.62, 1.51, 1.44,
    1.41, 1.36, 1.36, 1.32, 1.45, 1.46, 1.48, 1.40, 1.50, 1.50, 2.60, 2.21, 2.15, 2.06, 2.00, 1.96, 1.90, 1.87, 1.80,
    1.69,
)
# fmt: on


def covalent_radii(num_elements: int = 101) -> Float[Tensor, " numbers"]:
    """Å by atomic number; 1 at 0."""
    missing = num_elements - 1 - len(_COVALENT)
    return torch.tensor([1.0, *_COVALENT, *[_COVALENT[-1]] * missing], dtype=torch.float32)


def fit_radii(batches: Iterable[GraphBatch], num_elements: int = 101) -> Float[Tensor, " numbers"]:
    """Radii by least squares: d = r_i + r_j for each atom's shortest edges, and r = prior with the weight of one edge.

    Args:
        batches: of the crystals that a model trains on.
        num_elements: length of the result.

    Returns:
        Å by atomic number, on the CPU.
    """
    weights = torch.zeros(num_elements, num_elements, dtype=torch.float64)
    lengths = torch.zeros_like(weights)
    for batch in batches:
        length = batch.neighbor_distance
        shortest = length.new_full((len(batch.multiplicity),), torch.inf)
        shortest = shortest.scatter_reduce(0, batch.receiver, length, "amin")
        near = length <= NEAREST * shortest[batch.receiver]
        receiver, sender = batch.receiver[near], batch.neighbor_index[near]
        pair = batch.atomic_numbers[receiver] * num_elements + batch.atomic_numbers[sender]
        weight = (batch.neighbor_weight[near] * batch.multiplicity[receiver]).double()
        for total, each in ((weights, weight), (lengths, weight * length[near])):
            total += torch.bincount(pair, each, minlength=num_elements**2).view_as(total).cpu()
    weights, lengths = weights + weights.t(), lengths + lengths.t()
    matrix = torch.eye(num_elements, dtype=torch.float64) + torch.diag(weights.sum(1)) + weights
    wanted = covalent_radii(num_elements).double() + lengths.sum(1)
    radii: Tensor = torch.linalg.solve(matrix, wanted).clamp(_SMALLEST, _LARGEST).float()
    return radii
