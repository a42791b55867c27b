"""Types of the commands' flags: a value out of range is answered in one line, before anything is loaded."""

import argparse
import csv
import math
from collections.abc import Callable
from pathlib import Path


def whole_number(least: int, most: int = 2**31 - 1) -> Callable[[str], int]:
    """A type for argparse: an integer of at least and at most this."""

    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if not least <= number <= most:
            bound = f"at least {least}" if number < least else f"at most {most:,}"
            raise argparse.ArgumentTypeError(f"must be an integer of {bound}, got {text!r}")
        return number

    return parse


def share(text: str) -> float:
    """A type for argparse: a number of at least 0 and below 1."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number < 1:
        raise argparse.ArgumentTypeError(f"must be a share of at least 0 and below 1, such as 0.1, got {text!r}")
    return number


def folder(text: str) -> Path:
    """A type for argparse: a folder's name, which must not be empty (a shell's unset variable)."""
    if not text.strip():
        raise argparse.ArgumentTypeError(f"must be the name of a folder, got {text!r}")
    return Path(text)


def task_names(text: str) -> list[str]:
    """A type for argparse: names between commas, as in a CSV: one that holds a comma stands in double quotes."""
    row = next(csv.reader([" ".join(text.splitlines())], skipinitialspace=True), [])
    names = [name.strip() for name in row]
    if not names or not all(names):
        raise argparse.ArgumentTypeError(
            f"must name properties, separated by commas, got {text!r}; leave it out for all of the store"
        )
    return names
