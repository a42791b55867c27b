"""The sample that ships: 715 cubic crystals with DFT properties, for first steps and tests (see README.md beside)."""

import hashlib
import os
import tempfile
from pathlib import Path

TASKS = ("formation_energy_per_atom", "band_gap", "fermi_energy")


def sample_csv() -> Path:
    """The table of crystals; `graphdb.build` reads it."""
    return Path(__file__).with_name("cubic_pbe.csv.gz")


def sample_store(cache: Path | None = None) -> Path:
    """The store of the sample with default graphs, built on first use (one second).

    Args:
        cache: folder for it; by default ``crystune`` in the user's cache folder.

    Raises:
        StoreError: if the folder cannot be written.
    """
    from graphdb.build import build_store
    from graphdb.errors import StoreError
    from graphdb.files import partial_path
    from graphdb.fingerprint import FORMAT_VERSION
    from graphdb.graph import GraphSettings

    folder = cache if cache is not None else _cache_folder()
    recipe = f"{FORMAT_VERSION} {sorted(GraphSettings().as_dict().items())}".encode() + sample_csv().read_bytes()
    path = folder / f"sample-{hashlib.blake2b(recipe, digest_size=6).hexdigest()}.store"
    if path.exists():
        return path
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as place:  # several processes may build it at once
            built = Path(place) / path.name
            build_store(sample_csv(), built, num_workers=1)
            assert not partial_path(built).exists()
            os.replace(built, path)
    except OSError as error:
        raise StoreError(
            f"cannot write the sample's store in {folder}: {error.strerror}; set XDG_CACHE_HOME"
        ) from error
    return path


def _cache_folder() -> Path:
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "crystune"
