"""The command `model.train`: whole, killed and resumed, with settings from a file."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from model import train
from model.checkpoint import load_checkpoint
from model.shipped import WEIGHTS
from tests.model.conftest import TASKS


def test_training_writes_checkpoint_history_and_nothing_else(trained: Path) -> None:
    assert sorted(path.name for path in trained.iterdir()) == ["config.json", "history.csv", WEIGHTS]
    _, info = load_checkpoint(trained)
    assert {"graph", "split", "metrics", "test_metrics", "train", "versions", "store_fingerprint"} <= info.keys()
    assert len((trained / "history.csv").read_text().splitlines()) == 41


def test_training_killed_and_started_again_ends_with_the_same_weights(
    trained: Path,
    small_store: Path,
    config: Path,
    repository: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = [str(small_store), "-o", str(tmp_path / "run"), "--config", str(config), "--device", "cpu", *TASKS]
    command = [sys.executable, "-m", "model.train", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, cwd=repository, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("epoch    3/"):
                process.send_signal(signal.SIGKILL)
                break
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "run" / WEIGHTS).exists()
    assert train.main(arguments) == 0
    assert "going on after epoch" in capsys.readouterr().out
    whole, resumed = (safetensors.torch.load_file(folder / WEIGHTS) for folder in (trained, tmp_path / "run"))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert not list((tmp_path / "run").glob("state*"))


def test_training_does_not_overwrite_a_finished_model(
    trained: Path, small_store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (trained / WEIGHTS).read_bytes()
    assert train.main([str(small_store), "-o", str(trained), "--device", "cpu"]) == 2
    assert "holds a finished model" in capsys.readouterr().err
    assert (trained / WEIGHTS).read_bytes() == before


def test_diverged_training_leaves_room_for_another_try(
    small_store: Path, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    arguments = [str(small_store), "-o", str(tmp_path), "--config", str(config), "--device", "cpu", *TASKS]
    with monkeypatch.context() as patch:
        patch.setattr("model.step.multitask_loss", lambda output, *_, **__: output.sum() * float("nan"))
        assert train.main(arguments) == 2
    assert "lower learning_rate" in capsys.readouterr().err
    assert train.main([*arguments, "--epochs", "2"]) == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[train]\nlearning_rat = 1",
            "keys that are known, got learning_rat .*; it may have learning_rate, .*; did you mean 'learning_rate'?",
        ),
        ("[train]\nlearning_rate = 'fast'", "learning_rate must be above 0 .* got 'fast'"),
        ("[optimizer]\nx = 1", "tables .*architecture.*, got optimizer"),
        ("train = 3", "train"),
        ("[train", "must be TOML"),
    ],
)
def test_mistakes_in_the_configuration_are_named(
    text: str, message: str, small_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    assert train.main([str(small_store), "-o", str(tmp_path / "out"), "--config", str(path)]) == 2
    error = capsys.readouterr().err
    assert re.search(message, error), error
    assert str(path) in error


def test_configuration_of_a_checkpoint_brings_its_tasks_along(trained: Path, small_store: Path, tmp_path: Path) -> None:
    arguments = [str(small_store), "-o", str(tmp_path / "again"), "--config", str(trained / "config.json")]
    assert train.main([*arguments, "--epochs", "1"]) == 0
    assert load_checkpoint(tmp_path / "again")[0].tasks == load_checkpoint(trained)[0].tasks
