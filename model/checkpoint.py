"""Checkpoints: a folder of ``model.safetensors`` (all tensors) and ``config.json`` (everything else). No pickle."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from graphdb.batch import Task
from graphdb.files import write_atomically
from graphdb.records import finite_or_none
from graphdb.versions import versions
from model.differences import differences
from model.errors import CheckpointError
from model.network import MTCGCNN, Architecture
from model.shipped import CONFIG, NEXT_CONFIG, WEIGHTS, find_weights

FORMAT = "crystune checkpoint"
FORMAT_VERSION = 1


def save_checkpoint(
    folder: str | Path,
    model: MTCGCNN,
    info: Mapping[str, Any],
    state: Mapping[str, torch.Tensor] | None = None,
) -> None:
    """Write a model to a folder, which may hold an older one.

    The weights carry the configuration as well, so that the one file that decides is replaced at once; ``config.json``
    is the copy for people and other programs, and `load_checkpoint` refuses a folder in which the two differ.

    Args:
        folder: made if it is not there.
        model: its weights, scaler and element table are all kept.
        info: JSON-able values for ``config.json``, such as "graph" (graph settings), "split", "metrics", "train"; may
            not name a key that this function writes. JSON has no NaN or inf, they become null.
        state: in the place of the model's own ``state_dict()``, such as that of an earlier epoch.

    Raises:
        ValueError: for an `info` with a reserved key.
    """
    reserved = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "architecture": model.architecture.as_dict(),
        "tasks": [{"name": task.name, "unit": task.unit} for task in model.tasks],
        "num_parameters": model.num_parameters,
        "versions": versions("crystune", "python", "torch", "numpy"),
    }
    clash = reserved.keys() & info.keys()
    if clash:
        raise ValueError(f"these keys are written by save_checkpoint itself: {', '.join(sorted(clash))}")
    config = json.dumps(finite_or_none({**reserved, **info}), indent=1, allow_nan=False)
    tensors = {name: x.detach().cpu().contiguous() for name, x in (state or model.state_dict()).items()}
    metadata = {"config": config, "sha256": digest(tensors), "config_sha256": digest({}, config)}
    folder = Path(folder)
    write_atomically(folder / NEXT_CONFIG, (config + "\n").encode())
    write_atomically(folder / WEIGHTS, to_bytes(tensors, metadata))
    os.replace(folder / NEXT_CONFIG, folder / CONFIG)


def load_checkpoint(folder: str | Path, device: torch.device | str = "cpu") -> tuple[MTCGCNN, dict[str, Any]]:
    """Read a model, in evaluation mode.

    Args:
        folder: one that `save_checkpoint` wrote, or the name of a model that ships (`shipped_models`).
        device: where the model goes.

    Returns:
        The model and everything in ``config.json``.

    Raises:
        CheckpointError: says what is wrong with the folder, such as a ``config.json`` that is not that of the weights.
    """
    path = find_weights(folder)
    tensors, metadata = read_tensors(path, advice="copy or export it again")
    try:
        config = json.loads(metadata["config"])
        if config["format"] != FORMAT:
            raise KeyError("format")
        if config["format_version"] > FORMAT_VERSION:
            raise CheckpointError(
                f"{path} must have format version {FORMAT_VERSION} or lower, got {config['format_version']}; "
                f"it was written by crystune {config['versions']['crystune']}: upgrade"
            )
        for part, expected, found in (
            ("weights do", metadata["sha256"], digest(tensors)),
            ("configuration does", metadata["config_sha256"], digest({}, metadata["config"])),
        ):
            if expected != found:
                raise CheckpointError(f"{path} is damaged: its {part} not match the checksum; copy or export it again")
        _check_copy(path.parent, config)
        tasks = [Task(task["name"], task["unit"]) for task in config["tasks"]]
        model = MTCGCNN(Architecture.from_dict(config["architecture"]), tasks, tensors["elements"])
        tensors.setdefault("scaler.floor", model.scaler.floor)  # checkpoints from before 2026-12 have none
        model.load_state_dict(tensors)
    except CheckpointError:
        raise
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"{path} is not a checkpoint of crystune ({type(error).__name__}: {error}); `tuner.export` and "
            "`model.train` write such folders, `model.import_cgcnn` makes one of the original code's files"
        ) from error
    return model.to(device).eval(), config


def read_tensors(path: Path, *, advice: str) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file.

    Raises:
        CheckpointError: for a file that is none, with the advice.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is truncated or no safetensors file ({error}); {advice}") from error


def _check_copy(folder: Path, config: Mapping[str, Any]) -> None:
    """Refuse a folder whose configuration is not that of its weights.

    Raises:
        CheckpointError: with what differs.
    """
    path, advice = folder / CONFIG, f"copy {CONFIG} and {WEIGHTS} from the same model again, or export it again"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        reason = differences(found, config, words="{name} is {now} where the weights say {before}")
    except FileNotFoundError:
        reason = "it is missing"
    except (OSError, ValueError) as error:
        reason = f"it cannot be read as JSON ({error})"
    if not reason:
        return
    try:
        replaced = json.loads((folder / NEXT_CONFIG).read_text(encoding="utf-8")) == config
    except (OSError, ValueError):
        replaced = False
    if not replaced:
        raise CheckpointError(f"{path} must be the configuration of the weights beside it, but {reason}; {advice}")


def to_bytes(tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> bytes:
    """A safetensors file of tensors that are contiguous on the CPU.

    As `safetensors.torch.save` makes it, which takes a detour through ctypes for each tensor: 10 ms for 192 small ones,
    this way 3.
    """
    from safetensors.numpy import save  # a machine that only trains need not have it

    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    return bytes(save(arrays, metadata=dict(metadata)))


def digest(tensors: Mapping[str, torch.Tensor], text: str = "") -> str:
    """Checksum of names, shapes and bytes of tensors on the CPU, in order of name, and of a text."""
    sha = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        sha.update(f"{name}{tuple(tensors[name].shape)}".encode())
        data = tensors[name].contiguous().reshape(-1)
        sha.update(data.view(torch.uint8).numpy().tobytes() if data.numel() else b"")
    return sha.hexdigest()
