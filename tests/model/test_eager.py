"""The compiler of PyTorch is left out, and nothing else changes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import json, sys
import numpy as np
import torch
from model.eager import leave_out_compiler

if sys.argv[1] == "left out":
    leave_out_compiler()
depths = []
for _ in range(2):  # as a worker does for each of its trainings
    torch.optim.Adam(torch.nn.Linear(3, 2).parameters())
    if sys.argv[1] == "left out":
        leave_out_compiler()
    depth, step = 0, torch.optim.Adam.step
    while (step := getattr(step, "__wrapped__", None)) is not None:
        depth += 1
    depths.append(depth)
assert depths[0] == depths[1], depths
torch.manual_seed(0)
model = torch.nn.Linear(3, 2)
optimizer = torch.optim.Adam(model.parameters(), lr=0.1, weight_decay=0.01, fused=True)
for _ in range(3):
    optimizer.zero_grad(set_to_none=True)
    model(torch.ones(4, 3)).square().mean().backward()
    optimizer.step()
optimizer.load_state_dict(optimizer.state_dict())
optimizer.step()
weights = [weight.tolist() for weight in model.parameters()]
frozen = not any(weight.requires_grad and weight.grad_fn for weight in model.parameters())
print(json.dumps({"weights": weights, "frozen": frozen, "compiler": "torch._dynamo" in sys.modules}))
"""


def outcome(how: str, repository: Path) -> dict[str, object]:
    command = [sys.executable, "-W", "error", "-c", PROGRAM, how]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=True)
    found: dict[str, object] = json.loads(done.stdout)
    return found


@pytest.mark.slow
def test_adam_without_the_compiler_takes_the_same_steps(repository: Path) -> None:
    stock, plain = outcome("as it is", repository), outcome("left out", repository)
    assert not plain["compiler"]
    assert {**stock, "compiler": False} == plain
