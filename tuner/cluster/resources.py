"""What a training occupies, and what this machine has; known without Ray."""

from dataclasses import dataclass

from graphdb.cpus import usable_cpus


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


def amount(number: float, unit: str) -> str:
    """``1 CPU``, ``0.5 CPUs``, ``no GPUs``."""
    return f"{f'{number:g}' if number else 'no'} {unit}{'' if number == 1 else 's'}"


def this_machine() -> Resources:
    """CPUs that this process may use, and GPUs that PyTorch finds; another GPU could train nothing."""
    import torch

    return Resources(cpus=usable_cpus(), gpus=torch.cuda.device_count())
