"""What a mirrored run consists of, and who writes it.

    writers/000002-9f8e7d6c.json               who wrote the run, in turn; the highest name is the writer, and its
                                               heartbeat: rewritten again and again, by itself alone
    manifests/000002-9f8e7d6c-00000017.json    all files at one moment; the highest name counts
    parts/epochs.jsonl~000002-9f8e7d6c-00000016~0-81920    contents; never changed, only removed

A manifest is written when all its parts are there, and parts are removed when a later manifest is there that does not
name them: whatever dies in between, the highest manifest names only parts that exist. A writer that was overtaken may
still put objects, but under names that are lower than its successor's.
"""

import hashlib
import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from tuner.errors import SearchError
from tuner.run.mirror.bucket import Bucket

FORMAT = "crystune mirror 1"
WRITERS, MANIFESTS, PARTS = "writers", "manifests", "parts"


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """Consecutive bytes of a file, in an object of their own."""

    name: str
    size: int
    sha256: str


Files = Mapping[str, Sequence[Part]]
"""Parts of each file, in order; paths are relative to the run."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """The files of a run at one moment."""

    name: str
    """Of its object, which begins with its writer."""
    files: Files

    @property
    def writer(self) -> str:
        """Who wrote it."""
        return self.name.rpartition("-")[0]


def size_of(parts: Iterable[Part]) -> int:
    """Bytes in all."""
    return sum(part.size for part in parts)


def new_writer(others: Iterable[str]) -> str:
    """A name higher than all others."""
    turn = 1 + max((int(name[:6]) for name in others), default=0)
    return f"{turn:06d}-{secrets.token_hex(4)}"


def writers(bucket: Bucket) -> dict[str, float]:
    """When each writer last sent a heartbeat, by the storage's clock."""
    return {name.removesuffix(".json"): moment for name, moment in bucket.names(WRITERS).items()}


def read_heartbeat(bucket: Bucket, writer: str) -> dict[str, Any]:
    """The last heartbeat of a writer; empty if it cannot be read."""
    try:
        content = json.loads(bucket.get(f"{WRITERS}/{writer}.json"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def process_of(heartbeat: Mapping[str, Any]) -> str:
    """Which process sent it, for a message."""
    return f"process {heartbeat.get('process', '?')} on {heartbeat.get('host', 'another machine')}"


def part_name(path: str, manifest: str, start: int, end: int) -> str:
    """Name of the part of a file that is first named by a manifest."""
    return f"{path.replace('/', '~')}~{manifest}~{start}-{end}"


def writer_of_part(name: str) -> str:
    """Who put it."""
    return name.split("~")[-2].rpartition("-")[0]


def encode(manifest: Manifest) -> bytes:
    """The object of a manifest, with a checksum over it."""
    files = {path: [[part.name, part.size, part.sha256] for part in parts] for path, parts in manifest.files.items()}
    content = json.dumps({"format": FORMAT, "files": files}, separators=(",", ":"))
    return f"{hashlib.sha256(content.encode()).hexdigest()}\n{content}\n".encode()


def decode(name: str, content: bytes) -> Manifest:
    """Read an object; a ValueError if it is damaged, a SearchError if it holds what a run cannot hold."""
    checksum, _, rest = content.partition(b"\n")
    rest = rest.rstrip(b"\n")
    if hashlib.sha256(rest).hexdigest().encode() != checksum:
        raise ValueError("checksum does not match")
    read = json.loads(rest)
    if read["format"] != FORMAT:
        raise SearchError(f"the mirror of a run must have the format {FORMAT!r}, got {read['format']!r}")
    files = {}
    for path, parts in read["files"].items():
        if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
            raise SearchError(f"a mirrored run must hold files below its folder, got {path!r}")
        files[path] = [Part(name=part, size=size, sha256=digest) for part, size, digest in parts]
    return Manifest(name=name, files=files)


def newest_manifest(bucket: Bucket) -> Manifest | None:
    """The manifest that counts: the highest that is whole; None if there is none."""
    for name in sorted(bucket.names(MANIFESTS), reverse=True):
        try:
            return decode(name.removesuffix(".json"), bucket.get(f"{MANIFESTS}/{name}"))
        except (FileNotFoundError, ValueError):  # removed since it was listed, or torn
            continue
    return None
