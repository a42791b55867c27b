"""A run begun by the version of November 2026, whose trials were in Optuna's journal: reported, resumed, exported.

It was killed with one trial in mid-training and one just begun, of 10 of up to 8 epochs over the sample that ships.
"""

import json
import tarfile
from pathlib import Path

import pytest

import tuner.report.__main__ as report
from model.checkpoint import load_checkpoint
from tests.tuner.logs import epochs_in
from tests.tuner.study.test_dashboard import shown
from tests.tuner.without_ray import without_ray as without_ray
from tuner import export, search
from tuner.run import jsonlines
from tuner.run.log import Training
from tuner.run.run_folder import RunFolder
from tuner.trials.restore import read_trials


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    with tarfile.open(Path(__file__).parent / "data" / "run-2026-11.tar.gz") as archive:
        archive.extractall(tmp_path / "runs", filter="data")
    monkeypatch.chdir(tmp_path)
    return RunFolder(Path("runs/old"))


def told(trial: Training) -> tuple[object, ...]:
    return trial.key, trial.state, dict(trial.params), trial.curve


def test_its_trials_are_read(old: RunFolder) -> None:
    before = old.epochs.read_bytes()
    trials = read_trials(old)
    assert list(trials) == ["0000", "0001", "0002", "0003", "0004", "0005"]
    assert all({"num_convs", "learning_rate"} <= trial.params.keys() for trial in trials.values())
    assert [max(trial.curve, default=0) for trial in trials.values()] == [trial.epoch for trial in trials.values()]
    assert old.epochs.read_bytes() == before


def test_it_is_reported_without_being_touched(old: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in old.path.rglob("*") if path.is_file()}
    assert report.main([str(old.path)]) == 0
    said = capsys.readouterr().out
    assert "6 of 10 trials over small.toml: 2 waiting, 3 stopped, 1 done" in said
    assert "no process is at it (use --resume)" in said
    assert {path: path.read_bytes() for path in before} == before


def test_its_best_checkpoint_is_loaded_and_exported(old: RunFolder, tmp_path: Path) -> None:
    best = min(read_trials(old).values(), key=lambda trial: trial.best_score or 9.0)
    _, info = load_checkpoint(old.trial(best.number) / "best")
    assert info["score"] == best.best_score
    assert export.main([str(old.path), "-o", str(tmp_path / "model"), "--device", "cpu"]) == 0
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert config["search"]["trial"] == best.number


@pytest.mark.usefixtures("without_ray")
def test_it_is_resumed_from_its_last_epoch_to_its_end(old: RunFolder, tmp_path: Path) -> None:
    before, lines = read_trials(old), epochs_in(old.epochs)
    flags = "--resume --name old --finalists 1 --finalist-seeds 1 --final-epochs 2 --device cpu"
    assert search.main(flags.split()) == 0
    after = read_trials(old)
    assert len(after) == 10
    assert all(trial.has_ended for trial in after.values())
    assert epochs_in(old.epochs)[: len(lines)] == lines
    for key, trial in before.items():
        assert after[key].params == trial.params
        assert trial.curve.items() <= after[key].curve.items(), "no epoch is trained again"
    begun = [line["key"] for line in jsonlines.read(old.epochs) if "params" in line]
    assert begun == list(after), "its trials are taken over into the log, once"
    assert [dict(trial.params) for trial in shown(old.journal)] == [dict(trial.params) for trial in after.values()]
    assert old.read()["status"] == "done"
    assert export.main([str(old.path), "-o", str(tmp_path / "model"), "--device", "cpu"]) == 0
