"""How far are float32 gradients, of either implementation of the gated sum, from those in float64?

A batch of the Materials Project set, three tasks with random targets, a network with random weights; the same weights
and graphs in float64 by PyTorch's operations are the truth. The distance is the norm of the difference over the norm of
the gradient: of all parameters together, and of the tensor that is worst by itself.

The worst are shifts of edge normalisations: their gradients are small differences of large sums, in any float32.
"""

import dataclasses
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from benchmarks._crystals import random_crystals
from benchmarks._report import finish, parser, skip
from benchmarks.training_step import graphs_of, network
from graphdb.batch import GraphBatch
from graphdb.graphsettings import SoftNeighbors
from model.network import MTCGCNN
from model.threads import compute_with

CRYSTALS, SEEDS = 256, 3
CONFIGURATIONS = ((16, 3), (32, 3), (64, 3), (128, 3), (64, 1), (64, 5))


def gradients(model: MTCGCNN, batch: GraphBatch) -> dict[str, Tensor]:
    """Of the mean squared error by each parameter, in float64."""
    model.train()
    model.zero_grad(set_to_none=True)
    functional.mse_loss(model(batch), batch.target).backward()  # type: ignore[no-untyped-call]
    return {name: p.grad.double() for name, p in model.named_parameters() if p.grad is not None}


def doubled(batch: GraphBatch) -> GraphBatch:
    """The batch in float64."""
    values = {field.name: getattr(batch, field.name) for field in dataclasses.fields(batch)}
    return GraphBatch(**{name: x.double() if x.is_floating_point() else x for name, x in values.items()})


def distances(found: dict[str, Tensor], truth: dict[str, Tensor]) -> dict[str, Any]:
    """Relative distance of all gradients together, and of the worst tensor."""
    every = [torch.cat([tensor.flatten() for tensor in each.values()]) for each in (found, truth)]
    by_name = {name: float((found[name] - truth[name]).norm() / truth[name].norm()) for name in truth}
    worst = max(by_name, key=lambda name: by_name[name])
    return {
        "all_parameters": float((every[0] - every[1]).norm() / every[1].norm()),
        "worst_tensor": by_name[worst],
        "worst_tensor_is": worst,
    }


def measure(batch: GraphBatch, sizes: tuple[int, int], seeds: int) -> dict[str, Any]:
    """The largest distances over some random weights, of both implementations."""
    found: dict[str, list[dict[str, Any]]] = {"compiled_loops": [], "pytorch": []}
    for seed in range(seeds):
        model = network(*sizes)
        torch.manual_seed(seed)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "norm" in name:  # as after some training: neither all 1 nor all 0
                    parameter.add_(torch.randn_like(parameter), alpha=0.1)
        precise = network(*sizes).double()
        precise.load_state_dict(model.state_dict())
        truth = gradients(precise, doubled(batch))
        for name, made in found.items():
            model.compiled = name == "compiled_loops"
            made.append(distances(gradients(model, batch), truth))
    worst = {name: max(made, key=lambda each: each["worst_tensor"]) for name, made in found.items()}
    return {
        name: {
            "largest_relative_distance_of_all_parameters": _round(max(each["all_parameters"] for each in made)),
            "largest_relative_distance_of_a_tensor": _round(worst[name]["worst_tensor"]),
            "that_tensor": worst[name]["worst_tensor_is"],
        }
        for name, made in found.items()
    }


def _round(value: float) -> float:
    return float(f"{value:.2g}")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    flags = parser(__doc__, "gradients")
    flags.add_argument("--seeds", type=int, default=SEEDS, help="random weights (default: %(default)s)")
    args = flags.parse_args(argv)
    try:
        crystals = [crystal for _, crystal in random_crystals(args.shared, CRYSTALS, seed=0)]
    except FileNotFoundError as error:
        return skip(str(error))
    compute_with(1)
    batch = graphs_of(crystals, SoftNeighbors()).collate(np.arange(CRYSTALS))
    results = {
        f"width_{width}_convolutions_{convolutions}": measure(batch, (width, convolutions), args.seeds)
        for width, convolutions in CONFIGURATIONS
    }
    question = "How far are float32 gradients, of either implementation of the gated sum, from those in float64?"
    return finish(question, results, args.output, repeats=args.seeds, packages=["numba"])


if __name__ == "__main__":
    sys.exit(main())
