"""The keys and values of the cluster file, as Ray will read them."""

import importlib.util
import json
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tuner.preflight.clusterfile import ClusterFile, Keys, table
from tuner.preflight.finding import Finding, error, fix_for, unless_found, warning

# Ray's schema lets anything pass below `provider`; these are the keys that its code reads.
_EVERY_PROVIDER = (
    "type",
    "disable_node_updaters",
    "disable_launch_config_check",
    "foreground_node_launch",
    "worker_liveness_check",
    "use_internal_ips",
)
_PROVIDERS = {
    "aws": (
        "region",
        "availability_zone",
        "cache_stopped_nodes",
        "use_external_head_ip",
        "security_group",
        "key_pair",
        "aws_credentials",
        "cloudwatch",
    ),
    "local": ("head_ip", "worker_ips", "external_head_ip", "coordinator_address"),
}
_RESOURCES = ("CPU", "GPU", "memory", "object_store_memory")
# The addresses are those that RFC 5737 keeps for examples.
_LEFT = re.compile(r"(?<![A-Z])CHANGE(?:[-_]?ME)?(?![A-Z])|@[A-Z]+@|^(?:192\.0\.2|198\.51\.100|203\.0\.113)\.\d+$")


def check_schema(file: ClusterFile) -> list[Finding]:
    """Misspelt keys and wrong types, by the schema that ships with Ray."""
    schema = _ray_schema()
    if schema is None:
        return [warning("", "Ray's schema could not be read", "install the project here: pip install -e .")]
    findings = list(_unknown_keys(schema, file.config, (), file)) + list(_unknown_provider_keys(file))
    import jsonschema

    for problem in jsonschema.Draft7Validator(schema).iter_errors(file.config):
        if problem.validator != "additionalProperties":
            keys = tuple(problem.absolute_path)
            findings.append(
                error(
                    file.where(*keys) if keys else str(file.path),
                    f"Ray's schema refuses it: {problem.message}",
                    "give it the type that Ray wants"
                    if problem.validator == "type"
                    else "see the comments in cluster.yaml",
                )
            )
    return unless_found(findings, "keys and types are as Ray's schema wants them")


def check_values_left(file: ClusterFile) -> list[Finding]:
    """Values that the user was asked to change."""
    findings = [
        error(
            file.where(*keys), f"must be changed, but is still {text!r}", "put your own value; the comment says which"
        )
        for keys, text in _texts(file.config, ())
        if _LEFT.search(text)
    ]
    return unless_found(findings, "no value is left to change")


def check_numbers_of_nodes(file: ClusterFile) -> list[Finding]:
    """Head type and numbers of workers fit together."""
    findings = list(_local_nodes(file) if file.is_local else _typed_nodes(file))
    most = file.config.get("max_workers", len(file.worker_addresses) if file.is_local else 2)
    return unless_found(findings, f"at least {file.min_workers} workers, at most {most}")


def check_key(file: ClusterFile) -> list[Finding]:
    """The SSH user and key."""
    findings = []
    if not file.auth.get("ssh_user"):
        findings.append(error(file.where("auth"), "must name ssh_user, whom `ray up` logs in as", "add ssh_user"))
    key = file.auth.get("ssh_private_key")
    if isinstance(key, str):
        path = Path(key).expanduser()
        where = file.where("auth", "ssh_private_key")
        if not path.is_file():
            fix = (
                f"make one: ssh-keygen -t ed25519 -f {key}, and put {key}.pub into ~/.ssh/authorized_keys of each host"
            )
            findings.append(error(where, f"must be a file on this machine, but {path} is none", fix))
        elif stat.S_IMODE(path.stat().st_mode) & 0o077:
            mode = f"{stat.S_IMODE(path.stat().st_mode):o}"
            findings.append(error(where, f"must be readable by you only, but has mode {mode}", f"chmod 600 {key}"))
        if file.is_aws:
            findings += [
                error(
                    file.where("available_node_types", name, "node_config"),
                    "must have KeyName when auth.ssh_private_key is set",
                    "name the key pair of EC2 that the key belongs to, or remove ssh_private_key (Ray makes a pair)",
                )
                for name, kind in file.node_types.items()
                if "KeyName" not in table(kind.get("node_config"))
            ]
    return unless_found(findings, "SSH user and key")


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


def _unknown_keys(schema: dict[str, Any], value: object, keys: Keys, file: ClusterFile) -> Iterator[Finding]:
    known = table(schema.get("properties"))
    patterns = list(table(schema.get("patternProperties")).values())
    for name, inner in table(value).items():
        if name in known:
            yield from _unknown_keys(table(known[name]), inner, (*keys, name), file)
        elif patterns:
            yield from _unknown_keys(table(patterns[0]), inner, (*keys, name), file)
        elif schema.get("additionalProperties") is False:
            yield _unknown((*keys, name), known, file)


