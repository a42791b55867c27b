"""Both implementations of the gated sum: against a plain transcription of its formulas in float64."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from graphdb.batch import GraphBatch
from model.batch_norm import EPS
from model.gated_sum import by_numba, by_torch
from model.gated_sum.choice import Edges, prepare
from model.gated_sum.radial import RadialBasis, expand_all

DIM = 5
FEW = torch.linspace(0.0, 6.0, 7)
MANY = torch.linspace(0.0, 8.0, 41)
BASES = {"few Gaussians": [FEW], "many": [MANY], "two bases": [MANY, FEW]}


@pytest.fixture(params=["torch, whole", "torch, in chunks", "numba, one thread", "numba, three threads"])
def compiled(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Each implementation, with the batch in one piece and in several."""
    monkeypatch.setattr(by_torch, "CHUNK_NUMBERS", 400 if "chunks" in request.param else 10**9)
    monkeypatch.setattr(by_numba, "loop_threads", lambda: 3 if "three" in request.param else 1)
    return "numba" in request.param


def bases_of(batch: GraphBatch, centers: list[Tensor]) -> list[RadialBasis]:
    """The lengths of the edges, and for a second basis something else."""
    lengths = [batch.neighbor_distance, batch.neighbor_distance * 0.7]
    return [
        RadialBasis(length, c.to(length.dtype), float(c[1] - c[0])) for length, c in zip(lengths, centers, strict=False)
    ]


def weights(num_nodes: int, num_rbf: int, dim: int = DIM) -> list[Tensor]:
    """Atoms, node weight, edge weight, gamma and beta."""
    torch.manual_seed(4)
    shapes = [(num_nodes, dim), (dim, 4 * dim), (num_rbf, 2 * dim), (2 * dim,), (2 * dim,)]
    return [torch.randn(shape) for shape in shapes]


def gated_sum(
    edges: Edges, values: Sequence[Tensor], fixed: tuple[Tensor, Tensor] | None
) -> tuple[Tensor, Tensor, Tensor]:
    atoms, node_weight, edge_weight, gamma, beta = values
    return edges.gated_sum(atoms, node_weight, edge_weight, gamma, beta, fixed)


def plain(
    batch: GraphBatch, bases: list[RadialBasis], values: list[Tensor], fixed: tuple[Tensor, Tensor] | None
) -> tuple[Tensor, Tensor, Tensor]:
    """The formulas of `model.gated_sum`, one after the other."""
    atoms, node_weight, edge_weight, gamma, beta = values
    dim, products = atoms.shape[1], atoms @ node_weight
    width = 2 * dim
    z = products[batch.receiver, :width] + products[batch.neighbor_index, width:] + expand_all(bases) @ edge_weight
    bonds = batch.neighbor_weight * batch.multiplicity[batch.receiver]
    share = (bonds / bonds.sum())[:, None]
    mean = (share * z).sum(0) if fixed is None else fixed[0]
    variance = (share * (z - mean) ** 2).sum(0) if fixed is None else fixed[1]
    y = gamma * (z - mean) / (variance + EPS).sqrt() + beta
    message = batch.neighbor_weight[:, None] * y[:, :dim].sigmoid() * functional.softplus(y[:, dim:])
    return torch.zeros(len(atoms), dim, dtype=z.dtype).index_add(0, batch.receiver, message), mean, variance


def double(batch: GraphBatch) -> GraphBatch:
    floats = ("multiplicity", "neighbor_distance", "neighbor_weight", "target")
    return replace(batch, **{name: getattr(batch, name).double() for name in floats})


@pytest.mark.parametrize("fixed", [False, True], ids=["batch statistics", "fixed statistics"])
@pytest.mark.parametrize("centers", BASES.values(), ids=BASES)
@pytest.mark.parametrize("dim", [DIM, 16])
def test_sum_and_gradients_are_those_of_the_formulas(
    dim: int, centers: list[Tensor], fixed: bool, compiled: bool, make_batch: Callable[..., GraphBatch]
) -> None:
    batch = make_batch()
    assert (batch.neighbor_weight != 1).any()
    assert (batch.multiplicity != 1).any()
    values = weights(len(batch.multiplicity), sum(map(len, centers)), dim)
    statistics = (torch.randn(2 * dim), torch.rand(2 * dim) + 1) if fixed else None
    mine = [value.clone().requires_grad_() for value in values]
    theirs = [value.double().requires_grad_() for value in values]
    edges = prepare(batch, bases_of(batch, centers), compiled=compiled)
    assert isinstance(edges, by_numba.CompiledEdges if compiled else by_torch.TorchEdges)
    got = gated_sum(edges, mine, statistics)
    precise = double(batch)
    doubled = (statistics[0].double(), statistics[1].double()) if statistics else None
    expected = plain(precise, bases_of(precise, centers), theirs, doubled)
    toward = torch.randn(got[0].shape)
    torch.autograd.backward([(got[0] * toward).sum(), (expected[0] * toward).sum()])
    with torch.no_grad():
        torch.testing.assert_close(gated_sum(edges, values, statistics)[0], got[0], rtol=1e-6, atol=1e-6)
    for name, one, other in zip(("sum", "mean", "variance"), got, expected, strict=True):
        assert (one.double() - other).norm() <= 2e-6 * other.norm(), name
    for name, leaf, wanted in zip(("atoms", "node weight", "edge weight", "gamma", "beta"), mine, theirs, strict=True):
        assert leaf.grad is not None
        assert wanted.grad is not None
        assert (leaf.grad.double() - wanted.grad).norm() <= 5e-6 * wanted.grad.norm(), name


