"""What of Ray we use that Ray does not promise, by name: where a new version lacks one, the message says what broke."""

import ast
import importlib
import inspect
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from tuner.cluster import session

pytestmark = pytest.mark.ray

ADDRESS = "a search with --address hangs where nothing answers"
SILENCE = "lines of Ray appear between those of the search"
TOKEN = "a search writes Ray's token into HOME, or dies where it cannot"
SMALL = "a search on one machine cannot start its Ray with few processes"
WORKERS = "a search on one machine hangs where there is no bash on the PATH"
SHADOWED = "workers run a model.py of the user's where one searches beside it"
SCORER = "the autoscaler asks for spot capacity that the cloud has just refused"
PREFLIGHT = "tuner.preflight cannot validate a cluster file"
FAILURES = "the text of a trial's exception is lost"
LOOP = "tuner.cluster.executor cannot drive Tune's loop"

NEEDED: list[tuple[str, str, tuple[str, ...] | None, str]] = [
    ("ray._private.services", "canonicalize_bootstrap_address", ("addr",), ADDRESS),
    ("ray._raylet", "GcsClient", None, ADDRESS),
    ("ray._private.ray_logging", "stdout_deduplicator.skip_re", None, SILENCE),
    ("ray._private.ray_logging", "stderr_deduplicator.skip_re", None, SILENCE),
    ("ray._raylet", "Config.initialize", None, TOKEN),
    ("ray._raylet", "AuthenticationTokenLoader.instance", None, TOKEN),
    ("ray._raylet", "AuthenticationTokenLoader.reset_cache", None, TOKEN),
    ("ray._private.node", "Node.__init__", ("self", "ray_params"), SMALL),
    ("ray._private.node", "Node.start_api_server", ("self", "include_dashboard"), SMALL),
    ("ray._private.parameter", "RayParams.__init__", ("self", "no_monitor", "include_log_monitor"), SMALL),
    ("ray._private.services", "get_node", ("gcs_address", "node_id"), SMALL),
    ("ray._private.services", "_get_gcs_client_options", ("gcs_server_address",), SMALL),
    ("ray._private.state", "GlobalState._initialize_global_state", ("self", "gcs_options"), SMALL),
    ("ray._private.state", "GlobalState.node_table", ("self",), SMALL),
    ("ray.tune.execution.class_cache", "_ActorClassCache.get", ("self", "trainable_cls"), WORKERS),
    ("ray.tune.execution.tune_controller", "_ActorClassCache", None, WORKERS),
    ("ray.job_config", "JobConfig.__init__", ("self", "_py_driver_sys_path"), SHADOWED),
    (
        "ray.autoscaler._private.resource_demand_scheduler",
        "_default_utilization_scorer",
        ("node_resources", "resources", "node_type", "node_availability_summary"),
        SCORER,
    ),
    ("ray.autoscaler._private.util", "prepare_config", ("config",), PREFLIGHT),
    ("ray.autoscaler._private.util", "validate_config", ("config",), PREFLIGHT),
    ("ray.scripts.scripts", "start.params", None, PREFLIGHT),
    ("ray.tune.experiment", "Trial.pickled_error_file", None, FAILURES),
    ("ray.tune.experiment", "Trial.error_file", None, FAILURES),
    ("ray.tune.experiment", "Trial.get_pickled_error", ("self",), FAILURES),
    ("ray.tune.schedulers", "FIFOScheduler.choose_trial_to_run", ("self", "tune_controller"), LOOP),
    ("ray.tune.search", "Searcher.FINISHED", None, LOOP),
]


@pytest.mark.parametrize(("module", "name", "arguments", "feature"), NEEDED, ids=[f"{m}.{n}" for m, n, *_ in NEEDED])
def test_ray_still_has_what_it_does_not_promise(
    module: str, name: str, arguments: tuple[str, ...] | None, feature: str
) -> None:
    import ray

    depends = f"in Ray {ray.__version__}, so {feature}: see tuner/cluster/ray_private.py"
    try:
        thing: Any = importlib.import_module(module)
        for part in name.split("."):
            thing = getattr(thing, part)
    except (ImportError, AttributeError):
        pytest.fail(f"{module}.{name} is gone {depends}", pytrace=False)
    if arguments is not None:
        known = inspect.signature(thing).parameters
        assert set(arguments) <= set(known), f"{module}.{name} takes other arguments {depends}"


def test_ray_still_knows_every_variable_and_argument_that_we_set() -> None:
    import ray

    root = Path(ray.__file__).parent
    parts = ("_common", "_private", "air", "train", "tune")
    known = "".join(file.read_text(encoding="utf-8") for part in parts for file in root.joinpath(part).rglob("*.py"))
    raylet = (root / "core" / "src" / "ray" / "raylet" / "raylet").read_bytes()
    set_by_us = {*session._ENVIRONMENT, *session._WORKER_ENVIRONMENT, "RAY_AUTH_MODE", "RAY_AUTH_TOKEN"}
    for name in sorted(set_by_us):
        found = name in known or name.removeprefix("RAY_").encode() in raylet
        assert found, (
            f"Ray {ray.__version__} does not read {name} any more: see the comments in tuner/cluster/session.py"
        )
    assert '"_temp_dir"' in inspect.getsource(ray.init), f"ray.init of Ray {ray.__version__} takes no _temp_dir"


def test_private_modules_of_ray_are_imported_in_one_file_only(repository: Path) -> None:
    importing = set()
    for file in (file for package in ("graphdb", "model", "tuner") for file in (repository / package).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            if isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{name}" for name in names]
            if any(name.split(".")[0] == "ray" and "._" in name for name in names):
                importing.add(file.relative_to(repository).as_posix())
    assert importing == {"tuner/cluster/ray_private.py"}


def test_ray_is_held_to_versions_that_were_tested(repository: Path) -> None:
    import ray

    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    (admitted,) = [r.specifier for r in map(Requirement, project["dependencies"]) if r.name == "ray"]
    pinned = f"ray=={ray.__version__}" in (repository / "constraints.txt").read_text().splitlines()
    assert pinned
    assert ray.__version__ in admitted
    major, minor = (int(number) for number in ray.__version__.split(".")[:2])
    assert f"{major}.{minor + 1}.0" not in admitted, "a version that nobody has tried"
