"""Crystals, batches, plain transcriptions and a trained model that the tests of `model` share."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from graphdb.batch import GraphBatch, Task, collate
from graphdb.graph import FlatGraphs
from graphdb.graphsettings import GraphSettings, SoftNeighbors
from graphdb.loader import InMemoryGraphs
from graphdb.neighbors import build_graph
from model import train

Crystal = tuple[NDArray[Any], NDArray[Any], NDArray[Any]]


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


def _crystals() -> list[Crystal]:
    """Cells with and without equivalent atoms."""
    rng = np.random.default_rng(5)
    fcc = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    crystals: list[Crystal] = [
        (np.array([13]), 4.05 * (1 - np.eye(3)) / 2, np.zeros((1, 3))),
        (np.repeat([11, 17], 4), 5.64 * np.eye(3), np.concatenate([fcc, fcc + 0.5])),
        (np.array([38, 22, 8, 8, 8]), 3.9 * np.eye(3), np.array([[0.5] * 3, [0] * 3, *(np.eye(3) / 2)])),
        (np.array([26, 26]), 2.87 * np.diag([1, 1, 1.3]), np.array([[0] * 3, [0.5] * 3])),
    ]
    for atoms in (2, 5, 6):
        cell = (14.0 * atoms) ** (1 / 3) * (np.eye(3) + rng.uniform(-0.15, 0.15, (3, 3)))
        grid = np.array([[0, 0, 0], [1, 0, 1], [0, 1, 1], [1, 1, 0], [0, 0, 1], [1, 0, 0]])[:atoms]
        crystals.append((rng.integers(1, 90, atoms), cell, (grid + rng.uniform(-0.1, 0.1, (atoms, 3))) / 2))
    return crystals


@pytest.fixture(scope="session")
def crystals() -> list[Crystal]:
    return _crystals()


@pytest.fixture(scope="session")
def make_graphs() -> Callable[..., InMemoryGraphs]:
    """Graphs of crystals in memory; targets are random unless given."""

    def make(
        crystals: Sequence[Crystal],
        targets: NDArray[Any] | None = None,
        settings: GraphSettings | None = None,
        num_tasks: int = 2,
    ) -> InMemoryGraphs:
        settings = settings or SoftNeighbors()
        if targets is None:
            targets = np.random.default_rng(len(crystals)).normal(size=(len(crystals), num_tasks))
        return InMemoryGraphs(
            FlatGraphs.from_graphs([build_graph(*crystal, settings) for crystal in crystals]),
            material_ids=[f"crystal-{i}" for i in range(len(crystals))],
            tasks=[Task(name, unit) for name, unit in (("energy", "eV"), ("gap", "eV"), ("ratio", ""))][
                : targets.shape[1]
            ],
            targets=targets,
            settings=settings,
        )

    return make


@pytest.fixture(scope="session")
def graphs(crystals: list[Crystal], make_graphs: Callable[..., InMemoryGraphs]) -> InMemoryGraphs:
    rng = np.random.default_rng(0)
    many = [(numbers, cell * scale, frac) for numbers, cell, frac in crystals for scale in (0.97, 1.0, 1.03)]
    targets = rng.normal(size=(len(many), 2)) + np.array([3.0, -50.0])
    targets[4, 0] = targets[5:9, 1] = np.nan
    return make_graphs(many, targets)


@pytest.fixture(scope="session")
def make_batch(crystals: list[Crystal], make_graphs: Callable[..., InMemoryGraphs]) -> Callable[..., GraphBatch]:
    """A batch of some crystals (all of `crystals` by default)."""

    def make(chosen: Sequence[Crystal] | None = None, **how: Any) -> GraphBatch:
        graphs = make_graphs(crystals if chosen is None else chosen, **how)
        return collate(graphs.flat, np.arange(len(graphs)), graphs.targets)

    return make


class PlainConvolution(nn.Module):
    """Eq. 2 as it stands in the paper, with torch's batch normalisations, on 12 neighbors for every atom.

    Names of the weights are those of the original code.
    """

    def __init__(self, atom_dim: int, num_rbf: int) -> None:
        super().__init__()
        self.fc_full = nn.Linear(2 * atom_dim + num_rbf, 2 * atom_dim)
        self.bn1 = nn.BatchNorm1d(2 * atom_dim)
        self.bn2 = nn.BatchNorm1d(atom_dim)

    def forward(self, atoms: Tensor, rbf: Tensor, index: Tensor) -> Tensor:
        """(A, F), (A, 12, R), (A, 12) -> (A, F)."""
        count, neighbors = index.shape
        receiver = atoms[:, None, :].repeat(1, neighbors, 1)
        z = self.fc_full(torch.cat([receiver, atoms[index], rbf], dim=2))
        z = self.bn1(z.reshape(count * neighbors, -1)).reshape(count, neighbors, -1)
        width = atoms.shape[1]
        total = (torch.sigmoid(z[..., :width]) * functional.softplus(z[..., width:])).sum(dim=1)
        return functional.softplus(atoms + self.bn2(total))


@pytest.fixture(scope="session")
def plain_convolution() -> type[PlainConvolution]:
    return PlainConvolution


CONFIG = """
[architecture]
num_convs = 1
atom_dim = 8
head_dim = 8

[train]
epochs = 40
batch_size = 8
learning_rate = 0.02
"""


TASKS = ["--tasks", "formation_energy_per_atom,band_gap"]


NACL = "x\n1.0\n0 2.8 2.8\n2.8 0 2.8\n2.8 2.8 0\nNa Cl\n1 1\ndirect\n0 0 0\n0.5 0.5 0.5\n"


@pytest.fixture(scope="session")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "small.toml"
    path.write_text(CONFIG)
    return path


@pytest.fixture(scope="session")
def trained(small_store: Path, config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model trained without interruption."""
    folder = tmp_path_factory.mktemp("trained") / "whole"
    assert train.main([str(small_store), "-o", str(folder), "--config", str(config), "--device", "cpu", *TASKS]) == 0
    return folder


@pytest.fixture
def sources(tmp_path: Path) -> list[str]:
    """A CIF, a POSCAR, a folder with an unreadable file among others, and an archive that is none."""
    (tmp_path / "one.poscar").write_text(NACL)
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "b.vasp").write_text(NACL.replace("Cl", "Br"))
    (folder / "a.cif").write_text("data_broken\n_cell_length_a x\n")
    cif = f"""data_Al
_cell_length_a 4.05
_cell_length_b 4.05
_cell_length_c 4.05
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'P 1'
loop_
_atom_site_type_symbol
_atom_site_label
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
{"".join(f"Al Al{i} {x} 1{chr(10)}" for i, x in enumerate(("0 0 0", "0 0.5 0.5", "0.5 0 0.5", "0.5 0.5 0")))}"""
    (tmp_path / "metal.cif").write_text(cif)
    (tmp_path / "cut.tar.gz").write_bytes(b"\x1f\x8b")
    return [str(tmp_path / name) for name in ("metal.cif", "cut.tar.gz", "folder", "one.poscar")]