def _unknown_provider_keys(file: ClusterFile) -> Iterator[Finding]:
    kind = file.provider.get("type")
    if kind not in _PROVIDERS:
        if isinstance(kind, str):
            known = (*_PROVIDERS, "gcp", "azure", "kuberay", "vsphere", "external")
            if kind not in known:
                yield error(file.where("provider", "type"), f"no provider {kind!r}", fix_for(kind, known))
            else:
                yield warning(file.where("provider", "type"), f"its keys are not checked for provider {kind!r}")
        return
    for name in file.provider:
        known = (*_EVERY_PROVIDER, *_PROVIDERS[kind])
        if name not in known:
            yield _unknown(("provider", str(name)), known, file)
    for kind_name, node in file.node_types.items():
        for name in table(node.get("resources")):
            near = fix_for(str(name), _RESOURCES)
            if name not in _RESOURCES and near.startswith("did"):
                where = file.where("available_node_types", kind_name, "resources", str(name))
                yield error(where, f"is no resource that trials ask for: {name!r}", near)


def _unknown(keys: Keys, known: Any, file: ClusterFile) -> Finding:
    if keys[0] == "provider" and len(keys) == 2:
        what = f"is no key that Ray reads for provider {file.provider.get('type')!r}: {keys[-1]!r}"
    else:
        what = f"is no key that Ray knows here: {keys[-1]!r}"
    return error(file.where(*keys), what, fix_for(str(keys[-1]), known))


def _texts(value: object, keys: Keys) -> Iterator[tuple[Keys, str]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _texts(inner, (*keys, str(name)))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _texts(inner, (*keys, index))
    elif isinstance(value, str):
        yield keys, value


def _local_nodes(file: ClusterFile) -> Iterator[Finding]:
    if "coordinator_address" in file.provider:
        return
    head, workers = file.provider.get("head_ip"), file.worker_addresses
    if not head or not workers:
        fix = "add head_ip: ADDRESS and worker_ips: [ADDRESS, ...]"
        yield error(file.where("provider"), "must name head_ip and at least one of worker_ips", fix)
        return
    for index, address in enumerate(workers):
        where = file.where("provider", "worker_ips", index)
        if address == head:
            fix = "remove it here; to train on the head as well, raise --num-cpus and --num-gpus of its start command"
            yield error(where, f"must not be the head, but {address} is head_ip too", fix)
        elif address in workers[:index]:
            yield error(where, f"must stand once, but {address} stands twice", "remove one")
    for key in ("min_workers", "max_workers"):
        number = file.config.get(key)
        if isinstance(number, int) and number > len(workers):
            fix = f"set it to {len(workers)}, or add the missing addresses"
            yield error(file.where(key), f"must be at most the {len(workers)} worker_ips, got {number}", fix)
        elif isinstance(number, int) and number < len(workers):
            fix = f"set it to {len(workers)} to use all of worker_ips"
            yield warning(file.where(key), f"{number}, but there are {len(workers)} worker_ips", fix)


def _typed_nodes(file: ClusterFile) -> Iterator[Finding]:
    types, head = file.node_types, file.config.get("head_node_type")
    if not types:
        yield error(str(file.path), "must have available_node_types", "see cluster.yaml for an example")
        return
    if head not in types:
        where = file.where("head_node_type") if head else str(file.path)
        yield error(where, f"must be one of available_node_types, got {head!r}", fix_for(str(head), types))
        return
    if "min_workers" in file.config:
        fix = "put min_workers into the node type"
        yield error(file.where("min_workers"), "is ignored here when there are available_node_types", fix)
    limit = file.config.get("max_workers", 2)
    if not isinstance(limit, int):
        return
    if not file.worker_types:
        yield error(file.where("available_node_types"), "must have a type besides the head's", "add a type of workers")
    sums = {"min_workers": 0, "max_workers": 0}
    for name, kind in file.worker_types.items():
        least, most = kind.get("min_workers", 0), kind.get("max_workers", limit)
        if not isinstance(least, int) or not isinstance(most, int):
            return
        if least > most:
            where = file.where("available_node_types", name, "min_workers")
            yield error(where, f"must be at most max_workers = {most} of this type, got {least}", f"set it to {most}")
        sums["min_workers"] += least
        sums["max_workers"] += most
    where = file.where("max_workers") if "max_workers" in file.config else f"max_workers (left out: {limit})"
    if sums["min_workers"] > limit:
        fix = f"raise it to {sums['min_workers']}"
        yield error(where, f"must be at least {sums['min_workers']}, the sum of min_workers, got {limit}", fix)
    if sums["max_workers"] < limit:
        fix = f"raise max_workers of the node types, or set it to {sums['max_workers']}"
        yield warning(where, f"{limit}, but the node types allow {sums['max_workers']} workers together", fix)
    if limit == 0 or sums["max_workers"] == 0:
        yield error(where, "must be above 0, or there is nobody to train", "set it to the number of workers you want")
