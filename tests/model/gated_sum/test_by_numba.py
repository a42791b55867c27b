"""What only the compiled loops can get wrong: their functions, threads and cache, and numba not being there."""

import hashlib
import logging
import multiprocessing
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numba import njit
from numpy.typing import NDArray

from graphdb.batch import GraphBatch
from model.gated_sum import lanes, loops, radial
from model.gated_sum.by_numba import CompiledEdges
from model.gated_sum.choice import warm_up
from tests.model.gated_sum.test_gated_sum import MANY, bases_of, gated_sum, weights

ROOT = Path(__file__).resolve().parents[3]


def values_of(function: Any, x: NDArray[np.float32]) -> NDArray[np.float64]:
    """A function of the loops, some numbers at a time."""

    @njit
    def each(x: Any, result: Any) -> None:
        for i in range(0, len(x), lanes.LANES):
            lanes.store(function(lanes.load(x, i)), result, i)

    missing = -len(x) % lanes.LANES
    result = np.empty(len(x) + missing, np.float32)
    each(np.append(x, np.zeros(missing, np.float32)), result)
    return result[: len(x)].astype(np.float64)


def test_power_of_two_is_precise() -> None:
    x = np.linspace(-126, 126, 1_000_001, dtype=np.float32)
    expected = np.exp2(x.astype(np.float64))
    assert np.abs(values_of(loops._exp2, x) / expected - 1).max() < 1e-7


def test_power_of_two_stays_there_beyond_its_range_and_shows_nan() -> None:
    low, high, none = values_of(loops._exp2, np.array([-np.inf, np.inf, np.nan], np.float32))
    assert low == 2.0**-126
    assert high == 2.0**126
    assert np.isnan(none)


def test_what_is_kept_on_disk_is_made_anew_when_lanes_change() -> None:
    digest = hashlib.sha256(Path(lanes.__file__).read_bytes()).hexdigest()[:16]
    assert digest == loops.LANES_FILE, "write this digest into model/gated_sum/loops.py"


def test_both_ways_leave_out_the_same_tails_of_gaussians() -> None:
    assert loops.LARGEST_EXPONENT == radial.LARGEST_EXPONENT


def test_logarithm_is_precise() -> None:
    u = np.concatenate([np.linspace(0.001, 1, 1_000_001), np.geomspace(1e-30, 1, 100_001)]).astype(np.float32)
    expected = np.log1p(u.astype(np.float64))
    assert np.abs(values_of(loops._log1p, u) / expected - 1).max() < 3e-7


