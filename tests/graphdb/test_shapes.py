"""Shapes of arrays are checked under pytest, and cost nothing where the packages that check them are missing."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import torch

from graphdb.batch import GraphBatch
from graphdb.graph import FlatGraphs
from graphdb.loader import InMemoryGraphs, Loader
from model.gated_sum.radial import expand_lengths
from model.metrics import task_metrics

TRAIN_A_STEP = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("jaxtyping", "beartype"):
            raise ModuleNotFoundError(f"{name} must not be imported here", name=name)

sys.meta_path.insert(0, Blocker())
from graphdb.loader import InMemoryGraphs, Loader
from model.train_config import TrainConfig
from model.network import Architecture
from model.training import Trainer

graphs = InMemoryGraphs.from_store(sys.argv[1])
loader = Loader(graphs, batch_size=32)
architecture = Architecture(num_convs=1, atom_dim=4, head_dim=4, num_rbf=4)
trainer = Trainer(
    architecture=architecture, config=TrainConfig(epochs=1), train=loader, validation=loader, device="cpu"
)
assert trainer.run_epoch().num_crystals == len(graphs)
"""


@pytest.fixture
def batch(small_store: Path) -> GraphBatch:
    return next(iter(Loader(InMemoryGraphs.from_store(small_store), batch_size=4)))


@pytest.mark.parametrize(
    "change",
    [
        lambda batch: {"multiplicity": batch.multiplicity[1:]},
        lambda batch: {"target": batch.target.T.contiguous()},
        lambda batch: {"neighbor_index": batch.neighbor_index.float()},
        lambda batch: {"atom_ptr": batch.atom_ptr[:-1]},
    ],
    ids=["too short", "transposed", "no integers", "one pointer too few"],
)
def test_a_batch_of_wrong_shapes_is_refused(batch: GraphBatch, change: object) -> None:
    assert callable(change)
    with pytest.raises(jaxtyping.TypeCheckError):
        replace(batch, **change(batch))


def test_functions_refuse_arrays_that_do_not_fit_each_other() -> None:
    assert expand_lengths(torch.ones(3), torch.ones(2), 1.0).shape == (3, 2)
    with pytest.raises(jaxtyping.TypeCheckError, match="centers"):
        expand_lengths(torch.ones(3), torch.ones(2, 1), 1.0)
    with pytest.raises(jaxtyping.TypeCheckError, match="target"):
        task_metrics(np.zeros((4, 2)), np.zeros((4, 1)), np.ones(2), ["a", "b"])
    with pytest.raises(jaxtyping.TypeCheckError, match="atom_ptr"):
        replace(FlatGraphs.from_graphs([]), num_atoms=np.ones(3, np.int32))


def test_a_model_trains_where_nothing_checks_shapes(small_store: Path, repository: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", TRAIN_A_STEP, str(small_store)]
    process = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
