"""Ray's token: who shows it may use the cluster."""

import os
from pathlib import Path


def show_token() -> None:
    """Have Ray show ~/.ray/auth_token, if there is one, to clusters that it did not start itself.

    Call it before ray is imported, which reads the environment then.
    """
    if (Path.home() / ".ray" / "auth_token").is_file():
        os.environ.setdefault("RAY_AUTH_MODE", "token")
