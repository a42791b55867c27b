"""Files: those around a store, locks, whole-or-nothing writes, what compressed ones hold, and where they lie."""

import bz2
import fcntl
import gzip
import lzma
import os
import secrets
import time
import zlib
from contextlib import suppress
from pathlib import Path
from typing import IO

UNFINISHED = ".crystune-"
"""How the names of files and folders begin that have not got their own yet."""

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


#: What reading a compressed file may raise.
READ_ERRORS = (OSError, EOFError, zlib.error, lzma.LZMAError)


def decompressed(raw: IO[bytes]) -> IO[bytes]:
    """The stream within gzip, bzip2 or xz, told by its first bytes; the file itself if it is none of them."""
    magic = raw.read(6)
    raw.seek(0)
    if magic[:2] == b"\x1f\x8b":
        return gzip.open(raw)  # type: ignore[return-value]
    if magic[:3] == b"BZh":
        return bz2.open(raw)
    if magic == b"\xfd7zXZ\x00":
        return lzma.open(raw)
    return raw


def utf_16_without_mark(head: bytes) -> str:
    """The encoding of a text in UTF-16 that does not begin with a byte order mark; empty if it is none."""
    for encoding, zeros in (("utf-16-le", head[1:400:2]), ("utf-16-be", head[0:400:2])):
        if len(zeros) > 2 and zeros.count(0) > 0.9 * len(zeros) and head[:400].count(0) < 0.6 * len(head[:400]):
            return encoding
    return ""


def hold(path: Path, *, wait: bool = False) -> IO[str] | None:
    """Lock a file for this process, and for those that inherit it; the lock ends with them, however they end.

    Args:
        path: made if it is not there; its folder must be.
        wait: until no other process holds it.

    Returns:
        The file, to write to its end and to close when the lock shall end; None while another process holds it.

    Raises:
        OSError: if the file cannot be opened or its file system has no locks.
    """
    pauses = iter((0.1, 0.4))  # for one that just asks `is_held`
    while True:
        file = path.open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                    return file
            file.close()  # its holder took it away after it was opened here
        except BlockingIOError:
            file.close()
            pause = next(pauses, None)
            if pause is None:
                return None
            time.sleep(pause)
        except BaseException:
            file.close()
            raise


def is_held(path: Path) -> bool:
    """Whether a living process of this machine holds a file locked, as a build holds its partial file."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def write_atomically(path: Path, data: bytes | bytearray) -> None:
    """Replace `path` by a file with this content; readers see the old one or the new one, a power cut included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{UNFINISHED}{path.name}.{secrets.token_hex(4)}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)  # less what the umask takes away
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


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
