"""Fixtures that every test may use: the project's folders, the data beside it, stores built from the sample."""

import csv
import gzip
import importlib
import os
import shutil
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

import tests.shapecheck

# Before anything of them is imported: whoever calls a function with an array of another shape than it states is told.
install_import_hook(["graphdb", "model"], f"{tests.shapecheck.__name__}.check")

from tests.cluster.lab import Lab  # noqa: E402

# Before torch is imported anywhere: many small tests on few cores are faster, and reproducible, with one thread.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

REPOSITORY = Path(__file__).resolve().parents[1]
SHARED_DATA = REPOSITORY.parent / "shared" / "data"
SAMPLE = REPOSITORY / "graphdb" / "sample" / "cubic_pbe.csv.gz"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip, with the reason, what this machine has no data or device for."""
    for item in items:
        if item.get_closest_marker("data") and not SHARED_DATA.is_dir():
            item.add_marker(pytest.mark.skip(reason="needs ../shared/data (not part of the repository)"))
        if item.get_closest_marker("gpu") and not importlib.import_module("torch").cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
        for marker in item.iter_markers("needs"):
            if missing := [program for program in marker.args if shutil.which(program) is None]:
                item.add_marker(pytest.mark.skip(reason=f"needs {', '.join(missing)} on the PATH"))
        if item.get_closest_marker("lab") and (reason := Lab.unavailable()) is not None:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder ../shared/data; use with the marker ``data``, which skips where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip("needs ../shared/data (not part of the repository)")
    return SHARED_DATA


@pytest.fixture(scope="session")
def sample_csv() -> Path:
    return SAMPLE


@pytest.fixture(scope="session")
def sample_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of all crystals of the sample."""
    store = tmp_path_factory.mktemp("sample") / "sample.lmdb"
    return build_store(SAMPLE, store)


@pytest.fixture(scope="session")
def small_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of 64 crystals of the sample, for tests that train."""
    folder = tmp_path_factory.mktemp("small")
    source = folder / "small.csv"
    with gzip.open(SAMPLE, "rt", newline="") as lines:
        rows = list(csv.reader(lines))
    with source.open("w", newline="") as file:
        csv.writer(file).writerows([rows[0], *rows[1:-1:11][:64]])
    return build_store(source, folder / "small.lmdb")


def build_store(source: Path, store: Path) -> Path:
    build = importlib.import_module("graphdb.build")
    assert build.main([str(source), str(store)]) == 0, f"graphdb.build failed on {source}"
    return store
