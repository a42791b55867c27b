"""Weights of the original CGCNN and MT-CGCNN codes in our terms.

Their files are pickles. They are read by PyTorch's restricted unpickler, which builds tensors and numbers and runs
nothing.
"""

import json
import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graphdb.batch import Task
from graphdb.errors import CrystuneError
from model.network import MTCGCNN, Architecture

_SPACING = 0.2
"""Å between the Gaussians of the original codes; they cannot be set to another value there without a change of code."""


class ImportFailed(CrystuneError, ValueError):
    """A file that does not hold what the original codes write."""


def read_original(path: str | Path) -> dict[str, Any]:
    """The dictionary that the original code saved.

    Raises:
        ImportFailed: if it is no such file.
    """
    from numpy._core.multiarray import scalar  # what old NumPy floats unpickle to; no public name

    allowed: list[Any] = [
        scalar,
        (scalar, "numpy.core.multiarray.scalar"),
        np.dtype,
        np.dtypes.Float64DType,
        np.dtypes.Int64DType,
    ]
    allowed += [np.dtypes.Float32DType]
    try:
        with torch.serialization.safe_globals(allowed), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what torch guesses about a file that is none of its own
            content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ImportFailed(f"the checkpoint must be a file that can be read, but {path}: {reason}") from error
    except Exception as error:  # torch raises pickle's, zipfile's and its own errors alike for a file it cannot read
        raise ImportFailed(
            f"{path} is no checkpoint of CGCNN that can be read safely: such a file holds tensors and numbers, nothing "
            f"else is read here ({type(error).__name__}); download it again, or name another file"
        ) from error
    missing = {"state_dict", "normalizer"} - set(content if isinstance(content, dict) else ())
    if missing:
        raise ImportFailed(f"a checkpoint of CGCNN must have state_dict and normalizer, {path} lacks {sorted(missing)}")
    state, args = content["state_dict"], content.get("args") or {}
    if not (isinstance(state, Mapping) and all(isinstance(t, Tensor) for t in state.values())):
        raise ImportFailed(f"state_dict must hold the weights by name, in {path} it does not")
    if not (isinstance(content["normalizer"], Mapping) and isinstance(args, Mapping)):
        raise ImportFailed(f"normalizer and args must be dictionaries, in {path} they are not")
    return dict(content)


def read_atom_init(path: str | Path) -> Tensor:
    """CGCNN's ``atom_init.json`` as a table.

    Returns:
        (101, D) float32 by atomic number; zeros for elements that the file does not have.

    Raises:
        ImportFailed: if it is no such file.
    """
    try:
        rows = {int(number): [float(x) for x in row] for number, row in json.loads(Path(path).read_text()).items()}
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ImportFailed(f"--atom-init must be a file that can be read, but {path}: {reason}") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise ImportFailed(f"{path} must map atomic numbers to lists of numbers ({error})") from error
    widths = {len(row) for row in rows.values()}
    if len(widths) != 1 or not rows.keys() <= set(range(1, 101)):
        raise ImportFailed(
            f"{path} must have rows of one length for atomic numbers 1 to 100, got lengths {sorted(widths)}"
        )
    table = torch.zeros(101, widths.pop())
    for number, row in rows.items():
        table[number] = torch.tensor(row)
    return table


def convert(content: Mapping[str, Any], elements: Tensor, tasks: Sequence[Task]) -> MTCGCNN:
    """The same network in our terms.

    The bias of each convolution's product is folded into the running mean behind it. A classifier of two classes
    becomes one task, the logit of class 1. Tasks that shared one hidden layer get a copy each.

    Args:
        content: what `read_original` gave.
        elements: the table the weights were trained with.
        tasks: one per output.

    Raises:
        ImportFailed: if names or shapes of the weights are not those of the original codes.
    """
    weights: dict[str, Tensor] = {name: tensor.float() for name, tensor in content["state_dict"].items()}
    try:
        model = MTCGCNN(_architecture(weights), tasks, elements)
        state = _translate(weights, model.architecture, len(tasks), content)
        state["elements"] = elements
        model.load_state_dict(state)
    except (KeyError, RuntimeError, IndexError, TypeError, ValueError) as error:
        raise ImportFailed(f"the weights must be those of CGCNN or MT-CGCNN, they are not: {error}") from error
    return model.eval()


