"""The whole path of a user on a small store: search, report, export."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.ray
@pytest.mark.slow
def test_the_whole_path_from_a_store_to_an_exported_model(tmp_path: Path, sample_store: Path) -> None:
    space = tmp_path / "mine.toml"
    space.write_text(
        "[parameters]\natom_dim = [8, 16]\nlearning_rate = { low = 1e-3, high = 1e-1, log = true }\n"
        "loss_weight = { values = [1, 2], per_task = true }\n[fixed]\nnum_convs = 1\nbatch_size = 64\n"
    )
    runs = ["--runs", str(tmp_path / "runs")]
    here = tmp_path / "here"  # where the user has files named like our packages: neither driver nor workers run them
    (here / "tuner").mkdir(parents=True)
    for name in ("model.py", "graphdb.py", "tuner/__init__.py"):
        (here / name).write_text("raise SystemExit('the wrong file was run')\n")

    def run(module: str, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-P", "-m", module, *arguments],
            capture_output=True,
            text=True,
            cwd=here,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stderr == "", "a quiet search writes nothing to stderr"
        return done.stdout

    tasks = ["--store", str(sample_store), "--tasks", "band_gap,fermi_energy"]
    small = ["--trials", "3", "--max-epochs", "2", "--finalists", "1", "--finalist-seeds", "2"]
    output = run("tuner.search", "--space", str(space), "--name", "mine", *runs, *tasks, *small)
    folder = tmp_path / "runs" / "mine"
    assert "python -m tuner.export" in output
    assert "test MAE" in output
    assert not (folder / ".ray").exists()
    assert "importances.json" in run("tuner.report", str(folder))
    exported = tmp_path / "exported"
    run("tuner.export", str(folder), "-o", str(exported))
    rows = list(csv.DictReader((exported / "predictions.csv").read_text().splitlines()))
    assert list(rows[0]) == [
        "material_id",
        "true band_gap [eV]",
        "predicted band_gap [eV]",
        "true fermi_energy [eV]",
        "predicted fermi_energy [eV]",
    ]
    config = json.loads((exported / "config.json").read_text())
    assert config["metrics"]["test"]["band_gap"]["count"] == len(rows)
    mae = sum(abs(float(r["true band_gap [eV]"]) - float(r["predicted band_gap [eV]"])) for r in rows) / len(rows)
    assert mae == pytest.approx(config["metrics"]["test"]["band_gap"]["mae"], rel=1e-4)
    assert (exported / "parity.png").read_bytes().startswith(b"\x89PNG")
    assert f"python -m model.predict {exported} my.cif" in (exported / "README.md").read_text()
