"""Predictions on several cores, killed at any row and gone on with: the same bytes, and nothing is made twice."""

import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from graphdb import ingest
from graphdb.build import build_store
from graphdb.graphsettings import HardNeighbors
from graphdb.portions import Portion
from graphdb.rawcrystal import RawCrystal
from model import predict
from tests.model.conftest import NACL

pytestmark = pytest.mark.slow
NUM_CRYSTALS = 1100
HALIDES = ("F", "Cl", "Br", "I")

KILLED = """
import os, signal, sys
from model import predict
from model.growing_table import FileTable

def add(self, text, *rest):
    if self.num_rows >= 512:
        rows = text.splitlines(keepends=True)
        files = self._files
        files[0].write("".join(rows[:100]).encode() + rows[100].encode()[: int(sys.argv[1])])
        files[0].flush()
        os.kill(os.getpid(), signal.SIGKILL)
    whole(self, text, *rest)

if __name__ == "__main__":
    whole, FileTable.add = FileTable.add, add
    predict.main(sys.argv[2:])
"""
"""The command, killed after 612 rows and so many bytes of another one."""

DYING = """
import os, sys
from graphdb import ingest
from model import predict

whole = ingest.build_one

def build_one(raw, *how):
    if raw.material_id == "c0700" and __name__ != "__main__":
        os._exit(9)
    return whole(raw, *how)

ingest.build_one = build_one
if __name__ == "__main__":
    raise SystemExit(predict.main(sys.argv[1:]))
"""
"""The command, one crystal of which kills its worker."""


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Crystals of different sizes, one that cannot be read, two of one id, and a file of another kind."""
    folder = tmp_path_factory.mktemp("many")
    for i in range(NUM_CRYSTALS):
        name = "c0003.cif" if i == 4 else f"c{i:04d}.vasp"
        text = "" if i in (3, 900) else NACL.replace("1.0", f"{1 + i / 5000}").replace("Cl", HALIDES[i % 4])
        (folder / name).write_text(text)
    (folder / "c0500.txt").write_text("no crystal")
    return folder


@pytest.fixture(scope="module")
def whole(many: Path, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The table of one process."""
    output = tmp_path_factory.mktemp("whole") / "t.csv"
    assert predict.main([str(trained), str(many), "-o", str(output), "--workers", "1", "--device", "cpu"]) == 1
    text = output.read_text()
    assert len(text.splitlines()) == 1 + NUM_CRYSTALS + 1
    return text


