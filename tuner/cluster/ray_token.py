"""Ray's token: who has it may use the cluster."""

import os
import shlex
import stat
from pathlib import Path

from tuner.errors import SearchError

MAKE_TOKEN = "(umask 077; ray get-auth-token --generate > /dev/null)"
"""For a shell. By itself Ray makes a file that all may read, and shows the token on the screen."""


def show_token() -> None:
    """Have Ray show its token, if there is one, to clusters that it did not start itself.

    Call it before ray is imported, which reads the environment then. A SearchError says that others can read the token.
    """
    if not os.environ.get("RAY_AUTH_TOKEN"):
        file = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or os.path.expanduser("~/.ray/auth_token"))
        if not file.is_file():
            return
        mode = stat.S_IMODE(file.stat().st_mode)
        if mode & 0o077:
            raise SearchError(
                f"{file} must be readable by you only, for it is the password of your clusters, "
                f"but has mode {mode:o}: chmod 600 {shlex.quote(str(file))}"
            )
    os.environ.setdefault("RAY_AUTH_MODE", "token")
