"""Whose threads compute: the compiled loops' where numba is there, PyTorch's elsewhere."""

import importlib.util
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from model import threads


@pytest.fixture(autouse=True)
def _restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = torch.get_num_threads()
    monkeypatch.setattr(threads, "_for_loops", None)
    yield
    torch.set_num_threads(before)


def test_loops_take_the_threads_and_leave_one_to_pytorch() -> None:
    threads.compute_with(3)
    assert (threads.loop_threads(), torch.get_num_threads()) == (3, 1)


def test_without_a_number_loops_take_as_many_as_pytorch_had() -> None:
    torch.set_num_threads(2)
    threads.compute_with()
    assert (threads.loop_threads(), torch.get_num_threads()) == (2, 1)


def test_pytorch_keeps_them_without_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", _nothing)
    threads.compute_with(3)
    assert torch.get_num_threads() == 3


def _nothing(name: str, package: Any = None) -> None:
    return None


def test_to_ask_again_changes_nothing() -> None:
    threads.compute_with(2)
    threads.compute_with()
    assert (threads.loop_threads(), torch.get_num_threads()) == (2, 1)


def test_pytorch_gets_them_back_where_numba_cannot_be_used() -> None:
    threads.compute_with(2)
    threads.give_back_to_pytorch()
    assert (threads.loop_threads(), torch.get_num_threads()) == (2, 2)
