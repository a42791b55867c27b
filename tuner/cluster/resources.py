"""What a training occupies, and what this machine has; known without Ray."""

from collections.abc import Iterable
from dataclasses import dataclass

from graphdb.cpus import usable_cpus

DEFAULT_GPU_SHARE = 0.25
"""GPU of a trial where there are GPUs: such networks leave most of one idle."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Resources:
    """CPUs and GPUs of a training, or of a node."""

    cpus: float
    gpus: float

    def as_bundle(self) -> dict[str, float]:
        """As Ray names them."""
        return {"CPU": self.cpus, "GPU": self.gpus} if self.gpus else {"CPU": self.cpus}

    def __str__(self) -> str:
        return f"{amount(self.cpus, 'CPU')} and {self.gpus:g} GPU" if self.gpus else amount(self.cpus, "CPU")


def of_trial(cpus: float, gpus: float | None, nodes: Iterable[Resources]) -> Resources:
    """What a trial gets.

    Args:
        cpus: that the user wants.
        gpus: likewise; None for DEFAULT_GPU_SHARE where some node has a GPU.
        nodes: that there are.
    """
    if gpus is None:
        gpus = DEFAULT_GPU_SHARE if any(node.gpus for node in nodes) else 0.0
    return Resources(cpus=cpus, gpus=gpus)


def amount(number: float, unit: str) -> str:
    """``1 CPU``, ``0.5 CPUs``, ``no GPUs``."""
    return f"{f'{number:g}' if number else 'no'} {unit}{'' if number == 1 else 's'}"


def this_machine() -> Resources:
    """CPUs that this process may use, and GPUs that PyTorch finds; another GPU could train nothing."""
    import torch

    return Resources(cpus=usable_cpus(), gpus=torch.cuda.device_count())
