"""What the tests of the tuner share."""

from collections.abc import Callable

import pytest

from tuner.space.space import Space
from tuner.space.toml import parse_space, read_space_text
from tuner.trials.stopping import SECTIONS

KNOWN = (
    "num_convs",
    "atom_dim",
    "head_dim",
    "num_head_layers",
    "weight_decay",
    "learning_rate",
    "batch_size",
    "schedule",
    "epochs",
)


def accept_anything(name: str, value: object) -> None:
    pass


@pytest.fixture
def make_space() -> Callable[..., Space]:
    def make(text: str, tasks: tuple[str, ...] = ("band_gap", "fermi_energy")) -> Space:
        return parse_space(text, "mine.toml", tasks, KNOWN, accept_anything, SECTIONS)

    return make


@pytest.fixture
def table5(make_space: Callable[..., Space]) -> Space:
    return make_space(read_space_text("table5")[1])
