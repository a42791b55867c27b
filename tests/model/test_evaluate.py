"""The command `model.evaluate`: on equal graphs only."""

import json
from pathlib import Path

import pytest

from graphdb import build
from model import evaluate
from model.checkpoint import load_checkpoint, save_checkpoint
from tests.model.conftest import NACL


def test_evaluation_repeats_the_test_metrics_of_training(
    trained: Path, small_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "predictions.csv"
    assert evaluate.main([str(trained), str(small_store), "--json", "-o", str(output), "--device", "cpu"]) == 0
    report = json.loads(capsys.readouterr().out)
    expected = load_checkpoint(trained)[1]["test_metrics"]
    for task, metrics in expected.items():
        assert report["metrics"][task]["mae"] == pytest.approx(metrics["mae"], rel=1e-5)
        assert report["metrics"][task]["count"] == metrics["count"]
    assert len(output.read_text().splitlines()) == 1 + metrics["count"]


def test_evaluation_on_other_graphs_is_refused_with_both_values(
    trained: Path, sample_csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, info = load_checkpoint(trained)
    save_checkpoint(tmp_path / "other", model, {"graph": {**info["graph"], "shell_width": 0.1}})
    store = tmp_path / "one.lmdb"
    (tmp_path / "one.poscar").write_text(NACL)
    (tmp_path / "t.csv").write_text("material_id,formation_energy_per_atom,band_gap\none,1,2\n")
    assert build.main([str(tmp_path / "one.poscar"), str(store), "--targets", str(tmp_path / "t.csv")]) == 0
    assert evaluate.main([str(tmp_path / "other"), str(store), "--split", "all", "--device", "cpu"]) == 2
    error = capsys.readouterr().err
    assert "shell_width: 0.03, not 0.1" in error
    assert "build a store with these settings" in error
