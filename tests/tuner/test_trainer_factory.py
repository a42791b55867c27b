"""What a trial trains: its parameters sorted into network, training and loader."""

from dataclasses import fields
from pathlib import Path

import pytest
import torch
from torch import Tensor

from graphdb.loader import Loader
from model.network import Architecture
from model.radii import covalent_radii, fit_radii
from model.train_config import TrainConfig
from tuner.data import Crystals, load_crystals
from tuner.errors import SearchError, SpaceError
from tuner.protocol import TrainingSpec
from tuner.trainer_factory import LoaderSettings, check_device, make_factory, read_space


@pytest.fixture(scope="module")
def crystals(small_store: Path) -> Crystals:
    return load_crystals(str(small_store), ["band_gap", "fermi_energy"])


def test_trials_carry_no_ids(sample_store: Path) -> None:
    crystals = load_crystals(str(sample_store), None)
    factory = make_factory(crystals, fixed={}, device="cpu", threads=1, run="")
    assert factory.graphs.material_ids == ()
    assert factory.file is None
    assert len(crystals.graphs.material_ids) == len(factory.graphs) == len(crystals.graphs)


def test_each_parameter_goes_to_where_it_acts(crystals: Crystals) -> None:
    params = {"num_convs": 2, "learning_rate": 0.1, "loss_weight.fermi_energy": 3, "max_atoms": 40}
    spec = TrainingSpec(key="0007", params=params, seed=5, epochs=9)
    fixed = {"atom_dim": 8, "batch_size": 16}
    factory = make_factory(crystals, run="first", fixed=fixed, device="cpu", threads=1)
    architecture, config, loader = factory.settings(spec)
    assert architecture == Architecture(num_convs=2, atom_dim=8)
    expected = TrainConfig(learning_rate=0.1, batch_size=16, epochs=9, seed=5, loss_weights=(1.0, 3.0))
    assert config == expected
    assert loader == LoaderSettings(max_atoms=40)
    said = factory.provenance(spec)
    assert said["trial"] == {"key": "0007", "params": params, "seed": 5}
    assert said["store"] == {"source": "small.lmdb", "fingerprint": crystals.graphs.fingerprint}


def test_one_task_has_no_weights(small_store: Path) -> None:
    factory = make_factory(load_crystals(str(small_store), ["band_gap"]), run="", fixed={}, device="cpu", threads=1)
    assert factory.settings(TrainingSpec(key="0000", params={}, seed=0, epochs=1))[1].loss_weights is None


@pytest.mark.parametrize("kind", [Architecture, TrainConfig, LoaderSettings])
def test_a_space_may_name_every_field_of_the_settings(kind: type) -> None:
    own = ("epochs", "seed", "loss_weights")
    for field in fields(kind):
        with pytest.raises(SpaceError) as refusal:
            read_space(f"[parameters]\n{field.name} = [[]]", "mine.toml", ["a", "b"])
        assert ("cannot be set" in str(refusal.value)) == (field.name in own)
        assert "is not known" not in str(refusal.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("max_atoms = [0]", "max_atoms must be a positive number"),
        ("max_atoms = [true]", "max_atoms must be a positive number"),
        ("loss_weight = { values = [0], per_task = true }", "loss_weight must be a positive number"),
        ("batch_size = [0]", "batch_size must be an integer of at least 1, got 0"),
    ],
)
def test_a_value_that_no_training_can_have_is_refused(line: str, message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        read_space(f"[parameters]\n{line}", "mine.toml", ["a", "b"])


def test_a_device_that_is_not_here_is_refused() -> None:
    with pytest.raises(SearchError, match=r"--device must be auto or one that is here, got 'abacus'.*choose another"):
        check_device("abacus")


def test_all_trainings_have_the_same_radii_fitted_once(crystals: Crystals, monkeypatch: pytest.MonkeyPatch) -> None:
    fitted: list[int] = []

    def fit(batches: Loader, *sizes: int) -> Tensor:
        fitted.append(len(batches))
        return fit_radii(batches, *sizes)

    monkeypatch.setattr("tuner.trainer_factory.fit_radii", fit)
    factory = make_factory(crystals, run="", fixed={"num_ratio_rbf": 8, "atom_dim": 8}, device="cpu", threads=1)
    one, other = (factory.build(TrainingSpec(key="0", params={}, seed=seed, epochs=1)) for seed in (0, 1))
    assert len(fitted) == 1
    assert torch.equal(one.model.radii, other.model.radii)
    assert not torch.equal(one.model.radii, covalent_radii())
    expected = fit_radii(Loader(crystals.graphs, factory.train, batch_size=7))
    torch.testing.assert_close(one.model.radii, expected)
