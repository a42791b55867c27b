"""The sample that ships: 715 cubic crystals with DFT properties, for first steps and tests (see README.md beside)."""

import hashlib
import os
import stat
import tempfile
from pathlib import Path

TASKS = ("formation_energy_per_atom", "band_gap", "fermi_energy")


def sample_csv() -> Path:
    """The table of crystals; `graphdb.build` reads it."""
    return Path(__file__).with_name("cubic_pbe.csv.gz")


def sample_path(cache: Path) -> Path:
    """Where in a cache folder the store lies: its name tells the format and the content of all that decides it."""
    from graphdb.fingerprint import FORMAT_VERSION

    recipe = b"".join([str(FORMAT_VERSION).encode(), _source_code(), sample_csv().read_bytes()])
    return cache / f"sample-{hashlib.blake2b(recipe, digest_size=6).hexdigest()}.store"


def sample_store(cache: Path | None = None) -> Path:
    """The store of the sample with default graphs, built on first use (one second) and verified at each.

    Args:
        cache: folder for it; by default ``crystune`` in $XDG_CACHE_HOME if that is set, or else ``crystune-UID`` in the
                temporary folder, or else ``crystune`` in ~/.cache.

    Raises:
        StoreError: if no such folder can be written to.
    """
    from graphdb.errors import StoreError

    folders = [cache] if cache is not None else _cache_folders()
    problems = []
    for folder in folders:
        path = sample_path(folder)
        try:
            if not _is_sound(path):
                _build(path)
            return path
        except (OSError, StoreError) as error:
            problems.append(f"{folder}: {getattr(error, 'strerror', None) or error}")
    raise StoreError(f"cannot write the sample's store in {'; nor in '.join(problems)}; set XDG_CACHE_HOME") from None


def _is_sound(path: Path) -> bool:
    from graphdb.errors import StoreError
    from graphdb.store import Store

    try:
        with Store(path) as store:
            store.verify()
    except (StoreError, OSError):
        return False
    return True


def _build(path: Path) -> None:
    from graphdb.build import build_store

    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as place:  # several processes may build it at once
        built = Path(place) / path.name
        build_store(sample_csv(), built, num_workers=1)
        os.replace(built, path)


def _source_code() -> bytes:
    """Of `graphdb`: in a working copy the graphs may change without any version."""
    return b"".join(path.read_bytes() for path in sorted(Path(__file__).parents[1].glob("*.py")))


def _cache_folders() -> list[Path]:
    """Where the user says; else a temporary folder, for it is built in a second, and nothing is left in HOME."""
    if named := os.environ.get("XDG_CACHE_HOME"):
        home = [Path(named) / "crystune"]
    else:
        home = [Path(os.path.expanduser("~/.cache/crystune"))]
    try:
        temporary = [Path(tempfile.gettempdir()) / f"crystune-{os.getuid()}"]
        temporary[0].mkdir(mode=0o700, exist_ok=True)
        found = temporary[0].lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():  # whoever made it may put anything there
            temporary = []
    except OSError:
        temporary = []
    return [*home, *temporary] if named else [*temporary, *home]
