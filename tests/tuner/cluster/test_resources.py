"""What a training occupies and what a machine has, in messages and as Ray names it."""

import pytest
import torch

from graphdb.cpus import usable_cpus
from tuner.cluster.resources import Resources, amount, this_machine


@pytest.mark.parametrize(
    ("resources", "text", "bundle"),
    [
        (Resources(cpus=1, gpus=0), "1 CPU", {"CPU": 1}),
        (Resources(cpus=0.5, gpus=0.25), "0.5 CPUs and 0.25 GPU", {"CPU": 0.5, "GPU": 0.25}),
    ],
)
def test_without_gpus_none_are_mentioned_or_asked_for(
    resources: Resources, text: str, bundle: dict[str, float]
) -> None:
    assert str(resources) == text
    assert resources.as_bundle() == bundle


def test_amounts_are_in_the_singular_for_one_only() -> None:
    assert [amount(number, "GPU") for number in (0, 0.5, 1, 2)] == ["no GPUs", "0.5 GPUs", "1 GPU", "2 GPUs"]


def test_this_machine_has_the_gpus_that_pytorch_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert this_machine() == Resources(cpus=usable_cpus(), gpus=2)
