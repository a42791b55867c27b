"""The command `model.predict`: a row for everything."""

import csv
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from graphdb.build import build_store
from model import evaluate, predict
from model.checkpoint import load_checkpoint, save_checkpoint
from model.network import MTCGCNN
from tests.model.conftest import NACL


def test_prediction_has_a_row_for_everything_in_order(
    trained: Path, sources: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict.main([str(trained), *sources, "-o", str(tmp_path / "out.csv"), "--device", "cpu"]) == 1
    with (tmp_path / "out.csv").open(newline="") as lines:
        header, *rows = csv.reader(lines)
    assert header == ["material_id", "formation_energy_per_atom [eV/atom]", "band_gap [eV]", "warning", "error"]
    assert [row[0] for row in rows] == ["metal", "cut.tar", "a", "b", "one"]
    for row in rows:
        assert (row[1] == row[2] == "") == (row[0] in ("cut.tar", "a"))
        assert bool(row[4]) == (row[0] in ("cut.tar", "a"))
    errors = capsys.readouterr().err
    assert "3 of 5 crystals predicted" in errors
    assert "2 not: the column 'error' says why" in errors


def test_prediction_on_the_screen_is_the_same_table(
    trained: Path, sources: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    predict.main([str(trained), *sources, "-o", str(tmp_path / "out.csv"), "--device", "cpu"])
    capsys.readouterr()
    assert predict.main([str(trained), *sources, "--device", "cpu"]) == 1
    assert capsys.readouterr().out == (tmp_path / "out.csv").read_text()


def test_prediction_of_nothing_fails_with_1(
    trained: Path, sources: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict.main([str(trained), str(tmp_path / "folder" / "a.cif"), "--device", "cpu"]) == 1
    assert "a,,,,no atoms: " in capsys.readouterr().out


def test_unknown_model_is_refused_with_2(sources: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert predict.main(["no-such-model", *sources]) == 2
    assert "no-such-model, which is not there" in capsys.readouterr().err


def test_element_that_the_model_was_not_given_costs_its_own_row(
    trained: Path, sources: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, info = load_checkpoint(trained)
    model.elements[1:] = 0.0
    blind = {key: info[key] for key in ("graph", "split")}
    save_checkpoint(tmp_path / "blind", model, blind)
    assert predict.main([str(tmp_path / "blind"), sources[0]]) == 1
    assert "this model knows no Al" in capsys.readouterr().out


def test_checkpoint_that_does_not_tell_its_graphs_is_refused(
    trained: Path, small_store: Path, sources: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model: MTCGCNN = load_checkpoint(trained)[0]
    save_checkpoint(tmp_path / "blind", model, {})
    for main, argument in ((evaluate.main, str(small_store)), (predict.main, sources[0])):
        assert main([str(tmp_path / "blind"), argument, "--device", "cpu"]) == 2
        assert "must say how its graphs are made" in capsys.readouterr().err


def test_a_crystal_of_a_file_and_of_a_store_is_predicted_twice_with_a_warning(
    trained: Path, sources: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, store = tmp_path / "some", tmp_path / "some.lmdb"
    folder.mkdir()
    for name, content in {"a.vasp": NACL, "b.vasp": NACL, "b.cif": ""}.items():
        (folder / name).write_text(content)
    build_store(folder, store, num_workers=1)
    for files in ([folder / "a.vasp", store], [store, folder / "a.vasp"], [folder / "a.vasp", folder / "a.vasp"]):
        assert predict.main([str(trained), *map(str, files), "--device", "cpu"]) == 0
        printed = capsys.readouterr()
        found = [row for row in csv.reader(printed.out.splitlines()) if row[0] == "a"]
        assert [row[3] for row in found] == ["", f"repeated id: {files[0]} has a crystal with this id too"]
        first, second = ([float(cell) for cell in row[1:3]] for row in found)
        assert first == pytest.approx(second, rel=1e-5)  # the last digit depends on the crystals beside it
        assert "1 crystal whose id a file before has too" in printed.err


@pytest.mark.parametrize(("share", "compiled"), [(1.0, False), (0.05, True), (0.06, False)])
def test_loops_are_loaded_where_many_rows_are_to_be_expected(share: float, compiled: bool) -> None:
    portion: Any = SimpleNamespace(material_ids=["a"] * 100, share=share)
    network: Any = SimpleNamespace(compiled=True)
    (_, model), (_, later) = predict._with_model([portion, portion], network, 100)
    assert model.compiled is compiled
    assert later.compiled is (4000 * share <= 300)