def num_outputs(content: Mapping[str, Any]) -> int:
    """Properties that the checkpoint predicts."""
    weights = content["state_dict"]
    heads: int = sum(name.startswith("fc_out.") and name.endswith(".weight") for name in weights)
    if "fc_out.weight" not in weights:
        return heads
    return 1 if is_classifier(content) else int(weights["fc_out.weight"].shape[0])


def is_classifier(content: Mapping[str, Any]) -> bool:
    """Whether the two outputs are classes."""
    return bool(dict(content.get("args") or {}).get("task") == "classification")


def _architecture(weights: Mapping[str, Tensor]) -> Architecture:
    per_task = "conv_to_fc.0.weight" in weights
    first = weights["conv_to_fc.0.weight" if per_task else "conv_to_fc.weight"]
    more = "fc_hp.0." if per_task else "fcs."
    num_rbf = weights["convs.0.fc_full.weight"].shape[1] - 2 * first.shape[1]
    return Architecture(
        num_convs=sum(name.endswith("fc_full.weight") for name in weights),
        atom_dim=first.shape[1],
        head_dim=first.shape[0],
        num_head_layers=1 + sum(name.startswith(more) and name.endswith(".weight") for name in weights),
        num_rbf=num_rbf,
        rbf_cutoff=round((num_rbf - 1) * _SPACING, 10),
    )


def _translate(
    weights: Mapping[str, Tensor], architecture: Architecture, num_tasks: int, content: Mapping[str, Any]
) -> dict[str, Tensor]:
    dim = architecture.atom_dim
    state = {f"embedding.{part}": weights[f"embedding.{part}"] for part in ("weight", "bias")}
    for i in range(architecture.num_convs):
        full = weights[f"convs.{i}.fc_full.weight"]
        state[f"convs.{i}.node_weight"] = torch.cat([full[:, :dim].t(), full[:, dim : 2 * dim].t()], dim=1)
        state[f"convs.{i}.edge_weight"] = full[:, 2 * dim :].t().contiguous()
        for theirs, ours in (("bn1", "edge_norm"), ("bn2", "node_norm")):
            for part in ("weight", "bias", "running_mean", "running_var"):
                state[f"convs.{i}.{ours}.{part}"] = weights[f"convs.{i}.{theirs}.{part}"]
        mean = f"convs.{i}.edge_norm.running_mean"
        state[mean] = state[mean] - weights[f"convs.{i}.fc_full.bias"]
    per_task = "conv_to_fc.0.weight" in weights
    for task in range(num_tasks):
        for part in ("weight", "bias"):
            first, more, out = (
                (f"conv_to_fc.{task}.{part}", f"fc_hp.{task}.{{}}.{part}", f"fc_out.{task}.{part}")
                if per_task
                else (f"conv_to_fc.{part}", f"fcs.{{}}.{part}", f"fc_out.{part}")
            )
            state[f"heads.{task}.hidden.0.{part}"] = weights[first]
            for layer in range(1, architecture.num_head_layers):
                state[f"heads.{task}.hidden.{layer}.{part}"] = weights[more.format(layer - 1)]
            last = weights[out]
            if is_classifier(content):
                last = last[1:2] - last[0:1]
            state[f"heads.{task}.out.{part}"] = last if per_task else last[task : task + 1]
    scale = content["normalizer"]
    for part in ("mean", "std"):
        state[f"scaler.{part}"] = torch.as_tensor(scale[part], dtype=torch.float32).reshape(-1).expand(num_tasks)
    state["scaler.floor"] = torch.full((num_tasks,), -math.inf)
    state["scaler.mad"] = torch.full((num_tasks,), math.nan)  # of a training split that the file does not tell
    return state
