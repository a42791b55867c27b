"""What a checkpoint tells before PyTorch is there: enough to begin with the crystals."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class Header:
    """Not verified: `load_checkpoint` does that, and tells of every mistake."""

    config: Mapping[str, Any]
    """All of ``config.json``."""
    elements: frozenset[int]
    """Atomic numbers of the elements that the model has a vector for."""
    labels: tuple[str, ...]
    """Of the tasks, as `Task.label` gives them."""
    checksum: str
    """Of weights and configuration."""


def read_header(weights: Path) -> Header | None:
    """The header of a weights file; None for one that `load_checkpoint` will refuse.

    Args:
        weights: as `find_weights` gives it.
    """
    import safetensors

    try:
        with safetensors.safe_open(weights, framework="np") as file:
            metadata: Mapping[str, str] = file.metadata() or {}
            elements = np.asarray(file.get_tensor("elements"))
        config = json.loads(metadata["config"])
        if not isinstance(config, dict):
            return None
        return Header(
            config=config,
            elements=frozenset(np.flatnonzero(elements.any(axis=1)).tolist()),
            labels=tuple(f"{t['name']} [{t['unit']}]" if t["unit"] else t["name"] for t in config["tasks"]),
            checksum=metadata["sha256"] + metadata["config_sha256"],
        )
    except (safetensors.SafetensorError, OSError, KeyError, TypeError, ValueError):
        return None
