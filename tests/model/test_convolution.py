"""The hand-written convolution: against a plain transcription of Eq. 2 and against finite differences."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from graphdb.batch import GraphBatch
from graphdb.graphsettings import HardNeighbors
from model.convolution import GatedConvolution, Topology, WeightedBatchNorm, _GatedSum, sum_rows
from model.network import expand_lengths

F, R = 5, 7
CENTERS = torch.linspace(0.0, 6.0, R)


@pytest.fixture(autouse=True, params=[40, 100_000], ids=["pieces", "whole"])
def _piece_size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many crystals a CPU takes at a time, the function is the same."""
    monkeypatch.setattr("model.convolution.CHUNK_EDGES", request.param, raising=False)


def inputs(batch: GraphBatch, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Topology]:
    """Random atom vectors, radial functions and the topology."""
    torch.manual_seed(3)
    atoms = torch.randn(len(batch.atomic_numbers), F, dtype=dtype)
    rbf = expand_lengths(batch.neighbor_distance.to(dtype), CENTERS.to(dtype), 1.0)
    return atoms, rbf, topology(batch, dtype)


def topology(batch: GraphBatch, dtype: torch.dtype) -> Topology:
    floats = ("multiplicity", "neighbor_distance", "neighbor_weight")
    return Topology.of(replace(batch, **{name: getattr(batch, name).to(dtype) for name in floats}))


def randomise(module: nn.Module) -> None:
    for tensor in module.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand_like(tensor) + 0.5 if tensor.ndim == 1 else torch.randn_like(tensor) * 0.3)


@pytest.mark.parametrize("training", [True, False], ids=["batch statistics", "fixed statistics"])
def test_gradients_agree_with_finite_differences(training: bool, make_batch: Callable[..., GraphBatch]) -> None:
    batch = make_batch()
    atoms, rbf, graph = inputs(batch)
    assert (batch.neighbor_weight != 1).any()
    torch.manual_seed(4)
    fixed = None if training else (torch.randn(2 * F, dtype=torch.float64), torch.rand(2 * F, dtype=torch.float64) + 1)

    def total(products: Tensor, edge_weight: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
        return _GatedSum.apply(products, rbf, edge_weight, gamma, beta, graph, fixed)[0]  # type: ignore[no-any-return, no-untyped-call]

    arguments = [torch.randn(n, dtype=torch.float64, requires_grad=True) for n in (2 * F, 2 * F)]
    products = torch.randn(len(atoms), 4 * F, dtype=torch.float64, requires_grad=True)
    edge_weight = torch.randn(R, 2 * F, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(total, (products, edge_weight, *arguments))


@pytest.mark.parametrize("training", [True, False], ids=["batch statistics", "fixed statistics"])
def test_whole_convolution_passes_gradcheck(training: bool, make_batch: Callable[..., GraphBatch]) -> None:
    atoms, rbf, graph = inputs(make_batch())
    conv = GatedConvolution(F, R).double()
    randomise(conv)
    conv.train(training)
    assert torch.autograd.gradcheck(lambda x: conv(x, rbf, graph), (atoms.requires_grad_(),))


@pytest.mark.parametrize("training", [True, False], ids=["batch statistics", "fixed statistics"])
def test_convolution_is_equation_2_forward_and_backward(
    training: bool, make_batch: Callable[..., GraphBatch], plain_convolution: Callable[[int, int], nn.Module]
) -> None:
    batch = make_batch(settings=HardNeighbors())
    atoms, rbf, graph = inputs(batch)
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
    out = ours(mine, rbf, graph)
    expected = plain(theirs_in, rbf.view(-1, 12, R), batch.neighbor_index.view(-1, 12))
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


class _PretendsToBeOnMps(Tensor):
    """A CPU tensor that says it lies on an Apple GPU, for the branch that only such machines take."""

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return torch.device("mps")

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with torch._C.DisableTorchFunctionSubclass():
            if func is Tensor.new_zeros:
                return torch.zeros(*args[1:])
            return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("weighted", [True, False])
def test_sum_without_embedding_bag_is_the_same_sum(weighted: bool) -> None:
    rng = np.random.default_rng(0)
    values = torch.from_numpy(rng.normal(size=(9, 4))).float()
    ptr = torch.tensor([0, 3, 3, 4, 10])
    index = torch.from_numpy(rng.integers(0, 9, 10))
    weight = torch.rand(10) if weighted else None
    expected = torch.zeros(4, 4)
    for row in range(4):
        for k in range(int(ptr[row]), int(ptr[row + 1])):
            expected[row] += values[index[k]] * (1.0 if weight is None else weight[k])
    torch.testing.assert_close(sum_rows(values, index, ptr, weight), expected)
    pretending = values.as_subclass(_PretendsToBeOnMps)
    torch.testing.assert_close(sum_rows(pretending, index, ptr, weight).as_subclass(Tensor), expected)


def test_shares_of_nodes_are_those_of_the_unmerged_atoms(make_batch: Callable[..., GraphBatch]) -> None:
    batch = make_batch()
    graph = Topology.of(batch)
    torch.testing.assert_close(graph.node_share, batch.multiplicity / batch.multiplicity.sum())
    assert float(graph.num_bonds) == pytest.approx(12 * float(graph.num_atoms))


def test_batch_lists_every_edge_once_in_order_of_sender(make_batch: Callable[..., GraphBatch]) -> None:
    batch = make_batch()
    assert sorted(batch.edge_by_sender.tolist()) == list(range(len(batch.neighbor_index)))
    senders = batch.neighbor_index[batch.edge_by_sender].tolist()
    assert senders == sorted(senders)
