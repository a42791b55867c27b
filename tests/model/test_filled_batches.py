"""A batch filled up to a size trains a network exactly as the batch alone: outputs, loss, gradients, statistics."""

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from graphdb.batch import GraphBatch
from graphdb.device import FilledRows
from graphdb.loader import InMemoryGraphs, Loader
from graphdb.padding import SLOTS, BatchSize, filler_rows
from model.network import MTCGCNN, Architecture
from model.step import multitask_loss

FLOATS = ("multiplicity", "neighbor_distance", "neighbor_weight", "target")


def double(batch: GraphBatch) -> GraphBatch:
    return replace(batch, **{name: getattr(batch, name).double() for name in FLOATS})


def filled(graphs: InMemoryGraphs, rows: list[int], num_nodes: int, num_edges: int) -> tuple[GraphBatch, GraphBatch]:
    """The crystals alone, and with so many nodes and edges of fillers."""
    alone = graphs.collate(np.array(rows))
    fillers = filler_rows(num_nodes, num_edges)
    assert fillers is not None
    resident = graphs.on("cpu")
    positions = torch.from_numpy(np.concatenate([resident.first_filler + fillers, rows]))
    size = BatchSize(len(alone.atomic_numbers) + num_nodes, len(alone.neighbor_index) + num_edges)
    return double(alone), double(resident.gather(positions, size))


def trained(model: nn.Module, batch: GraphBatch) -> dict[str, Any]:
    """What a step computes of a batch."""
    model = copy.deepcopy(model)
    model.train()
    output = model(batch)
    loss = multitask_loss(output, batch.target, batch.target_mask, torch.ones(2, dtype=torch.float64))
    loss.backward()  # type: ignore[no-untyped-call]
    running = {name: buffer for name, buffer in model.named_buffers() if "running" in name}
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    return {"output": output[-7:], "loss": loss, **running, **gradients}


@pytest.fixture
def _whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """All crystals at a time, as a GPU takes them."""
    monkeypatch.setattr("model.gated_sum.by_torch.CHUNK_NUMBERS", 2**30)


@pytest.mark.usefixtures("_whole")
@pytest.mark.parametrize(("nodes", "edges"), [(0, 0), (5, 0), (1, 1), (300, 1000), (9, 77)])
def test_filled_batch_computes_what_the_batch_alone_computes(nodes: int, edges: int, graphs: InMemoryGraphs) -> None:
    alone, full = filled(graphs, [3, 0, 6, 12, 4, 18, 9], nodes, edges)
    torch.manual_seed(0)
    model = MTCGCNN(Architecture(num_convs=2, atom_dim=6, head_dim=5, num_rbf=8), graphs.tasks).double()
    found, wanted = trained(model, full), trained(model, alone)
    torch.testing.assert_close(found, wanted, rtol=1e-11, atol=1e-13)


def test_predictions_do_not_change_with_fillers(graphs: InMemoryGraphs) -> None:
    alone, full = filled(graphs, [3, 0, 6], 20, 100)
    torch.manual_seed(0)
    model = MTCGCNN(Architecture(num_convs=2, atom_dim=6, head_dim=5, num_rbf=8), graphs.tasks).double().eval()
    torch.testing.assert_close(model.predict(full)[SLOTS:], model.predict(alone))
    assert torch.isfinite(model.predict(full)).all()


def test_epoch_of_filled_batches_holds_every_crystal_once(graphs: InMemoryGraphs) -> None:
    source = Loader(graphs, batch_size=5, shuffle=True, seed=2).on("cpu")
    assert source is not None
    index: list[int] = []
    for part in source.filled():
        assert isinstance(part, FilledRows)
        index += part.rows[-part.num_crystals :].tolist()
    assert sorted(index) == list(range(len(graphs)))
