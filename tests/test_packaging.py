"""What `pip install` brings along: all package data, all dependencies, each pinned and accounted for."""

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

PACKAGES = ("graphdb", "model", "tuner")


@pytest.fixture(scope="module")
def project(repository: Path) -> dict[str, Any]:
    with (repository / "pyproject.toml").open("rb") as file:
        return tomllib.load(file)


@pytest.mark.slow
def test_wheel_contains_every_file_of_the_packages(repository: Path, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(repository / name, tree)
    for name in PACKAGES:
        shutil.copytree(repository / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w"]
    result = subprocess.run([*command, str(tmp_path), str(tree)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    (wheel,) = tmp_path.glob("crystune-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        shipped = set(archive.namelist())
    expected = {str(file.relative_to(tree)) for name in PACKAGES for file in (tree / name).rglob("*") if file.is_file()}
    assert expected - shipped == set()
    assert any(name.endswith("licenses/LICENSE") for name in shipped)
    assert "graphdb/sample/cubic_pbe.csv.gz" in shipped
    assert "tuner/space/builtin/table5.toml" in shipped
    top_level = {name.partition("/")[0] for name in shipped if ".dist-info/" not in name}
    assert top_level == set(PACKAGES)


def requirement_lines(repository: Path) -> list[tuple[str, str]]:
    """(name, comment) of every requirement in pyproject.toml."""
    text = (repository / "pyproject.toml").read_text(encoding="utf-8")
    head, _, _ = text.partition("[tool.setuptools")
    return re.findall(
        r'^[^#\n]*?"([\w-]+)(?:\[\w+\])?>=[\d.]+(?:,<[\d.]+)?"[^#\n]*(?:#\s*(.*))?$', head, flags=re.MULTILINE
    )


def test_every_requirement_says_who_needs_it_and_the_named_files_exist(repository: Path) -> None:
    requirements = requirement_lines(repository)
    assert {"lmdb", "optuna", "ray", "torch", "pytest"} <= {name for name, _ in requirements}
    for name, comment in requirements:
        if name == "setuptools" and not comment:
            continue  # the build backend
        assert comment, f"{name}: say which file needs it"
        for path in re.findall(r"(?:graphdb|model|tuner|tests)/[\w/]*\w\.py", comment):
            assert (repository / path).is_file(), f"{name}: {path} is not there"


def test_constraints_pin_every_requirement_to_one_version(repository: Path) -> None:
    lines = (repository / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", pin) for pin in pins)
    names = [pin.partition("==")[0].lower().replace("_", "-") for pin in pins]
    assert len(set(names)) == len(names)
    missing = {name.lower() for name, _ in requirement_lines(repository)} - set(names)
    assert missing == set()


def test_package_data_patterns_match_something(repository: Path, project: dict[str, Any]) -> None:
    data: dict[str, list[str]] = project["tool"]["setuptools"]["package-data"]
    for package, patterns in data.items():
        for pattern in patterns:
            assert any((repository / package).glob(pattern)), f"{package}: nothing matches {pattern}"
