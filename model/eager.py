"""Leave PyTorch's compiler unloaded: an optimizer imports its 800 modules only to say that it shall not be compiled."""

import functools
import sys
from typing import Any

import torch


@functools.cache  # a second time it would wrap what it put there
def leave_out_compiler() -> None:
    """Have Adam run as it is written, in this process: the first step is there a second sooner, in 60 MB less.

    Each method of an optimizer is wrapped in a function that asks `torch._dynamo` for its uncompiled form, and keeps
    that beside it; here the method itself is put there. For entry points that compile nothing; a library must not
    decide this for its caller. Where a version of PyTorch does otherwise, the compiler is imported as ever.
    """
    if "torch._dynamo" in sys.modules:
        return
    for wrapper in vars(torch.optim.Optimizer).values():
        method = getattr(wrapper, "__wrapped__", None)
        if method is not None and not hasattr(method, "__dynamo_disable"):
            setattr(method, "__dynamo_disable", method)
    step: Any = getattr(torch.optim.Adam.step, "__wrapped__", None)
    if step is not None:
        torch.optim.Adam.step = torch.no_grad()(step)  # type: ignore[method-assign]
