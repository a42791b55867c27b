"""What a mirrored run consists of, and who writes it.

    writers/000002-9f8e7d6c.json               who wrote the run, in turn; the highest name is the writer, rewritten by
                                               itself alone as a sign of life
    manifests/000002-9f8e7d6c-00000017.json    all files of one moment; the highest name counts
    parts/epochs.jsonl~000002-9f8e7d6c-00000016~0-81920    contents; never changed, only removed

A manifest is written when all its parts are there, and parts are removed when a later manifest is there that does not
name them: whatever dies in between, the highest manifest names only parts that exist. A writer that was overtaken may
still put objects, but under names that are lower than its successor's.
"""

import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from tuner.errors import SearchError
from tuner.run.mirror.bucket import Bucket

FORMAT = "crystune mirror 1"
WRITERS, MANIFESTS, PARTS = "writers", "manifests", "parts"
_CHUNK = 1 << 20


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
    """Of its object; empty before the first one."""
    files: Files

    @property
    def writer(self) -> str:
        """Who wrote it."""
        return self.name.rpartition("-")[0]

    @property
    def num_bytes(self) -> int:
        """Size of all files."""
        return sum(size_of(parts) for parts in self.files.values())


def new_writer(others: Mapping[str, Any]) -> str:
    """A name higher than all others."""
    turn = 1 + max((int(name[:6]) for name in others), default=0)
    return f"{turn:06d}-{secrets.token_hex(4)}"


def writers(bucket: Bucket) -> dict[str, float]:
    """When each writer gave its last sign of life, by the storage's clock."""
    return {name.removesuffix(".json"): moment for name, moment in bucket.names(WRITERS).items()}


def read_writer(bucket: Bucket, writer: str) -> dict[str, Any]:
    """What a writer says of itself; empty if that cannot be read."""
    try:
        content = json.loads(bucket.get(f"{WRITERS}/{writer}.json"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def manifest_name(writer: str, number: int) -> str:
    """Name of a writer's manifest."""
    return f"{writer}-{number:08d}"


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
    """Read an object.

    Raises:
        ValueError: if it is damaged.
        SearchError: if it holds what a run cannot hold.
    """
    checksum, _, rest = content.partition(b"\n")
    rest = rest.rstrip(b"\n")
    if hashlib.sha256(rest).hexdigest().encode() != checksum:
        raise ValueError("checksum does not match")
    read = json.loads(rest)
    if read["format"] != FORMAT:
        raise SearchError(f"the mirror of a run must have the format {FORMAT!r}, got {read['format']!r}")
    for path in read["files"]:
        if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
            raise SearchError(f"a mirrored run must hold files below its folder, got {path!r}")
    files = {
        path: [Part(name=part, size=size, sha256=digest) for part, size, digest in parts]
        for path, parts in read["files"].items()
    }
    return Manifest(name=name, files=files)


def newest(bucket: Bucket) -> Manifest | None:
    """The manifest that counts: the highest that is whole; None if there is none.

    Raises:
        OSError: if the storage does not answer.
    """
    for name in sorted(bucket.names(MANIFESTS), reverse=True):
        try:
            return decode(name.removesuffix(".json"), bucket.get(f"{MANIFESTS}/{name}"))
        except (FileNotFoundError, ValueError):  # removed since it was listed, or torn
            continue
    return None


def begins_with(file: Path, parts: Sequence[Part]) -> bool:
    """Whether a file is there and begins with these parts."""
    try:
        with open(file, "rb") as stream:
            return all(_digest_of_next(stream, part.size) == part.sha256 for part in parts)
    except OSError:
        return False


def equals(file: Path, parts: Sequence[Part]) -> bool:
    """Whether a file is there and consists of these parts."""
    try:
        return file.stat().st_size == size_of(parts) and begins_with(file, parts)
    except OSError:
        return False


def size_of(parts: Sequence[Part]) -> int:
    """Bytes in all."""
    return sum(part.size for part in parts)


def _digest_of_next(stream: Any, size: int) -> str:
    digest = hashlib.sha256()
    while size > 0 and (chunk := stream.read(min(size, _CHUNK))):
        digest.update(chunk)
        size -= len(chunk)
    return digest.hexdigest() if size == 0 else ""
