"""The models inside the package: small, whole, and about the crystals they are asked about."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest

from graphdb.graphsettings import GraphSettings, SoftNeighbors
from graphdb.loader import InMemoryGraphs, Loader
from graphdb.sample import sample_store
from model.checkpoint import load_checkpoint
from model.inference import predict
from model.predict import main, write_predictions
from model.shipped import WEIGHTS, shipped_models

EXAMPLES = Path(__file__).parents[2] / "examples"
MODELS = Path(__file__).parents[2] / "model" / "models"
EXPECTED = {
    "NbCoSn": [-0.119536, 0.00876129, 7.14876],
    "NbFeSb": [-0.186605, 0.0182146, 7.11449],
    "ScNiSb": [-0.880722, 0.167421, 7.51174],
}
"""Formation energy (eV/atom), band gap (eV) and Fermi energy (eV)."""


def test_the_model_of_experiment_e4_ships() -> None:
    model, info = load_checkpoint("mp-e4")
    labels = ["formation_energy_per_atom [eV/atom]", "band_gap [eV]", "fermi_energy [eV]"]
    assert [task.label for task in model.tasks] == labels
    assert info["split"]["fractions"] == [0.8, 0.1, 0.1]
    assert {len(symbols) for symbols in info["training_elements"].values()} == {86}


@pytest.mark.parametrize("name", shipped_models())
def test_shipped_model_is_small_and_uses_the_default_graphs(name: str) -> None:
    files = [path for path in (MODELS / name).rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 2_000_000
    assert {WEIGHTS, "config.json", "README.md"} <= {path.name for path in files}
    assert GraphSettings.from_dict(load_checkpoint(name)[1]["graph"]) == SoftNeighbors()


def test_shipped_model_agrees_with_independent_calculations() -> None:
    """The sample was computed with another code and moderate convergence; the model has not seen it."""
    model, _ = load_checkpoint("mp-e4")
    graphs = InMemoryGraphs.from_store(sample_store(), [task.name for task in model.tasks])
    predicted, _ = predict(model, Loader(graphs, batch_size=256))
    for task, least in ((0, 0.85), (1, 0.75)):
        assert np.corrcoef(predicted[:, task], graphs.targets[:, task])[0, 1] > least


def test_shipped_model_predicts_the_examples_as_it_did_when_it_was_exported() -> None:
    model, info = load_checkpoint("mp-e4")
    table = io.StringIO()
    files = sorted(str(path) for path in EXAMPLES.iterdir() if path.suffix in (".cif", ".vasp"))
    found = write_predictions(table, model, info, files)
    assert (found.read, found.failed, found.warned, found.elements_known) == (3, 0, 0, True)
    rows = {row["material_id"]: row for row in csv.DictReader(io.StringIO(table.getvalue()))}
    for material_id, values in EXPECTED.items():
        assert [float(rows[material_id][task.label]) for task in model.tasks] == pytest.approx(values, abs=1e-3)


def test_notes_on_a_crystal_stand_beside_its_prediction(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cif = (EXAMPLES / "NbCoSn.cif").read_text()
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "plain.cif").write_text(cif)
    (tmp_path / "in" / "noted.cif").write_text(cif + "\n_chemical_formula_sum 'Nb Co Sn'\n_cell_formula_units_Z 8\n")
    assert main(["mp-e4", str(tmp_path / "in"), "-o", str(tmp_path / "out.csv"), "--device", "cpu"]) == 0
    with (tmp_path / "out.csv").open(newline="") as lines:
        warnings = {row["material_id"]: row["warning"] for row in csv.DictReader(lines)}
    message = "formula differs: the formula says Co1 Nb1 Sn1 times Z = 8, the sites are Co4 Nb4 Sn4"
    assert warnings == {"plain": "", "noted": message}
    assert "1 crystal may not be what the file means: the column 'warning' says why" in capsys.readouterr().err
