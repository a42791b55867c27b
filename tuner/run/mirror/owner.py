"""Where a local folder of a mirrored run comes from: noted in the folder, decides which of the two is newer."""

import json
from pathlib import Path

from tuner.run import jsonlines
from tuner.run.mirror.manifest import Manifest, begins_with
from tuner.run.mirror.snapshot import OWN_FOLDER, is_log


def write_owner(folder: Path, *, writer: str, base: str) -> None:
    """Note in a local folder who mirrors it, and from which manifest it comes."""
    jsonlines.write_json(folder / OWN_FOLDER / "owner.json", {"writer": writer, "base": base})


def read_owner(folder: Path) -> dict[str, str]:
    """What `write_owner` noted; empty if there is nothing."""
    try:
        content: dict[str, str] = json.loads((folder / OWN_FOLDER / "owner.json").read_text())
    except (OSError, ValueError):
        return {}
    return content


def comes_from(folder: Path, manifest: Manifest) -> bool:
    """Whether a local folder is the moment of a manifest or a later one of the same search.

    Its logs must hold what the manifest's do, too: a machine that lost power may have lost lines. The journal for
    optuna-dashboard may not: it is made anew at each start.
    """
    owner = read_owner(folder)
    if manifest.name != owner.get("base") and manifest.writer != owner.get("writer"):
        return False
    return all(begins_with(folder / path, parts) for path, parts in manifest.files.items() if is_log(path))
