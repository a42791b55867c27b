"""Checkpoints: round trip, damage of every kind, and never a pickle."""

import json
import math
import os
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from graphdb.batch import GraphBatch, Task
from model import checkpoint
from model.checkpoint import load_checkpoint, save_checkpoint
from model.errors import CheckpointError
from model.gated_sum.choice import warm_up
from model.network import MTCGCNN, Architecture
from model.shipped import CONFIG, WEIGHTS, shipped_models

TASKS = (Task("energy", "eV/atom"), Task("gap", "eV"))


@pytest.fixture
def model() -> MTCGCNN:
    torch.manual_seed(0)
    model = MTCGCNN(Architecture(num_convs=1, atom_dim=4, head_dim=3, num_rbf=5), TASKS)
    model.scaler.mean.fill_(7.0)
    return model.eval()


@pytest.fixture
def folder(model: MTCGCNN, tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / "best", model, {"graph": {"neighbors": "shell"}, "score": 0.5})
    return tmp_path / "best"


@pytest.fixture
def no_pickle() -> Iterator[None]:
    """Any unpickling in this test is an error, but for that of numba, which reads its own cache so."""
    warm_up()

    def forbid(event: str, args: tuple[Any, ...]) -> None:
        if active and event == "pickle.find_class":
            raise AssertionError(f"unpickled {args}")

    active = True
    sys.addaudithook(forbid)
    yield
    active = False


def test_loaded_model_is_the_saved_one(
    model: MTCGCNN, folder: Path, make_batch: Callable[..., GraphBatch], no_pickle: None
) -> None:
    loaded, info = load_checkpoint(folder)
    batch = make_batch()
    assert torch.equal(loaded.predict(batch), model.predict(batch))
    assert not loaded.training
    assert loaded.tasks == TASKS
    assert loaded.architecture == model.architecture
    assert (info["score"], info["graph"]) == (0.5, {"neighbors": "shell"})
    assert info["versions"].keys() == {"crystune", "python", "torch", "numpy"}
    assert info["num_parameters"] == model.num_parameters
    assert sorted(path.name for path in folder.iterdir()) == [CONFIG, WEIGHTS]


def test_config_json_is_what_loading_returns(folder: Path) -> None:
    assert json.loads((folder / CONFIG).read_text()) == load_checkpoint(folder)[1]


def test_folder_may_be_named_by_its_weights(folder: Path) -> None:
    assert load_checkpoint(folder / WEIGHTS)[1]["score"] == 0.5


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "it is missing"),
        (b"", "it cannot be read as JSON"),
        (b'{"format": "crystune', "it cannot be read as JSON"),
        (b"\xff\xfe{", "it cannot be read as JSON"),
        (b"[]", "format is absent where the weights say"),
        (b"{}", "format is absent where the weights say 'crystune checkpoint'"),
        ({"score": 0.25}, "score is 0.25 where the weights say 0.5;"),
        ({"score": True}, "score is True where the weights say 0.5;"),
        ({"graph": {"neighbors": "cgcnn"}}, "graph.neighbors is 'cgcnn' where the weights say 'shell';"),
        ({"graph": {"neighbors": "shell", "x": 1}}, "graph.x is 1 where the weights say absent;"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_configuration_that_is_not_that_of_the_weights_is_refused_with_what_differs(
    content: Any, reason: str, folder: Path
) -> None:
    path = folder / CONFIG
    if content is None:
        path.unlink()
    elif isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(json.dumps({**json.loads(path.read_text()), **content}))
    with pytest.raises(
        CheckpointError, match=f"{CONFIG} must be the configuration .*{reason}.*copy .* again"
    ) as caught:
        load_checkpoint(folder)
    assert "\n" not in str(caught.value)


def test_configuration_may_be_laid_out_in_another_way(folder: Path) -> None:
    content = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps(dict(reversed(content.items())), indent=7))
    assert load_checkpoint(folder)[1] == content


