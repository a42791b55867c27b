"""The files around a store, and where they lie."""

import os
from pathlib import Path

_NETWORK_FILE_SYSTEMS = (
    *("nfs", "cifs", "smb", "lustre", "gpfs", "beegfs", "ceph", "glusterfs", "wekafs", "afs"),
    *("fuse.sshfs", "fuse.s3fs", "fuse.gcsfuse", "fuse.glusterfs", "fuse.juicefs", "fuse.rclone", "fuse.ceph"),
)


def partial_path(path: Path) -> Path:
    """Where the work of an unfinished build lies."""
    return path.with_name(path.name + ".partial")


def skipped_path(path: Path) -> Path:
    """The CSV beside a store that lists what was left out."""
    return path.with_name(path.name + ".skipped.csv")


def sync_folder(folder: Path) -> None:
    """Make a rename survive a power failure."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def network_file_system(path: Path) -> str:
    """The type of the network file system that a path lies on; empty if it is local, or not to be told (no /proc)."""
    try:
        mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    except OSError:
        return ""
    real = os.path.realpath(path)
    best = max(
        ((entry[1], entry[2]) for entry in mounts if real == entry[1] or real.startswith(entry[1].rstrip("/") + "/")),
        key=lambda mount: len(mount[0]),
        default=("", ""),
    )
    return best[1] if best[1].startswith(_NETWORK_FILE_SYSTEMS) else ""
