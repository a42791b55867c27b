"""What only PyTorch's implementation can show: derivatives in float64, and the branch for Apple GPUs."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from graphdb.batch import GraphBatch
from model.gated_sum.by_torch import sum_rows
from model.gated_sum.choice import prepare
from tests.model.gated_sum.test_gated_sum import FEW, bases_of, double, gated_sum, weights


@pytest.mark.parametrize("fixed", [False, True], ids=["batch statistics", "fixed statistics"])
def test_gradients_agree_with_finite_differences(fixed: bool, make_batch: Callable[..., GraphBatch]) -> None:
    batch = double(make_batch())
    edges = prepare(batch, bases_of(batch, [FEW]))
    values = [value.double().requires_grad_() for value in weights(len(batch.multiplicity), len(FEW))]
    width = len(values[2])
    statistics = (torch.randn(width).double(), torch.rand(width).double() + 1) if fixed else None
    assert torch.autograd.gradcheck(lambda *inputs: gated_sum(edges, inputs, statistics)[0], values)


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