@pytest.mark.parametrize("threads", [1, 2, 5, 100])
def test_threads_get_whole_crystals_and_all_of_them(
    threads: int, make_batch: Callable[..., GraphBatch], monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = make_batch()
    monkeypatch.setattr("model.gated_sum.by_numba.loop_threads", lambda: threads)
    pieces = CompiledEdges(batch, bases_of(batch, [MANY])).pieces
    starts, stops = [start for start, _ in pieces], [stop for _, stop in pieces]
    assert starts == [0, *stops[:-1]]
    assert stops[-1] == len(batch.multiplicity)
    assert {*starts, *stops} <= set(batch.atom_ptr.tolist())
    assert len(pieces) <= threads


def _in_child(batch: GraphBatch, expected: Any, answer: Any) -> None:
    got = gated_sum(CompiledEdges(batch, bases_of(batch, [MANY])), weights(len(batch.multiplicity), 41), None)
    answer.put(bool(torch.equal(got[0], torch.from_numpy(expected))))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forked_process_starts_threads_of_its_own(
    make_batch: Callable[..., GraphBatch], monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = make_batch()
    monkeypatch.setattr("model.gated_sum.by_numba.loop_threads", lambda: 2)
    edges = CompiledEdges(batch, bases_of(batch, [MANY]))
    assert len(edges.pieces) == 2
    total = gated_sum(edges, weights(len(batch.multiplicity), 41), None)[0]
    context = multiprocessing.get_context("fork")
    answer = context.Queue()
    child = context.Process(target=_in_child, args=(batch, total.numpy(), answer))
    child.start()
    assert answer.get(timeout=60)
    child.join()


def test_predictions_take_the_shorter_loop(
    make_batch: Callable[..., GraphBatch], monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = make_batch()
    edges = CompiledEdges(batch, bases_of(batch, [MANY]))
    values = [value.requires_grad_() for value in weights(len(batch.multiplicity), 41)]
    fixed = torch.zeros(len(values[3])), torch.ones(len(values[3]))
    monkeypatch.delattr(loops, "forward")
    for without_gradients in (torch.no_grad, torch.inference_mode):
        with without_gradients():
            total = gated_sum(edges, values, fixed)[0]
        assert not total.requires_grad


class _Refusing:
    """A dispatcher of numba whose cache fails at the first call."""

    stats = SimpleNamespace(cache_path="where/loops/are/kept")

    def __call__(self, *arguments: Any) -> None:
        raise EOFError("ran out of input")


@pytest.mark.parametrize("when", ["defined", "called"])
def test_loops_are_compiled_where_nothing_can_be_kept(
    when: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails_to_cache(**options: Any) -> Any:
        if not options.pop("cache", False):
            return njit(**options)
        if when == "defined":
            raise RuntimeError("cannot cache function: no locator available")
        return lambda function: _Refusing()

    monkeypatch.setattr(loops, "njit", fails_to_cache)

    @loops.Loop
    def double(x: Any) -> None:
        x[0] = 2 * x[0]

    number = np.array([3.0])
    double(number)
    double(number)
    assert number[0] == 12
    told = [record.message for record in caplog.records]
    assert len(told) == (when == "called")
    assert all("where/loops/are/kept, but: EOFError: ran out of input; going on without" in line for line in told)


def test_fault_of_a_loop_that_is_not_kept_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_Refusing, "stats", SimpleNamespace(cache_path=None))
    monkeypatch.setattr(loops, "njit", lambda **options: lambda function: _Refusing())
    with pytest.raises(EOFError):
        loops.Loop(lambda x: None)(1)


def test_without_numba_pytorch_serves_and_one_line_says_so(
    make_batch: Callable[..., GraphBatch], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from model.gated_sum import choice

    batch = make_batch()
    monkeypatch.setitem(sys.modules, "numba", None)
    for name in ("model.gated_sum.by_numba", "model.gated_sum.loops"):
        monkeypatch.delitem(sys.modules, name)
        monkeypatch.delattr(name)
    choice._compiled_edges.cache_clear()
    with caplog.at_level(logging.WARNING):
        edges = [choice.prepare(batch, bases_of(batch, [MANY])) for _ in range(2)]
    choice._compiled_edges.cache_clear()
    assert [type(one).__name__ for one in edges] == ["TorchEdges"] * 2
    assert [record.message for record in caplog.records] == [
        "numba must be installed for fast training and prediction on CPUs, but import of numba halted; None in "
        "sys.modules; going on twice as slowly (pip install numba)"
    ]


def test_importing_the_model_loads_no_compiler() -> None:
    code = "import sys, model.network, model.training; print([m for m in ('numba', 'llvmlite') if m in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_to_warm_up_compiles_all_that_a_training_needs(make_batch: Callable[..., GraphBatch]) -> None:
    warm_up()
    names = ("expand", "shares", "moments", "forward", "forward_only", "weighted_sums", "backward")
    before = {name: getattr(loops, name).signatures for name in names}
    batch = make_batch()
    edges = CompiledEdges(batch, bases_of(batch, [MANY]))
    values = weights(len(batch.multiplicity), 41)
    gated_sum(edges, values, None)
    torch.autograd.backward(gated_sum(edges, [value.requires_grad_() for value in values], None)[0].sum())
    assert {name: getattr(loops, name).signatures for name in names} == before
    assert all(before.values())


def test_inference_mode_reaches_no_thread(
    make_batch: Callable[..., GraphBatch], monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = make_batch()
    monkeypatch.setattr("model.gated_sum.by_numba.loop_threads", lambda: 2)
    edges = CompiledEdges(batch, bases_of(batch, [MANY]))
    values = weights(len(batch.multiplicity), 41)
    with torch.inference_mode():
        inside = gated_sum(edges, [value + 0 for value in values], None)[0]
    torch.testing.assert_close(inside, gated_sum(edges, values, None)[0])


def test_threads_of_the_loops_leave_the_number_of_pytorch_alone(
    make_batch: Callable[..., GraphBatch], monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = make_batch()
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        monkeypatch.setattr("model.gated_sum.by_numba.loop_threads", lambda: 4)
        gated_sum(CompiledEdges(batch, bases_of(batch, [MANY])), weights(len(batch.multiplicity), 41), None)
        with ThreadPoolExecutor(1) as later:
            assert later.submit(torch.get_num_threads).result() == 2
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
