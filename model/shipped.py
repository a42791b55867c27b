"""Where a model lies: a checkpoint's folder, or the name of one that ships. Loads nothing."""

import shlex
from importlib.resources import files
from pathlib import Path

from graphdb.command import did_you_mean, invocation
from model.errors import CheckpointError

WEIGHTS, CONFIG = "model.safetensors", "config.json"
NEXT_CONFIG = CONFIG + ".next"
"""The configuration of weights that are about to be replaced: a kill between the two leaves a whole folder."""
STATE = "state.safetensors"
"""Of a training that has not ended."""


def shipped_models() -> list[str]:
    """Names of the models inside the package."""
    folder = files("model").joinpath("models")
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir()) if folder.is_dir() else []


def find_weights(model: str | Path) -> Path:
    """The weights file of a checkpoint.

    Args:
        model: the folder, the weights file in it, or the name of a model that ships.

    Raises:
        CheckpointError: if there is none; says what is there instead.
    """
    if not str(model).strip():
        raise CheckpointError(f"a model must be a checkpoint folder or a model that ships, got {str(model)!r}")
    path = Path(model)
    shipped = shipped_models()
    if not path.exists() and str(model) in shipped:
        path = Path(str(files("model").joinpath("models", str(model))))
    if path.is_file() and path.name == WEIGHTS:
        return path
    if (path / WEIGHTS).is_file():
        return path / WEIGHTS
    if not path.exists():
        what = f"which is not there{did_you_mean(str(model), [*shipped, *_folders_beside(path)])}"
    elif path.is_file() and (path.parent / WEIGHTS).is_file():
        what = f"which is a file of one; give the folder {path.parent}"
    elif path.is_file():
        what = "which is a file of another kind; the model comes before what is read"
    elif (path / "run.json").exists():
        what = f"which is a search; {invocation('tuner.export')} {shlex.quote(str(path))} -o DIR makes a model of it"
    elif (path / STATE).is_file():
        what = (
            "which is a training that has not ended, so there is no model yet; if it was interrupted, "
            f"{invocation('model.train')} with the arguments that it had goes on after its last finished epoch"
        )
    else:
        what = f"which has no {WEIGHTS}; tuner.export and model.train write such folders"
    names = ", ".join(shipped) or "none"
    raise CheckpointError(f"a model must be a checkpoint folder or a model that ships ({names}), got {path}, {what}")


def _folders_beside(path: Path) -> list[str]:
    """Checkpoints in the same folder, as the user would name them."""
    parent = path.parent
    try:
        return [str(parent / entry.name) for entry in parent.iterdir() if (entry / WEIGHTS).is_file()]
    except OSError:
        return []