def test_kill_between_weights_and_configuration_leaves_a_whole_folder(
    model: MTCGCNN, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    replace = os.replace

    def killed(source: Any, target: Any) -> None:
        if Path(target).name == CONFIG:
            raise Killed
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr("model.checkpoint.os.replace", killed)
        with pytest.raises(Killed):
            save_checkpoint(folder, model, {"score": 0.25})
    assert load_checkpoint(folder)[1]["score"] == 0.25
    save_checkpoint(folder, model, {"score": 0.125})
    assert load_checkpoint(folder)[1]["score"] == 0.125
    assert sorted(path.name for path in folder.iterdir()) == [CONFIG, WEIGHTS]


def test_overwriting_replaces_the_older_model(model: MTCGCNN, folder: Path) -> None:
    with torch.no_grad():
        model.heads[0].out.bias.fill_(42.0)  # type: ignore[operator, union-attr]
    save_checkpoint(folder, model, {"score": 0.25})
    loaded, info = load_checkpoint(folder)
    assert float(loaded.state_dict()["heads.0.out.bias"]) == 42.0
    assert info["score"] == 0.25
    assert "graph" not in info


def test_interrupted_overwriting_leaves_the_older_model(
    model: MTCGCNN, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("graphdb.files.os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(folder, model, {"score": 0.25})
    assert load_checkpoint(folder)[1]["score"] == 0.5
    assert sorted(path.name for path in folder.iterdir()) == [CONFIG, WEIGHTS]


def test_nan_and_inf_become_null(model: MTCGCNN, tmp_path: Path) -> None:
    save_checkpoint(tmp_path, model, {"metrics": {"r2": math.nan, "all": [1.0, math.inf]}})
    assert load_checkpoint(tmp_path)[1]["metrics"] == {"r2": None, "all": [1.0, None]}


def test_reserved_keys_are_refused(model: MTCGCNN, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="tasks"):
        save_checkpoint(tmp_path, model, {"tasks": []})


@pytest.mark.parametrize("keep", [0, 4, 8, 200, 0.5, 0.99, -1])
def test_truncated_file_is_refused(keep: float, folder: Path) -> None:
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[: int(keep * len(content)) if isinstance(keep, float) else keep])
    with pytest.raises(CheckpointError, match=f"{WEIGHTS} is truncated .* again"):
        load_checkpoint(folder)


def test_any_flipped_byte_is_noticed(folder: Path) -> None:
    content = (folder / WEIGHTS).read_bytes()
    for position in range(3, len(content), 97):
        damaged = bytearray(content)
        damaged[position] ^= 1
        (folder / WEIGHTS).write_bytes(damaged)
        with pytest.raises(CheckpointError):
            load_checkpoint(folder)


def test_changed_digit_in_the_configuration_is_noticed(folder: Path) -> None:
    content = (folder / WEIGHTS).read_bytes()
    assert content.count(b'\\"rbf_cutoff\\": 8.0') == 1
    (folder / WEIGHTS).write_bytes(content.replace(b'\\"rbf_cutoff\\": 8.0', b'\\"rbf_cutoff\\": 9.0'))
    with pytest.raises(CheckpointError, match="configuration does not match"):
        load_checkpoint(folder)


def rewrite_metadata(folder: Path, change: Callable[[dict[str, str]], None]) -> None:
    """Change what the header of the weights file says, and config.json with it."""
    content = (folder / WEIGHTS).read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    change(header["__metadata__"])
    (folder / CONFIG).write_text(header["__metadata__"]["config"])
    encoded = json.dumps(header).encode()
    (folder / WEIGHTS).write_bytes(struct.pack("<Q", len(encoded)) + encoded + content[8 + length :])


def change_config(**values: Any) -> Callable[[dict[str, str]], None]:
    """As another writer would: with the checksum that belongs to it."""

    def change(metadata: dict[str, str]) -> None:
        metadata["config"] = json.dumps({**json.loads(metadata["config"]), **values})
        metadata["config_sha256"] = checkpoint.digest({}, metadata["config"])

    return change


def test_newer_format_is_refused_with_both_versions(folder: Path) -> None:
    rewrite_metadata(folder, change_config(format_version=2, versions={"crystune": "9.1"}))
    with pytest.raises(CheckpointError, match=r"format version 1 or lower, got 2; .* crystune 9.1: upgrade"):
        load_checkpoint(folder)


def test_checkpoint_without_checksum_of_the_configuration_is_refused(folder: Path) -> None:
    def forget(metadata: dict[str, str]) -> None:
        del metadata["config_sha256"]

    rewrite_metadata(folder, forget)
    with pytest.raises(CheckpointError, match=r"not a checkpoint of crystune .*config_sha256"):
        load_checkpoint(folder)


@pytest.mark.parametrize(
    "values",
    [
        {"format": "something else"},
        {"architecture": {"num_convs": 2}},
        {"architecture": {"depth": 2}},
        {"architecture": None},
        {"tasks": []},
        {"tasks": "energy"},
    ],
)
def test_configuration_that_does_not_fit_the_weights_is_refused(values: dict[str, Any], folder: Path) -> None:
    rewrite_metadata(folder, change_config(**values))
    with pytest.raises(CheckpointError, match="not a checkpoint of crystune"):
        load_checkpoint(folder)


def test_foreign_safetensors_is_refused(tmp_path: Path) -> None:
    safetensors.torch.save_file({"weight": torch.ones(3)}, tmp_path / WEIGHTS)
    with pytest.raises(CheckpointError, match=r"not a checkpoint of crystune .*model.train"):
        load_checkpoint(tmp_path)


def test_pickle_under_the_name_of_the_weights_is_refused_unread(tmp_path: Path, no_pickle: None) -> None:
    torch.save({"weight": torch.ones(3)}, tmp_path / WEIGHTS)
    with pytest.raises(CheckpointError, match="no safetensors file"):
        load_checkpoint(tmp_path)


def test_missing_folder_and_empty_folder_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nowhere, which is not there"):
        load_checkpoint(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match=f"which has no {WEIGHTS}"):
        load_checkpoint(tmp_path)


def test_models_that_ship_load_by_name() -> None:
    for name in shipped_models():
        model, info = load_checkpoint(name)
        assert model.num_parameters == info["num_parameters"]
        assert info["graph"]
