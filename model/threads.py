"""How many threads this process computes with, and whose they are."""

import importlib.util

import torch

_for_loops: int | None = None


def compute_with(num_threads: int | None = None) -> None:
    """Give the threads of this process to the compiled loops of `model.gated_sum`, or without numba to PyTorch.

    PyTorch's threads go on running for some milliseconds after each operation, waiting for the next one; beside threads
    of our own they would take the cores away from them: on two cores a step took as long as on one. For entry points; a
    library must not decide this for its caller.

    Args:
        num_threads: as many as before when None: at first, as PyTorch would take.
    """
    global _for_loops
    count = loop_threads() if num_threads is None else num_threads
    has_loops = importlib.util.find_spec("numba") is not None
    torch.set_num_threads(1 if has_loops else count)
    _for_loops = count if has_loops else None


def loop_threads() -> int:
    """Threads of the compiled loops."""
    return torch.get_num_threads() if _for_loops is None else _for_loops


def give_back_to_pytorch() -> None:
    """Let PyTorch have the threads after all: numba is there, and cannot be used."""
    global _for_loops
    torch.set_num_threads(loop_threads())
    _for_loops = None