def run(repository: Path, *command: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    return subprocess.run(
        [sys.executable, *command], cwd=repository, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("workers", ["2", "3"])
def test_the_table_does_not_depend_on_the_number_of_workers(
    many: Path, trained: Path, whole: str, tmp_path: Path, repository: Path, workers: str
) -> None:
    output = tmp_path / "t.csv"
    done = run(repository, "-m", "model.predict", str(trained), str(many), "-o", str(output), "--workers", workers)
    assert done.returncode == 1, done.stderr
    assert output.read_text() == whole


@pytest.mark.parametrize("num_bytes", [0, 5], ids=["between two rows", "within a row"])
def test_killed_the_same_command_goes_on_and_ends_with_the_same_bytes(
    many: Path, trained: Path, whole: str, tmp_path: Path, repository: Path, num_bytes: int
) -> None:
    script, output = tmp_path / "killed.py", tmp_path / "t.csv"
    output.write_text("mine\n")
    script.write_text(KILLED)
    arguments = [str(trained), str(many), "-o", str(output), "--device", "cpu"]
    killed = run(repository, str(script), str(num_bytes), *arguments)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert output.read_text() == "mine\n"
    torn = (tmp_path / "t.csv.partial").read_text()
    assert whole.startswith(torn)
    assert len(torn.splitlines()) == 1 + 612 + (num_bytes > 0)
    rest = run(repository, "-m", "model.predict", *arguments)
    assert rest.returncode == 1, rest.stderr
    assert rest.stderr.splitlines()[0] == f"going on from {output}.partial, which has 512 rows"
    assert f"{NUM_CRYSTALS - 3:,} of {NUM_CRYSTALS - 1:,} crystals predicted" in rest.stderr
    assert output.read_text() == whole
    assert sorted(path.name for path in tmp_path.iterdir()) == ["killed.py", "t.csv"]


def test_what_is_there_is_neither_parsed_nor_predicted_again(
    many: Path, trained: Path, whole: str, tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script, output = tmp_path / "killed.py", tmp_path / "t.csv"
    script.write_text(KILLED)
    arguments = [str(trained), str(many), "-o", str(output), "--device", "cpu"]
    run(repository, str(script), "0", *arguments)
    parsed: list[RawCrystal] = []
    predicted: list[Portion] = []
    build_one, answers = ingest.build_one, predict._answers

    def watched_build(raw: RawCrystal, *how: Any) -> ingest.Built:
        parsed.append(raw)
        return build_one(raw, *how)

    def watched_answers(model: Any, portion: Portion, *how: Any) -> Any:
        predicted.append(portion)
        return answers(model, portion, *how)

    monkeypatch.setattr("graphdb.ingest.build_one", watched_build)
    monkeypatch.setattr("model.predict._answers", watched_answers)
    assert predict.main([*arguments, "--workers", "1"]) == 1
    assert output.read_text() == whole
    assert sum(len(portion.material_ids) for portion in predicted) == NUM_CRYSTALS + 1 - 512
    assert len(parsed) <= NUM_CRYSTALS - 512


def are_close(one: str, other: str) -> bool:
    """Whether two rows differ in last digits at most, as they may where a crystal beside them in the portion does."""
    pairs = zip(one.split(","), other.split(","), strict=False)
    return one.count(",") == other.count(",") and all(
        a == b or math.isclose(_number(a), _number(b), rel_tol=1e-4, abs_tol=1e-6) for a, b in pairs
    )


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return math.nan


def test_other_crystals_or_another_model_start_anew(
    many: Path, trained: Path, whole: str, tmp_path: Path, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script, output, own = tmp_path / "killed.py", tmp_path / "t.csv", tmp_path / "own"
    script.write_text(KILLED)
    own.mkdir()
    for path in many.iterdir():
        (own / path.name).write_bytes(path.read_bytes())
    arguments = [str(trained), str(own), "-o", str(output), "--device", "cpu"]
    assert run(repository, str(script), "0", *arguments).returncode == -signal.SIGKILL
    (own / "c0002.vasp").write_text(NACL)
    assert predict.main(arguments) == 1
    assert f"{output}.partial is of another set of crystals: starting anew" in capsys.readouterr().err
    lines, expected = output.read_text().splitlines(), whole.splitlines()
    (changed,) = [n for n, (one, other) in enumerate(zip(lines, expected, strict=True)) if not are_close(one, other)]
    assert lines[changed].startswith("c0002,")
    assert run(repository, str(script), "0", *arguments).returncode == -signal.SIGKILL
    assert predict.main(["mp-e4", *arguments[1:]]) == 1
    assert f"{output}.partial is of another model: starting anew" in capsys.readouterr().err
    assert "fermi_energy" in output.read_text()


def test_a_crystal_that_kills_its_worker_costs_its_own_row(
    many: Path, trained: Path, whole: str, tmp_path: Path, repository: Path
) -> None:
    script, output = tmp_path / "dying.py", tmp_path / "t.csv"
    script.write_text(DYING)
    done = run(repository, str(script), str(trained), str(many), "-o", str(output), "--device", "cpu", "--workers", "2")
    assert done.returncode == 1, done.stderr
    lines, expected = output.read_text().splitlines(), whole.splitlines()
    (changed,) = [n for n, (one, other) in enumerate(zip(lines, expected, strict=True)) if not are_close(one, other)]
    assert lines[changed].startswith('c0700,,,,"worker crashed: ')


def test_a_store_gives_the_rows_of_its_crystals(
    many: Path, trained: Path, whole: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build_store(many, tmp_path / "graphs", num_workers=1)
    output = tmp_path / "t.csv"
    assert predict.main([str(trained), str(tmp_path / "graphs"), "-o", str(output), "--device", "cpu"]) == 0
    header, *rows = whole.splitlines()
    assert output.read_text().splitlines() == [header, *sorted(row for row in rows if row.endswith(","))]
    one = many / "c0001.vasp"
    mixed = [str(trained), str(one), str(tmp_path / "graphs"), str(one), "-o", str(output), "--device", "cpu"]
    assert predict.main(mixed) == 0
    assert len(output.read_text().splitlines()) == 1 + NUM_CRYSTALS - 3 + 2
    build_store(many, tmp_path / "hard", settings=HardNeighbors(), num_workers=1)
    capsys.readouterr()
    assert predict.main([str(trained), str(one), str(tmp_path / "hard"), "-o", str(output)]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert "hard must have the graphs that" in said
    assert "neighbors: cgcnn, not shell; cutoff: 8.0, not 20.0" in said
    assert said.endswith("predict from its crystals, or build a store with these settings")
