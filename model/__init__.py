"""MT-CGCNN in PyTorch: batches of crystal graphs become predictions. Needs torch, NumPy and safetensors only."""

from model.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from model.config import TrainConfig
from model.metrics import TaskMetrics
from model.network import MTCGCNN, Architecture
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
