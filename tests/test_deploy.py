"""deploy/: the manifest for Kubernetes against KubeRay's definition, the recipe for Slurm with a pretended Slurm."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

STUB = """#!/bin/bash
echo "${0##*/}|$RAY_AUTH_MODE|$RAY_AUTH_TOKEN|$*" >> "$LOG"
"""
STUBS = {
    "scontrol": "echo node1; echo node2; echo node3",
    "srun": 'while [[ "$1" == --* ]]; do shift; done; exec "$@"',
    "hostname": "echo 10.0.0.1",
    "venv/bin/ray": 'case "$1 $2" in "start --block") exec sleep 100 ;; "status "*) grep -q -e --head "$LOG" ;; esac',
    "venv/bin/python": """if [ "$1" = -c ]; then echo token; exit; fi
until grep -q "start --block.*--address" "$LOG"; do sleep 0.1; done
[ -z "$SLOW" ] || exec sleep 100
exit $STATUS""",
}


@pytest.fixture(scope="module")
def rayjob(repository: Path) -> dict[str, Any]:
    documents = list(yaml.safe_load_all((repository / "deploy" / "rayjob.yaml").read_text(encoding="utf-8")))
    (job,) = [document for document in documents if document["kind"] == "RayJob"]
    return dict(job)


def strict(schema: Any) -> Any:
    """A schema of Kubernetes as JSON schema that refuses unknown fields, as `kubectl` with strict validation does."""
    if isinstance(schema, list):
        return [strict(inner) for inner in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {key: strict(value) for key, value in schema.items()}
    if "x-kubernetes-int-or-string" in schema:
        schema = {"type": ["integer", "string"]}
    if isinstance(schema.get("properties"), dict) and "x-kubernetes-preserve-unknown-fields" not in schema:
        schema.setdefault("additionalProperties", False)
    return schema


def rayjob_schema() -> Any:
    path = os.environ.get("KUBERAY_CRD")
    if not path:
        pytest.skip("needs KUBERAY_CRD=.../ray.io_rayjobs.yaml, a file of KubeRay (deploy/rayjob.yaml says which)")
    versions = yaml.safe_load(Path(path).read_text(encoding="utf-8"))["spec"]["versions"]
    (schema,) = [version["schema"]["openAPIV3Schema"] for version in versions if version["name"] == "v1"]
    schema["properties"]["metadata"] = {"type": "object"}
    return strict(schema)


def test_kuberay_accepts_the_manifest(rayjob: dict[str, Any]) -> None:
    jsonschema.validate(rayjob, rayjob_schema())


def test_kuberay_refuses_a_misspelt_field(rayjob: dict[str, Any]) -> None:
    schema = rayjob_schema()
    broken = json.loads(json.dumps(rayjob))
    container = broken["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["template"]["spec"]["containers"][0]
    container["volumeMount"] = []
    with pytest.raises(jsonschema.ValidationError, match="volumeMount"):
        jsonschema.validate(broken, schema)


def test_the_manifest_scales_from_nothing_and_demands_a_token(rayjob: dict[str, Any], repository: Path) -> None:
    cluster = rayjob["spec"]["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["enableInTreeAutoscaling"] is True
    assert cluster["headGroupSpec"]["rayStartParams"] == {"num-cpus": "0", "num-gpus": "0"}
    (workers,) = cluster["workerGroupSpecs"]
    assert workers["minReplicas"] == workers["replicas"] == 0 < workers["maxReplicas"]
    assert workers["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert f"ray=={cluster['rayVersion']}\n" in (repository / "constraints.txt").read_text(encoding="utf-8")


class Slurm:
    """A folder with commands that only say how they were called."""

    def __init__(self, folder: Path, script: Path) -> None:
        for name, does in STUBS.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(STUB + does + "\n")
            path.chmod(0o755)
        self.log = folder / "log"
        self._script = script
        self._environment = {
            "PATH": f"{folder}:/usr/bin:/bin",
            "VENV": str(folder / "venv"),
            "LOG": str(self.log),
            "SLURM_JOB_ID": "4711",
            "SLURM_JOB_NUM_NODES": "3",
            "SLURM_JOB_NODELIST": "node[1-3]",
            "SLURM_CPUS_PER_TASK": "8",
        }

    def start(self, **environment: str) -> "subprocess.Popen[str]":
        values = {**self._environment, "STATUS": "0", **environment}
        command = ["bash", str(self._script), "--space", "table5", "--name", "a night"]
        return subprocess.Popen(command, env=values, stderr=subprocess.PIPE, text=True, start_new_session=True)

    def calls(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture
def slurm(tmp_path: Path, repository: Path) -> Slurm:
    return Slurm(tmp_path, repository / "deploy" / "slurm.sh")


def processes_of(group: int) -> list[str]:
    listed = subprocess.run(["ps", "-o", "pid=,args=", "-s", str(group)], capture_output=True, text=True)
    return [line for line in listed.stdout.splitlines() if "<defunct>" not in line]


@pytest.mark.needs("bash", "ps")
def test_slurm_starts_head_workers_and_search_with_one_token_and_ends_all(slurm: Slurm) -> None:
    with slurm.start(STATUS="3") as job:
        job.communicate(timeout=30)
    assert job.returncode == 3, "the search's own status"
    assert processes_of(job.pid) == []
    calls = slurm.calls()
    head = [call for call in calls if call.startswith("ray|") and "--head" in call]
    workers = [call for call in calls if call.startswith("srun|") and "--exclude=node1" in call]
    assert len(head) == len(workers) == 1
    assert "--port=24711" in head[0]
    assert "--num-cpus=8" in head[0]
    assert "--include-dashboard=false" in head[0]
    assert "--nodes=2 --ntasks=2" in workers[0]
    assert "--address=10.0.0.1:24711" in workers[0]
    (search,) = [call for call in calls if "tuner.search" in call]
    assert search.endswith("-u -m tuner.search --address 10.0.0.1:24711 --space table5 --name a night")
    for call in [*head, *workers, search]:
        assert call.split("|")[1:3] == ["token", "token"]


@pytest.mark.needs("bash", "ps")
@pytest.mark.parametrize("begun", ["tuner.search", "start --block"], ids=["the search", "Ray alone"])
def test_slurm_ends_in_order_when_its_time_is_over(begun: str, slurm: Slurm) -> None:
    with slurm.start(SLOW="1") as job:
        while not any(begun in call for call in slurm.calls()):
            assert job.poll() is None
        os.kill(job.pid, 15)
        job.communicate(timeout=30)
    assert job.returncode == 143
    assert processes_of(job.pid) == []


@pytest.mark.needs("bash", "ps")
def test_slurm_says_that_the_head_did_not_start(slurm: Slurm) -> None:
    stub = Path(slurm.log.parent / "venv/bin/ray")
    stub.write_text(STUB + "exit 1\n")
    with slurm.start() as job:
        _, errors = job.communicate(timeout=30)
    assert job.returncode == 1
    assert re.search("error: Ray's head must start on node1", errors)