@pytest.mark.parametrize("dim", [DIM, 16])
def test_softplus_and_its_gradient_are_those_of_the_formula(
    dim: int, compiled: bool, make_batch: Callable[..., GraphBatch]
) -> None:
    batch = make_batch()
    edges = prepare(batch, bases_of(batch, [MANY]), compiled=compiled)
    torch.manual_seed(5)
    x = 10 * torch.randn(len(batch.multiplicity), dim)
    x[0, :4] = torch.tensor([0.0, 1e30, -1e30, -80.0])
    mine, theirs = x.clone().requires_grad_(), x.double().requires_grad_()
    got, expected = edges.softplus(mine), (theirs.clamp(min=0) + torch.log1p(torch.exp(-theirs.abs())))
    toward = torch.randn(x.shape)
    torch.autograd.backward([(got * toward).sum(), (expected * toward).sum()])
    torch.testing.assert_close(got.double(), expected, rtol=1e-6, atol=1e-30)
    assert mine.grad is not None
    torch.testing.assert_close(
        mine.grad.double()[1:], theirs.sigmoid().detach()[1:] * toward[1:], rtol=2e-6, atol=1e-30
    )
    with torch.inference_mode():
        assert torch.equal(edges.softplus(x), got)


def test_bonds_are_those_of_the_unmerged_crystals(compiled: bool, make_batch: Callable[..., GraphBatch]) -> None:
    batch = make_batch()
    edges = prepare(batch, bases_of(batch, [MANY]), compiled=compiled)
    assert float(edges.num_bonds) == pytest.approx(12 * float(batch.multiplicity.sum()))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("column", [0, -1], ids=["gate", "core"])
def test_what_is_not_finite_stays_visible(
    bad: float, column: int, compiled: bool, make_batch: Callable[..., GraphBatch]
) -> None:
    batch = make_batch()
    values = weights(len(batch.multiplicity), len(MANY))
    values[4][column] = bad  # in beta, and so in y of every edge
    with torch.no_grad():
        total, *_ = gated_sum(prepare(batch, bases_of(batch, [MANY]), compiled=compiled), values, None)
    if math.isnan(bad) or (bad > 0 and column == -1):
        assert not torch.isfinite(total[:, column]).any()
    else:  # a gate is between 0 and 1 at both ends, and softplus(-inf) is 0
        assert torch.isfinite(total).all()
    assert torch.isfinite(total[:, 1:-1]).all()


def test_atoms_that_are_not_finite_spoil_their_receivers_only(
    compiled: bool, make_batch: Callable[..., GraphBatch]
) -> None:
    batch = make_batch()
    values = weights(len(batch.multiplicity), len(MANY))
    values[0][3] = float("nan")
    fixed = (torch.zeros(2 * DIM), torch.ones(2 * DIM))
    with torch.no_grad():
        total, *_ = gated_sum(prepare(batch, bases_of(batch, [MANY]), compiled=compiled), values, fixed)
    spoilt = torch.zeros(len(total), dtype=torch.bool)
    spoilt[batch.receiver[batch.neighbor_index == 3]] = True
    spoilt[3] = True
    assert torch.isnan(total[spoilt]).all()
    assert torch.isfinite(total[~spoilt]).all()


def test_numbers_far_from_zero_neither_overflow_nor_vanish(
    compiled: bool, make_batch: Callable[..., GraphBatch]
) -> None:
    batch = make_batch()
    values = [
        value * scale for value, scale in zip(weights(len(batch.multiplicity), 41), (100, 1, 1, 1, 1), strict=True)
    ]
    statistics = (torch.zeros(2 * DIM), torch.ones(2 * DIM))
    total, *_ = gated_sum(prepare(batch, bases_of(batch, [MANY]), compiled=compiled), values, statistics)
    precise = double(batch)
    doubled = (statistics[0].double(), statistics[1].double())
    expected, *_ = plain(precise, bases_of(precise, [MANY]), [value.double() for value in values], doubled)
    torch.testing.assert_close(total.double(), expected, rtol=2e-5, atol=1e-5)


def test_nodes_without_neighbors_receive_nothing(compiled: bool, make_batch: Callable[..., GraphBatch]) -> None:
    batch = make_batch()
    empty = torch.zeros(0, dtype=torch.int64)
    alone = replace(
        batch,
        neighbor_ptr=torch.zeros_like(batch.neighbor_ptr),
        sender_ptr=torch.zeros_like(batch.sender_ptr),
        neighbor_index=empty,
        edge_by_sender=empty,
        receiver=empty,
        neighbor_distance=torch.zeros(0),
        neighbor_weight=torch.zeros(0),
    )
    values = weights(len(batch.multiplicity), 41)
    fixed = (torch.zeros(2 * DIM), torch.ones(2 * DIM))
    total, *_ = gated_sum(prepare(alone, bases_of(alone, [MANY]), compiled=compiled), values, fixed)
    assert not total.any()


def test_second_derivatives_are_refused(compiled: bool, make_batch: Callable[..., GraphBatch]) -> None:
    batch = make_batch()
    values = [value.requires_grad_() for value in weights(len(batch.multiplicity), 41)]
    total, *_ = gated_sum(prepare(batch, bases_of(batch, [MANY]), compiled=compiled), values, None)
    (first,) = torch.autograd.grad(total.square().sum(), values[0], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        torch.autograd.backward(first.sum())
