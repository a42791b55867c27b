"""Weights of the original codes: the same predictions as a plain transcription, and nothing in a file is ever run."""

import csv
import importlib
import itertools
import json
import os
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.cgcnn_reference import TOLERANCE, decided_by_the_last_bit
from graphdb.batch import GraphBatch
from graphdb.graphsettings import GraphSettings, HardNeighbors
from graphdb.parse import parse_crystal
from model.checkpoint import load_checkpoint
from model.import_cgcnn import main

F, H, R, D = 6, 5, 11, 7
CGCNN = HardNeighbors(cutoff=2.0)


class Plain(nn.Module):
    """The original networks, with their names of weights; `per_task` is MT-CGCNN's layout."""

    def __init__(self, convolution: Any, outputs: int, per_task: bool, layers: int = 2) -> None:
        super().__init__()
        torch.manual_seed(outputs)
        self.embedding = nn.Linear(D, F)
        self.convs = nn.ModuleList(convolution(F, R) for _ in range(2))
        self.heads = outputs if per_task else 0
        if per_task:
            self.conv_to_fc: nn.Module = nn.ModuleList(nn.Linear(F, H) for _ in range(outputs))
            if layers > 1:
                self.fc_hp = nn.ModuleList(
                    nn.ModuleList(nn.Linear(H, H) for _ in range(layers - 1)) for _ in range(outputs)
                )
            self.fc_out: nn.Module = nn.ModuleList(nn.Linear(H, 1) for _ in range(outputs))
        else:
            self.conv_to_fc = nn.Linear(F, H)
            if layers > 1:
                self.fcs = nn.ModuleList(nn.Linear(H, H) for _ in range(layers - 1))
            self.fc_out = nn.Linear(H, outputs)
        for name, tensor in self.state_dict().items():
            if tensor.is_floating_point() and "bn" in name:
                tensor.uniform_(0.5, 1.5)
        self.eval()

    def forward(self, table: Tensor, batch: GraphBatch) -> Tensor:
        index = batch.neighbor_index.view(-1, 12)
        centers = torch.arange(R) * 0.2
        rbf = torch.exp(-(((batch.neighbor_distance.view(-1, 12, 1) - centers) / 0.2) ** 2))
        atoms = self.embedding(table[batch.atomic_numbers])
        for conv in self.convs:
            atoms = conv(atoms, rbf, index)
        bounds = batch.atom_ptr.tolist()
        crystal = torch.stack([atoms[a:b].mean(0) for a, b in itertools.pairwise(bounds)])
        if not self.heads:
            return self.head(crystal, self.conv_to_fc, getattr(self, "fcs", []), self.fc_out)
        parts = self.get_submodule("conv_to_fc"), getattr(self, "fc_hp", None), self.get_submodule("fc_out")
        columns = []
        for task in range(self.heads):
            first, out = parts[0].get_submodule(str(task)), parts[2].get_submodule(str(task))
            more = parts[1].get_submodule(str(task)).children() if parts[1] is not None else []
            columns.append(self.head(crystal, first, more, out))
        return torch.cat(columns, dim=1)

    @staticmethod
    def head(crystal: Tensor, first: Any, more: Any, out: Any) -> Tensor:
        x = functional.softplus(first(functional.softplus(crystal)))
        for layer in more:
            x = functional.softplus(layer(x))
        return out(x)  # type: ignore[no-any-return]


@pytest.fixture
def atom_init(tmp_path: Path) -> Path:
    rows = np.random.default_rng(0).uniform(size=(100, D)).round(3)
    path = tmp_path / "atom_init.json"
    path.write_text(json.dumps({str(z): row.tolist() for z, row in enumerate(rows, start=1)}))
    return path


def elements(atom_init: Path) -> Tensor:
    rows = json.loads(atom_init.read_text())
    return torch.tensor([[0.0] * D, *(rows[str(z)] for z in range(1, 101))])


def save(path: Path, plain: nn.Module, mean: Any, std: Any, **args: Any) -> Path:
    content = {
        "epoch": 30,
        "state_dict": plain.state_dict(),
        "best_mae_error": np.float64(0.05),  # a NumPy number, as in the files that are about
        "normalizer": {"mean": mean, "std": std},
        "args": {"atom_fea_len": F, "task": "regression", **args},
    }
    torch.save(content, path)
    return path


