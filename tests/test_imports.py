"""What may be imported where, proven by interpreters in which the forbidden packages are not to be had.

The import contract in pyproject.toml sees every import statement but not whether it stands inside a function; these
tests see what an import really loads.
"""

import ast
import importlib
import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from tuner.cli import COMMANDS

PROGRAM = """
import importlib, json, sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ModuleNotFoundError(f"{name} must not be imported here", name=name)

modules, blocked = json.loads(sys.argv[1])
sys.meta_path.insert(0, Blocker())
failures = {}
for module in modules:
    try:
        importlib.import_module(module)
    except ImportError as error:
        failures[module] = str(error)
json.dump({"failures": failures, "loaded": sorted({name.partition(".")[0] for name in sys.modules})}, sys.stderr)
"""


def modules_of(package: Path) -> list[str]:
    """Dotted names of all modules of a package, itself included."""
    files = sorted(package.rglob("*.py"))
    names = [".".join(file.relative_to(package.parent).with_suffix("").parts) for file in files]
    return [name.removesuffix(".__init__") for name in names]


def import_in_fresh_process(modules: Iterable[str], blocked: Iterable[str], repository: Path) -> set[str]:
    """Import the modules where the blocked packages are missing; returns the top-level packages that were loaded."""
    command = [sys.executable, "-W", "error", "-c", PROGRAM, json.dumps([list(modules), list(blocked)])]
    process = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert process.stdout == "", f"importing printed: {process.stdout}"
    assert process.returncode == 0, process.stderr
    report = json.loads(process.stderr)
    assert report["failures"] == {}
    return set(report["loaded"])


def test_every_module_of_model_imports_without_the_packages_it_must_not_need(repository: Path) -> None:
    modules = modules_of(repository / "model")
    assert "model.network" in modules
    loaded = import_in_fresh_process(modules, ["lmdb", "optuna", "pymatgen", "ray"], repository)
    assert "tuner" not in loaded


def test_model_loads_of_graphdb_only_the_batch_and_its_settings(repository: Path) -> None:
    program = "import sys, model.network, model.training; print(*[m for m in sys.modules if m.startswith('graphdb')])"
    process = subprocess.run(
        [sys.executable, "-c", program], cwd=repository, capture_output=True, text=True, check=True
    )
    assert set(process.stdout.split()) <= {
        *("graphdb", "graphdb.batch", "graphdb.graph"),
        # standard library only:
        *(
            "graphdb.command",
            "graphdb.errors",
            "graphdb.files",
            "graphdb.records",
            "graphdb.shapes",
            "graphdb.versions",
        ),
    }


def test_graphdb_itself_imports_with_numpy_alone(repository: Path) -> None:
    import_in_fresh_process(["graphdb"], ["lmdb", "optuna", "pymatgen", "ray", "torch"], repository)


def test_every_module_of_graphdb_imports_without_the_packages_of_the_search(repository: Path) -> None:
    modules = modules_of(repository / "graphdb")
    loaded = import_in_fresh_process(modules, ["optuna", "ray"], repository)
    assert loaded.isdisjoint({"model", "tuner"})


@pytest.mark.parametrize(
    ("package", "modules"),
    [
        (
            "optuna",
            [
                "tuner.trials.stopping.asha",
                "tuner.space.toml",
                "tuner.trials.bookkeeper",
                "tuner.trainer_factory",
                "tuner.cluster.worker",
            ],
        ),
        (
            "ray",
            ["tuner.trials.stopping.asha", "tuner.space.toml", "tuner.study.study", "tuner.report", "tuner.export"],
        ),
    ],
)
def test_modules_of_the_search_import_without_the_package_that_others_wrap(
    package: str, modules: list[str], repository: Path
) -> None:
    import_in_fresh_process(modules, [package], repository)


@pytest.mark.parametrize("module", ["model", "model.train", "model.predict", "model.evaluate", "model.import_cgcnn"])
def test_commands_of_model_answer_before_anything_heavy_is_loaded(module: str, repository: Path) -> None:
    loaded = import_in_fresh_process([module], ["torch", "numpy", "safetensors", "lmdb", "pymatgen"], repository)
    assert "rich" not in loaded


SLOW = {
    *("gemmi", "jsonschema", "lmdb", "matplotlib", "numba", "numpy", "optuna", "pyarrow", "pymatgen", "ray", "rich"),
    *("safetensors", "torch"),
}


@pytest.mark.parametrize("module", ["tuner.cli", *(module for module, _ in COMMANDS.values())])
def test_help_of_every_command_loads_no_package_that_takes_time(module: str, repository: Path) -> None:
    program = (
        "import runpy, sys\n"
        "sys.argv = [sys.argv[1], '--help']\n"
        "try:\n"
        "    runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)\n"
        "finally:\n"
        "    print(*sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)\n"
    )
    command = [sys.executable, "-c", program, module]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("usage: ")
    assert not set(done.stderr.split()) & SLOW


def test_names_of_model_are_all_there() -> None:
    model = importlib.import_module("model")
    assert all(getattr(model, name).__name__ == name for name in model.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Trainr'"):
        _ = model.Trainr


def imports_of(module: str, file: Path, modules: Iterable[str]) -> set[str]:
    """Modules of ours that a file imports anywhere, functions and type checking included."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            inside = (f"{node.module}.{alias.name}" for alias in node.names)
            found.update(name if name in modules else node.module for name in inside)
    return (found & set(modules)) - {module}


def test_no_imports_run_in_a_circle(repository: Path) -> None:
    files = {
        ".".join(file.relative_to(repository).with_suffix("").parts).removesuffix(".__init__"): file
        for package in ("graphdb", "model", "tuner")
        for file in (repository / package).rglob("*.py")
    }
    open_imports = {module: imports_of(module, file, files) for module, file in files.items()}
    while ready := {module for module, imports in open_imports.items() if not imports}:
        open_imports = {module: found - ready for module, found in open_imports.items() if module not in ready}
    assert open_imports == {}, "each of these imports another of them"
