"""The benchmark that waits for a GPU: tried on the CPU, where nothing but PyTorch and NumPy can be imported."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import gpu
from benchmarks._gpu_data import SPLITS, load
from graphdb.loader import InMemoryGraphs
from graphdb.split import split_by_id

MISSING = [
    *("gemmi", "lmdb", "numba", "optuna", "pandas", "pyarrow", "pymatgen", "ray", "rich"),
    *("safetensors", "scipy", "spglib", "torch_geometric", "tqdm"),
]
PROGRAM = """
import json, runpy, sys

blocked, arguments = json.loads(sys.argv[1])
sys.modules |= dict.fromkeys(blocked)  # importing them fails, as if they were not there
sys.argv = ["benchmarks.gpu", *arguments]
runpy.run_module("benchmarks.gpu", run_name="__main__")
"""


@pytest.mark.slow
def test_whole_benchmark_runs_on_a_cpu_with_pytorch_and_numpy_alone(repository: Path, tmp_path: Path) -> None:
    arguments = ["--device", "cpu", "--small", "--data", str(tmp_path / "none.npz"), "-o", str(tmp_path / "out.json")]
    process = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps([MISSING, arguments])],
        cwd=repository,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    report = json.loads((tmp_path / "out.json").read_text())
    results = report["results"]
    parts = [name for name in results if isinstance(results[name], dict)]
    assert parts == ["correctness", "speed", "processes", "peer", "ceilings", "training"]
    assert [name for name in parts if "failed" in results[name]] == [], results
    assert "made-up crystals" in results["data"]
    for way in ("float32_on_the_cpu", "device", "filled", "graphs"):
        errors = results["correctness"][f"{way}_relative_error"]
        assert max(errors.values()) < 1e-5, (way, errors)
    assert results["processes"]["without_mps_2_processes"]["median_crystals_per_second_summed"] > 0
    assert "plain PyTorch" in results["peer"]["peer"]
    assert results["training"]["epochs"] == results["training"]["epochs_of_the_schedule"]


def test_packed_crystals_are_those_of_the_store(small_store: Path, tmp_path: Path) -> None:
    names = ("formation_energy_per_atom", "band_gap")
    from benchmarks._gpu_data import pack

    assert pack(small_store, tmp_path / "data.npz", names) == (tmp_path / "data.npz").stat().st_size
    data, graphs = load(tmp_path / "data.npz", 0), InMemoryGraphs.from_store(small_store, names)
    assert data.graphs.tasks == graphs.tasks
    assert np.array_equal(data.graphs.targets, graphs.targets, equal_nan=True)
    for name in ("atom_ptr", "edge_ptr", "num_atoms", "atomic_numbers", "multiplicity", "neighbor_count"):
        ours, theirs = getattr(data.graphs.flat, name), getattr(graphs.flat, name)
        assert ours.dtype == theirs.dtype
        assert np.array_equal(ours, theirs), name
    for name in ("neighbor_index", "neighbor_distance", "neighbor_weight"):
        assert np.array_equal(getattr(data.graphs.flat, name), getattr(graphs.flat, name)), name
    split = split_by_id(graphs.material_ids)
    for part in SPLITS:
        assert np.array_equal(data.split[part], getattr(split, part))


def test_without_a_gpu_the_benchmark_says_what_to_do(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert gpu.main([]) == 0
    assert "--device cpu --small" in json.loads(capsys.readouterr().out)["skipped"]


def test_a_part_that_fails_leaves_the_others_and_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(run: gpu.Run) -> dict[str, object]:
        raise RuntimeError("CUDA error: out of luck")

    def nothing(run: gpu.Run) -> dict[str, object]:
        return {}

    for name in ("correctness", "speed", "processes", "peer", "ceilings", "training"):
        monkeypatch.setattr(gpu, name, fail if name == "speed" else nothing)
    output = tmp_path / "out.json"
    assert gpu.main(["--device", "cpu", "--small", "--data", str(tmp_path / "none.npz"), "-o", str(output)]) == 0
    results = json.loads(output.read_text())["results"]
    assert results["speed"]["failed"] == "RuntimeError: CUDA error: out of luck"
    assert "seconds_of_this_part" in results["training"]
    assert "out of luck" in capsys.readouterr().out
