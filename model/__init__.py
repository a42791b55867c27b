"""MT-CGCNN in PyTorch: batches of crystal graphs become predictions. Needs torch, NumPy and safetensors only."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from model.checkpoint import load_checkpoint, save_checkpoint
    from model.errors import CheckpointError
    from model.metrics import TaskMetrics
    from model.network import MTCGCNN, Architecture
    from model.train_config import TrainConfig
    from model.training import EpochReport, Trainer

__all__ = [
    "MTCGCNN",
    "Architecture",
    "CheckpointError",
    "EpochReport",
    "TaskMetrics",
    "TrainConfig",
    "Trainer",
    "load_checkpoint",
    "save_checkpoint",
]

_MODULES = {
    "MTCGCNN": "network",
    "Architecture": "network",
    "CheckpointError": "errors",
    "EpochReport": "training",
    "TaskMetrics": "metrics",
    "TrainConfig": "train_config",
    "Trainer": "training",
    "load_checkpoint": "checkpoint",
    "save_checkpoint": "checkpoint",
}
"""Where each name lives: it is loaded when it is asked for, so that a command can answer before torch is there."""


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
