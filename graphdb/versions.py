"""Versions of Python and of packages, as results are kept with them. Standard library only."""

import platform

ABSENT = "not installed"
"""In place of the version of a package that is not there, as crystune itself when it is run from a checkout."""


def versions(*packages: str) -> dict[str, str]:
    """The version of each package by its name; "python" is one, too."""
    from importlib import metadata  # half of what a command would take to load

    found = {}
    for name in packages:
        try:
            found[name] = platform.python_version() if name == "python" else metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = ABSENT
    return found
