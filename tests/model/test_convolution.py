"""The hand-written convolution: against a plain transcription of Eq. 2 and against finite differences."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from graphdb.batch import GraphBatch
from graphdb.graphsettings import HardNeighbors
from model.batch_norm import WeightedBatchNorm
from model.convolution import GatedConvolution, Nodes
from model.gated_sum.choice import Edges, prepare
from model.gated_sum.radial import RadialBasis

F, R = 5, 7
CENTERS = torch.linspace(0.0, 6.0, R)


def inputs(batch: GraphBatch, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Nodes, Edges, RadialBasis]:
    """Random atom vectors, and what a convolution needs of nodes and edges."""
    torch.manual_seed(3)
    atoms = torch.randn(len(batch.atomic_numbers), F, dtype=dtype)
    floats = ("multiplicity", "neighbor_distance", "neighbor_weight")
    batch = replace(batch, **{name: getattr(batch, name).to(dtype) for name in floats})
    basis = RadialBasis(batch.neighbor_distance, CENTERS.to(dtype), 1.0)
    return atoms, Nodes.of(batch), prepare(batch, [basis]), basis


def randomise(module: nn.Module) -> None:
    for tensor in module.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand_like(tensor) + 0.5 if tensor.ndim == 1 else torch.randn_like(tensor) * 0.3)


@pytest.mark.parametrize("training", [True, False], ids=["batch statistics", "fixed statistics"])
def test_whole_convolution_passes_gradcheck(training: bool, make_batch: Callable[..., GraphBatch]) -> None:
    atoms, nodes, edges, _ = inputs(make_batch())
    conv = GatedConvolution(F, R).double()
    randomise(conv)
    conv.train(training)
    assert torch.autograd.gradcheck(lambda x: conv(x, nodes, edges), (atoms.requires_grad_(),))


@pytest.mark.parametrize("training", [True, False], ids=["batch statistics", "fixed statistics"])
def test_convolution_is_equation_2_forward_and_backward(
    training: bool, make_batch: Callable[..., GraphBatch], plain_convolution: Callable[[int, int], nn.Module]
) -> None:
    batch = make_batch(settings=HardNeighbors())
    atoms, nodes, edges, basis = inputs(batch)
    plain: Any = plain_convolution(F, R).double()
    randomise(plain)
    ours = GatedConvolution(F, R).double()
    with torch.no_grad():
        full = plain.fc_full.weight.t()
        ours.node_weight.copy_(torch.cat([full[:F], full[F : 2 * F]], dim=1))
        ours.edge_weight.copy_(full[2 * F :])
        for norm, theirs in ((ours.edge_norm, plain.bn1), (ours.node_norm, plain.bn2)):
            norm.load_state_dict({k: v for k, v in theirs.state_dict().items() if k != "num_batches_tracked"})
        ours.edge_norm.running_mean -= plain.fc_full.bias  # ours has no bias
    plain.train(training)
    ours.train(training)
    mine, theirs_in = atoms.clone().requires_grad_(), atoms.clone().requires_grad_()
    weighting = torch.randn(len(atoms), F, dtype=torch.float64)
    out = ours(mine, nodes, edges)
    expected = plain(theirs_in, basis.expand().view(-1, 12, R), batch.neighbor_index.view(-1, 12))
    (out * weighting).sum().backward()
    (expected * weighting).sum().backward()
    torch.testing.assert_close(out, expected)
    torch.testing.assert_close(mine.grad, theirs_in.grad)
    gradient = plain.fc_full.weight.grad.t()
    pairs = [
        (ours.node_weight.grad, torch.cat([gradient[:F], gradient[F : 2 * F]], dim=1)),
        (ours.edge_weight.grad, gradient[2 * F :]),
        (ours.edge_norm.weight.grad, plain.bn1.weight.grad),
        (ours.edge_norm.bias.grad, plain.bn1.bias.grad),
        (ours.node_norm.weight.grad, plain.bn2.weight.grad),
        (ours.node_norm.bias.grad, plain.bn2.bias.grad),
        (ours.edge_norm.running_var, plain.bn1.running_var),
        (ours.node_norm.running_mean, plain.bn2.running_mean),
        (ours.node_norm.running_var, plain.bn2.running_var),
    ]
    for got, wanted in pairs:
        torch.testing.assert_close(got, wanted)
    # what the bias adds to the mean is in the running mean as well, once it has forgotten the start
    bias = plain.fc_full.bias * (1 - 0.9 * training if training else 1.0)
    if not training:
        torch.testing.assert_close(ours.edge_norm.running_mean + bias, plain.bn1.running_mean)


def test_batch_norm_with_shares_is_batch_norm_of_repeated_rows() -> None:
    torch.manual_seed(0)
    rows, counts = torch.randn(6, 3), torch.tensor([1, 4, 2, 1, 3, 5])
    ours, plain = WeightedBatchNorm(3), nn.BatchNorm1d(3)
    for _ in range(3):
        repeated = plain(rows.repeat_interleave(counts, 0))
        out = ours(rows, counts / counts.sum(), counts.sum().float())
        torch.testing.assert_close(out.repeat_interleave(counts, 0), repeated)
    torch.testing.assert_close(ours.running_mean, plain.running_mean)
    torch.testing.assert_close(ours.running_var, plain.running_var)
    torch.testing.assert_close(ours.eval()(rows, counts / counts.sum(), counts.sum().float()), plain.eval()(rows))


def test_batch_norm_of_a_single_row_stays_finite() -> None:
    norm = WeightedBatchNorm(3)
    out = norm(torch.randn(1, 3), torch.ones(1), torch.tensor(1.0))
    assert torch.isfinite(out).all()
    assert torch.isfinite(norm.running_var).all()


def test_shares_of_nodes_are_those_of_the_unmerged_atoms(make_batch: Callable[..., GraphBatch]) -> None:
    batch = make_batch()
    nodes = Nodes.of(batch)
    torch.testing.assert_close(nodes.share, batch.multiplicity / batch.multiplicity.sum())
    assert float(nodes.num_atoms) == float(batch.multiplicity.sum())


def test_batch_lists_every_edge_once_in_order_of_sender(make_batch: Callable[..., GraphBatch]) -> None:
    batch = make_batch()
    assert sorted(batch.edge_by_sender.tolist()) == list(range(len(batch.neighbor_index)))
    senders = batch.neighbor_index[batch.edge_by_sender].tolist()
    assert senders == sorted(senders)