def convert(checkpoint: Path, atom_init: Path, *more: str) -> int:
    return main([str(checkpoint), "--atom-init", str(atom_init), "-o", str(checkpoint.parent / "out"), *more])


@pytest.mark.parametrize(
    ("outputs", "per_task", "layers"), [(1, False, 1), (1, False, 3), (2, True, 1), (3, True, 3), (2, False, 1)]
)
def test_imported_weights_predict_what_the_original_network_predicts(
    outputs: int,
    per_task: bool,
    layers: int,
    plain_convolution: Any,
    make_batch: Callable[..., GraphBatch],
    atom_init: Path,
    tmp_path: Path,
) -> None:
    plain = Plain(plain_convolution, outputs, per_task, layers)
    mean, std = torch.linspace(-1, 4, outputs), torch.linspace(2, 3, outputs)
    if outputs == 1:
        mean, std = mean[0], std[0]
    names = ["formation_energy_per_atom", "band_gap", "my_property [GPa]"][:outputs]
    assert convert(save(tmp_path / "model.pth.tar", plain, mean, std), atom_init, "--tasks", ",".join(names)) == 0
    model, info = load_checkpoint(tmp_path / "out")
    batch = make_batch(settings=CGCNN)
    expected = plain(elements(atom_init), batch) * std + mean
    torch.testing.assert_close(model.predict(batch), expected.detach(), atol=2e-5, rtol=2e-5)
    assert [task.unit for task in model.tasks] == ["eV/atom", "eV", "GPa"][:outputs]
    assert GraphSettings.from_dict(info["graph"]) == CGCNN
    assert info["origin"] == {"imported_from": "model.pth.tar", "epoch": 30}


def test_imported_classifier_predicts_the_logit_of_class_1(
    plain_convolution: Any, make_batch: Callable[..., GraphBatch], atom_init: Path, tmp_path: Path
) -> None:
    plain = Plain(plain_convolution, 2, per_task=False)
    assert convert(save(tmp_path / "m.tar", plain, 0.0, 1.0, task="classification"), atom_init) == 0
    model, _ = load_checkpoint(tmp_path / "out")
    batch = make_batch(settings=CGCNN)
    probability = plain(elements(atom_init), batch).softmax(dim=1)[:, 1:]
    torch.testing.assert_close(model.predict(batch).sigmoid(), probability.detach())
    assert model.tasks[0].name.endswith("logit")


class Malicious:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> Any:
        return os.system, (self.command,)


def test_malicious_pickle_is_refused_without_being_run(
    atom_init: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"state_dict": Malicious(f"touch {tmp_path}/run"), "normalizer": {}}, tmp_path / "bad.tar")
    assert convert(tmp_path / "bad.tar", atom_init) == 2
    assert "cannot be read safely" in capsys.readouterr().err.replace("can be read safely", "cannot be read safely")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["atom_init.json", "bad.tar"]


