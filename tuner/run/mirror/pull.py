"""Gets a mirrored run into a local folder: whole and verified, or not at all."""

import hashlib
import shutil
import socket
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tuner.errors import SearchError
from tuner.run.mirror import objects
from tuner.run.mirror.background import INTERVAL
from tuner.run.mirror.bucket import AT_A_TIME, Bucket, join
from tuner.run.mirror.local import comes_from, equals, has_begun, read_owner, write_owner
from tuner.run.mirror.objects import MANIFESTS, PARTS, Files, Manifest, Part, size_of

_ATTEMPTS = 5
"""A run that is being searched moves on while it is read; what was read already is kept."""
_DEAD_AFTER = 3 * INTERVAL
"""Seconds without a heartbeat after which a writer counts as dead: two intervals and an upload."""
_LONG_AGO = 600.0
"""Seconds so long that clocks apart do not matter."""

Say = Callable[[str], None]


def pull(uri: str, local: Path, want: Callable[[str], bool] = lambda path: True, *, keep_old: bool = False) -> Manifest:
    """Make a local folder hold the newest moment of a run. What it holds unchanged is not read again.

    Args:
        uri: of the run.
        local: folder to make or to replace.
        want: which files, by their path in the run.
        keep_old: keep what the folder was, beside it under ``.before``.

    Returns:
        What the run consists of.

    Raises:
        SearchError: if there is no run, or files of it are missing or damaged; the local folder is left as it was.
    """
    bucket = Bucket(uri)
    staging = local.with_name(f".{local.name}.pulling")
    found: Manifest | None = None
    bad: list[str] = []
    for _ in range(_ATTEMPTS):
        before, found = found, objects.newest_manifest(bucket)
        if found is None or (before is not None and found.name == before.name):
            break  # nothing new: another attempt would find the same
        files = {path: parts for path, parts in found.files.items() if want(path)}
        bad = _fetch_all(bucket, files, staging, local)
        if not bad:
            _put_in_place(staging, local, found, keep_old)
            return found
    if found is None:
        raise SearchError(f"a mirrored run must be at {uri}, but there is none (no manifest)")
    raise SearchError(
        f"{uri} must hold all {len(found.files)} files of the run, but {len(bad)} are missing or damaged, the first "
        f"is {bad[0]}; restore them from the bucket's versions, or go on where the run was searched"
    )


def pull_to_resume(uri: str, local: Path, say: Say, *, watch: float = _DEAD_AFTER) -> None:
    """Make a local folder hold what a search goes on from, once no other search writes to the run.

    A second search could take the run over at once without harm to the files, but it would end one that may be doing
    well: a SearchError says so. A dead one is told from a living one by watching, not by the clocks of two machines.
    """
    bucket = Bucket(uri)
    _check_no_writer(bucket, local, say, watch)
    newest = objects.newest_manifest(bucket)
    if comes_from(local, newest) if newest is not None else has_begun(local):
        return  # the search ran here: what it had not yet mirrored, if anything, is here as well
    existed = local.exists()
    found = pull(uri, local, keep_old=True)
    num_bytes = sum(map(size_of, found.files.values()))
    say(f"Read {num_bytes / 1e6:,.1f} MB of {uri} into {local}")
    if existed:
        say(f"  (the older state that was there is now {local.name}.before)")


def is_there(uri: str) -> bool:
    """Whether a run was begun at a URI."""
    bucket = Bucket(uri)
    return bool(objects.writers(bucket) or bucket.names(MANIFESTS))


def latest_run(uri: str) -> str | None:
    """Name of the run below a URI that was mirrored last, or None."""
    heartbeats = {name: objects.writers(Bucket(join(uri, name))) for name in Bucket(uri).folders()}
    latest = {name: max(moments.values()) for name, moments in heartbeats.items() if moments}
    return max(latest, key=latest.__getitem__, default=None)


def is_being_written(bucket: Bucket) -> bool:
    """Whether the writer of a run sent a heartbeat lately; needs clocks that agree to a minute."""
    heartbeats = objects.writers(bucket)
    if not heartbeats:
        return False
    latest = max(heartbeats)
    recent = time.time() - heartbeats[latest] < 2 * _DEAD_AFTER
    return recent and not objects.read_heartbeat(bucket, latest).get("ended")


def _check_no_writer(bucket: Bucket, local: Path, say: Say, watch: float) -> None:
    """Wait, if the last heartbeat is not old, for whether there is another one."""
    heartbeats = objects.writers(bucket)
    if not heartbeats:
        return
    latest = max(heartbeats)
    heartbeat = objects.read_heartbeat(bucket, latest)
    if heartbeat.get("ended") or abs(time.time() - heartbeats[latest]) > _LONG_AGO:
        return
    if read_owner(local).get("writer") == latest and heartbeat.get("host") == socket.gethostname():
        return  # it ran in this folder, whose lock is free
    who = objects.process_of(heartbeat)
    say(f"{bucket.uri} was written to a moment ago by {who}; watching for {watch:.0f} s whether it still is ...")
    until = time.monotonic() + watch
    while time.monotonic() < until:
        time.sleep(min(1.0, watch))
        if objects.writers(bucket) != heartbeats:
            raise SearchError(
                f"a run must have one writer, but {who} is searching in {bucket.uri}; "
                "wait for it, stop it with Ctrl-C, or choose another --name"
            )


def _fetch_all(bucket: Bucket, files: Files, staging: Path, local: Path) -> list[str]:
    """Bring the staging folder to these files; returns those that cannot be had."""
    staging.mkdir(parents=True, exist_ok=True)
    for old in [path for path in staging.rglob("*") if path.is_file()]:
        if old.relative_to(staging).as_posix() not in files:
            old.unlink()
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        good = pool.map(lambda path: _fetch(bucket, files[path], staging / path, local / path), files)
        return [path for path, is_good in zip(files, good, strict=True) if not is_good]


def _fetch(bucket: Bucket, parts: Sequence[Part], target: Path, known: Path) -> bool:
    if equals(target, parts):
        return True
    target.parent.mkdir(parents=True, exist_ok=True)
    if equals(known, parts):
        shutil.copyfile(known, target)
        return equals(target, parts)
    with open(target, "wb") as file:
        for part in parts:
            try:
                content = bucket.get(f"{PARTS}/{part.name}")
            except FileNotFoundError:
                return False
            if hashlib.sha256(content).hexdigest() != part.sha256:
                return False
            file.write(content)
    return True


def _put_in_place(staging: Path, local: Path, manifest: Manifest, keep_old: bool) -> None:
    for folder in sorted((path for path in staging.rglob("*") if path.is_dir()), reverse=True):
        if not any(folder.iterdir()):
            folder.rmdir()
    write_owner(staging, writer="", base=manifest.name)
    before = local.with_name(f"{local.name}.before")
    if local.exists():
        shutil.rmtree(before, ignore_errors=True)
        local.replace(before)
    staging.replace(local)
    if not keep_old:
        shutil.rmtree(before, ignore_errors=True)
