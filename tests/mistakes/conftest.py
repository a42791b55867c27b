"""The stage, once for all mistakes."""

from pathlib import Path

import pytest

from tests.mistakes.stage import build_stage


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of `build_stage`, to be copied."""
    return build_stage(tmp_path_factory.mktemp("stage"))
