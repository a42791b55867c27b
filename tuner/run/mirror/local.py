"""A local folder of a mirrored run: what it holds of a manifest, and where it comes from, which is noted in it.

That decides which of the two is newer.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from tuner.run import jsonlines
from tuner.run.mirror.objects import Manifest, Part, size_of
from tuner.run.mirror.snapshot import OWN_FOLDER, is_log

_CHUNK = 1 << 20


def has_begun(folder: Path) -> bool:
    """Whether there is a run in the folder."""
    return (folder / "run.json").exists()


def write_owner(folder: Path, *, writer: str, base: str) -> None:
    """Note who mirrors a folder, and from which manifest it comes."""
    jsonlines.write_json(folder / OWN_FOLDER / "owner.json", {"writer": writer, "base": base})


def read_owner(folder: Path) -> dict[str, str]:
    """What `write_owner` noted; empty if there is nothing."""
    try:
        content: dict[str, str] = json.loads((folder / OWN_FOLDER / "owner.json").read_text())
    except (OSError, ValueError):
        return {}
    return content


def comes_from(folder: Path, manifest: Manifest) -> bool:
    """Whether a folder is the moment of a manifest or a later one of the same search.

    Its logs must hold what the manifest's do, too: a machine that lost power may have lost lines. The journal for
    optuna-dashboard may not: it is made anew at each start.
    """
    owner = read_owner(folder)
    if manifest.name != owner.get("base") and manifest.writer != owner.get("writer"):
        return False
    return all(begins_with(folder / path, parts) for path, parts in manifest.files.items() if is_log(path))


def begins_with(file: Path, parts: Sequence[Part]) -> bool:
    """Whether a file is there and begins with these parts."""
    try:
        with open(file, "rb") as stream:
            return all(_digest_of_next(stream, part.size) == part.sha256 for part in parts)
    except OSError:
        return False


def equals(file: Path, parts: Sequence[Part]) -> bool:
    """Whether a file is there and consists of these parts."""
    return file.is_file() and file.stat().st_size == size_of(parts) and begins_with(file, parts)


def _digest_of_next(stream: BinaryIO, size: int) -> str:
    digest = hashlib.sha256()
    while size > 0 and (chunk := stream.read(min(size, _CHUNK))):
        digest.update(chunk)
        size -= len(chunk)
    return digest.hexdigest() if size == 0 else ""