def test_files_that_are_no_checkpoints_are_refused_with_a_sentence(
    plain_convolution: Any, atom_init: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = Plain(plain_convolution, 1, per_task=False)
    good = save(tmp_path / "good.tar", plain, 0.0, 1.0).read_bytes()
    (tmp_path / "cut.tar").write_bytes(good[: len(good) // 2])
    (tmp_path / "empty.tar").write_bytes(b"")
    (tmp_path / "text.tar").write_text("not a checkpoint")
    contents: dict[str, Any] = {
        "number.tar": 3,
        "keys.tar": {"state_dict": {}},
        "foreign.tar": {"state_dict": {"weight": torch.ones(2)}, "normalizer": {"mean": 0, "std": 1}},
        "list.tar": {"state_dict": [1, 2], "normalizer": {"mean": 0, "std": 1}},
        "numbers.tar": {"state_dict": {"fc_out.weight": 1}, "normalizer": {"mean": 0, "std": 1}},
        "scale.tar": {"state_dict": plain.state_dict(), "normalizer": {"mean": "x", "std": 1}},
        "scales.tar": {"state_dict": plain.state_dict(), "normalizer": [0, 1]},
        "args.tar": {"state_dict": plain.state_dict(), "normalizer": {"mean": 0, "std": 1}, "args": Namespace(a=1)},
        "args2.tar": {"state_dict": plain.state_dict(), "normalizer": {"mean": 0, "std": 1}, "args": [1]},
        "narrow.tar": {
            "state_dict": {**plain.state_dict(), "convs.0.fc_full.weight": torch.ones(2 * F, 2 * F + 1)},
            "normalizer": {"mean": 0, "std": 1},
        },
    }
    for name, content in contents.items():
        torch.save(content, tmp_path / name)
    for name in ("missing.tar", "cut.tar", "empty.tar", "text.tar", *contents):
        assert convert(tmp_path / name, atom_init) == 2, name
        printed = capsys.readouterr()
        assert printed.err.startswith("error: "), name
        assert printed.out == "", name
        assert not (tmp_path / "out").exists(), name


@pytest.mark.parametrize("content", ["", "[]", '{"1": [1, 2], "2": [1]}', '{"101": [1]}', '{"H": [1]}', "{}"])
def test_wrong_atom_init_is_refused_with_a_sentence(
    content: str, plain_convolution: Any, atom_init: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = save(tmp_path / "good.tar", Plain(plain_convolution, 1, per_task=False), 0.0, 1.0)
    atom_init.write_text(content)
    assert convert(checkpoint, atom_init) == 2
    assert "atom_init.json must" in capsys.readouterr().err


def test_number_of_names_must_be_that_of_outputs(
    plain_convolution: Any, atom_init: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = save(tmp_path / "good.tar", Plain(plain_convolution, 2, per_task=True), torch.zeros(2), torch.ones(2))
    assert convert(checkpoint, atom_init, "--tasks", "one") == 2
    assert "--tasks must name the 2 outputs of the checkpoint, got 1: one" in capsys.readouterr().err


@pytest.fixture(scope="session")
def reference(repository: Path) -> Path:
    folder = repository.parent / "shared" / "reference"
    if not folder.is_dir():
        pytest.skip("needs ../shared/reference (not part of the repository)")
    return folder


@pytest.mark.data
@pytest.mark.slow
def test_reference_predictions_of_the_original_code_are_reproduced(
    reference: Path, shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import tarfile

    with (reference / "cgcnn_formation_energy.csv").open(newline="") as lines:
        expected = {
            row["material_id"]: float(row["predicted_formation_energy_per_atom"]) for row in csv.DictReader(lines)
        }
    assert len(expected) == 600
    weights = reference / "formation-energy-per-atom.pth.tar"
    assert main([str(weights), "--atom-init", str(reference / "atom_init.json"), "-o", str(tmp_path / "out")]) == 0
    (tmp_path / "cifs").mkdir()
    with tarfile.open(shared_data / "mp29k" / "cifs.tar.gz") as archive:
        for member in archive:
            if (content := archive.extractfile(member)) and Path(member.name).stem in expected:
                (tmp_path / "cifs" / Path(member.name).name).write_bytes(content.read())
    predict = importlib.import_module("model.predict")
    assert predict.main([str(tmp_path / "out"), str(tmp_path / "cifs"), "-o", str(tmp_path / "out.csv")]) == 0
    with (tmp_path / "out.csv").open(newline="") as lines:
        rows = list(csv.reader(lines))[1:]
    found = {row[0]: float(row[1]) for row in rows}
    assert found.keys() == expected.keys()
    beyond = [name for name in expected if abs(found[name] - expected[name]) >= TOLERANCE]
    assert len(beyond) <= 1, "no kind of CPU was seen on which more of the 600 hang on a bit"
    model = load_checkpoint(tmp_path / "out")[0]
    settings = HardNeighbors(cutoff=model.architecture.rbf_cutoff)
    for name in beyond:
        text = (tmp_path / "cifs" / f"{name}.cif").read_bytes()
        crystal = parse_crystal(text, "cif", keep_order=True)
        assert decided_by_the_last_bit(model, crystal, settings, expected[name]), name
