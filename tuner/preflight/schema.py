"""The keys and values of the cluster file, as Ray will read them."""

import contextlib
import importlib.util
import io
import json
import logging
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tuner.cluster.cluster_file import ClusterFile, Keys, table
from tuner.cluster.ray_private import validate_cluster_config
from tuner.preflight.finding import Finding, error, fix_for, otherwise, warning

# Ray's schema lets anything pass below `provider`; these are the keys that its code reads.
_EVERY_PROVIDER = (
    *("type", "disable_node_updaters", "disable_launch_config_check", "foreground_node_launch"),
    *("worker_liveness_check", "use_internal_ips"),
)
_PROVIDERS = {
    "aws": (
        *("region", "availability_zone", "cache_stopped_nodes", "use_external_head_ip", "security_group", "key_pair"),
        *("aws_credentials", "cloudwatch"),
    ),
    "local": ("head_ip", "worker_ips", "external_head_ip", "coordinator_address"),
}
_OTHER_PROVIDERS = ("gcp", "azure", "kuberay", "vsphere", "external")
_RESOURCES = ("CPU", "GPU", "memory", "object_store_memory")
# The addresses are those that RFC 5737 keeps for examples.
_LEFT = re.compile(r"(?<![A-Z])CHANGE(?:[-_]?ME)?(?![A-Z])|@[A-Z]+@|^(?:192\.0\.2|198\.51\.100|203\.0\.113)\.\d+$")


def check_repeated(file: ClusterFile) -> Iterator[Finding]:
    """Keys that stand twice."""
    for where, line in file.repeated:
        what = f"must stand once, but stands on line {line} too; Ray would silently take the last"
        yield error(where, what, "remove one of them")


@otherwise("keys and types are as Ray's schema wants them")
def check_schema(file: ClusterFile) -> Iterator[Finding]:
    """Misspelt keys and wrong types, by the schema that ships with Ray."""
    import jsonschema

    schema = _ray_schema()
    if schema is None:
        yield warning("", "Ray's schema could not be read", "install the project here: pip install -e .")
        return
    yield from _provider(file)
    yield from _resources(file)
    for problem in jsonschema.Draft7Validator(schema).iter_errors(file.config):
        keys, wrong = tuple(problem.absolute_path), problem.validator
        if wrong == "additionalProperties":
            known = problem.schema["properties"]
            for name in (name for name in problem.instance if name not in known):
                yield _unknown((*keys, name), "no key that Ray knows here", known, file)
        else:
            fix = "give it the type that Ray wants" if wrong == "type" else "see the comments in cluster.yaml"
            yield error(file.where(*keys) or file.path, f"Ray's schema refuses it: {problem.message}", fix)


@otherwise("no value is left to change")
def check_values_left(file: ClusterFile) -> Iterator[Finding]:
    """Values that the user was asked to change."""
    for keys, text in _texts(file.config, ()):
        if _LEFT.search(text):
            fix = "put your own value; the comment says which"
            yield error(file.where(*keys), f"must be changed, but is still {text!r}", fix)


@otherwise("Ray's own validation accepts it")
def check_by_ray(file: ClusterFile) -> Iterator[Finding]:
    """What only Ray's code knows; `ray up` stops at the first thing that it finds."""
    printed = io.StringIO()
    logging.disable(logging.WARNING)  # it would tell what it fills in
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            validate_cluster_config(file.config)
    except (Exception, SystemExit) as problem:  # noqa: BLE001 - it raises whatever its code runs into
        lines = [line for line in f"{printed.getvalue()}\n{problem}".splitlines() if line.strip()]
        reason = lines[0].strip() if lines else type(problem).__name__
        yield error(file.path, f"Ray refuses it: {reason}", "see the comments in cluster.yaml")
    finally:
        logging.disable(logging.NOTSET)


def _ray_schema() -> dict[str, Any] | None:
    """Read as a file, since `import ray` takes seconds."""
    spec = importlib.util.find_spec("ray")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / "autoscaler" / "ray-schema.json"
        if path.is_file():
            schema: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            schema["properties"]["min_workers"] = {"type": "integer", "minimum": 0}  # read, but not in the schema
            return schema
    return None


def _provider(file: ClusterFile) -> Iterator[Finding]:
    kind, where = file.provider.get("type"), file.where("provider", "type")
    if kind in _PROVIDERS:
        known = (*_EVERY_PROVIDER, *_PROVIDERS[kind])
        for name in file.provider:
            if name not in known:
                yield _unknown(("provider", str(name)), f"no key that Ray reads for provider {kind!r}", known, file)
    elif kind in _OTHER_PROVIDERS:
        yield warning(where, f"its keys are not checked for provider {kind!r}")
    elif isinstance(kind, str):
        yield error(where, f"no provider {kind!r}", fix_for(kind, (*_PROVIDERS, *_OTHER_PROVIDERS)))


def _resources(file: ClusterFile) -> Iterator[Finding]:
    for kind in file.node_types if file.provider.get("type") in _PROVIDERS else ():
        for name in map(str, table(kind.options.get("resources"))):
            near = fix_for(name, _RESOURCES)
            if name not in _RESOURCES and near.startswith("did"):
                yield error(kind.where("resources", name), f"is no resource that trials ask for: {name!r}", near)


def _unknown(keys: Keys, what: str, known: Iterable[str], file: ClusterFile) -> Finding:
    return error(file.where(*keys), f"is {what}: {keys[-1]!r}", fix_for(str(keys[-1]), known))


def _texts(value: object, keys: Keys) -> Iterator[tuple[Keys, str]]:
    if isinstance(value, str):
        yield keys, value
    for name, inner in enumerate(value) if isinstance(value, list) else table(value).items():
        yield from _texts(inner, (*keys, name if isinstance(name, int) else str(name)))
