"""Logs of epochs."""

from pathlib import Path
from typing import Any

from tuner.run import jsonlines


def epochs_in(log: Path) -> list[dict[str, Any]]:
    """The lines of epochs; others say that a trial was begun, or has failed."""
    return [line for line in jsonlines.read(log) if "epoch" in line]
