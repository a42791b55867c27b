"""Versions of Python and of packages, as results are kept with them. Standard library only."""

import functools
import platform

ABSENT = "not installed"
"""In place of the version of a package that is not there, as crystune itself when it is run from a checkout."""


def versions(*packages: str) -> dict[str, str]:
    """The version of each package by its name; "python" is one, too."""
    return {name: platform.python_version() if name == "python" else _version(name) for name in packages}


@functools.cache  # a package's metadata is parsed in a millisecond, and each checkpoint names several
def _version(name: str) -> str:
    from importlib import metadata  # half of what a command would take to load

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ABSENT
