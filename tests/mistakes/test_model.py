"""Mistakes with ``crystune train``, ``predict``, ``evaluate`` and ``import-cgcnn``."""

import csv
import json
import shutil
from pathlib import Path

import pytest

from tests.mistakes.stage import CONFIG, Mistake, call, check, cut, edit, flip_byte, ids, write

QUICK = "--config small.toml --tasks band_gap --device cpu"


def _other_config() -> None:
    config = json.loads(Path("model/config.json").read_text())
    config["tasks"][0]["unit"] = "meV"
    Path("model/config.json").write_text(json.dumps(config))


def _foreign_config() -> None:
    shutil.copy("my.toml" if Path("my.toml").exists() else "small.toml", "model/config.json")


def _constant_task() -> None:
    rows = list(csv.reader(Path("crystals.csv").read_text().splitlines()))
    write("constant.csv", "material_id,same\n" + "".join(f"{row[0]},1.5\n" for row in rows[1:]))
    assert call("build crystals.csv my.lmdb --targets constant.csv --quiet") == 0


def _rare_task() -> None:
    rows = list(csv.reader(Path("crystals.csv").read_text().splitlines()))
    write("rare.csv", "material_id,rare\n" + f"{rows[1][0]},1.5\n{rows[2][0]},2.5\n")
    assert call("build crystals.csv my.lmdb --targets rare.csv --quiet") == 0


def _two_gaps_are_unlike() -> None:
    write("meV.csv", "material_id,band_gap [meV]\n" + "NbCoSn,1000\nNbFeSb,500\nScNiSb,250\n")
    assert call("build cifs meV.lmdb --targets meV.csv --quiet") == 0


TRAIN = [
    Mistake(what="train without a store", typed="train -o new", says="required: STORE", do="train --help"),
    Mistake(what="train without an output", typed="train my.lmdb", says="required: -o", do="train --help"),
    Mistake(
        what="train on a store that is not there",
        typed=f"train no.lmdb -o new {QUICK}",
        says="no.lmdb",
        do="crystune build SOURCE",
    ),
    Mistake(what="train on a folder", typed=f"train cifs -o new {QUICK}", says="cifs", do="build"),
    Mistake(what="train on another file", typed=f"train notes.txt -o new {QUICK}", says="notes.txt", do="build"),
    Mistake(
        what="train into a file", typed=f"train my.lmdb -o notes.txt {QUICK}", says="notes.txt", do="choose another"
    ),
    Mistake(what="train among crystals", typed=f"train my.lmdb -o cifs {QUICK}", says="cifs", do="choose another"),
    Mistake(what="train among a thesis", typed=f"train my.lmdb -o thesis {QUICK}", says="thesis", do="choose another"),
    Mistake(
        what="train into a finished model",
        typed=f"train my.lmdb -o model {QUICK}",
        says="model",
        do="choose another",
    ),
    Mistake(
        what="train on a misspelt task",
        typed="train my.lmdb -o new --config small.toml --tasks band_gab",
        says="'band_gab'",
        do="did you mean 'band_gap'?",
    ),
    Mistake(
        what="train on no task",
        typed="train my.lmdb -o new --config small.toml --tasks ,",
        says="','",
        do="--tasks",
    ),
    Mistake(
        what="train on a task twice",
        typed="train my.lmdb -o new --config small.toml --tasks band_gap,band_gap",
        says="band_gap",
        do="once",
    ),
    Mistake(
        what="train with a configuration that is not there",
        typed="train my.lmdb -o new --config smal.toml",
        says="smal.toml",
        do="--config must be a file",
    ),
    Mistake(
        what="train with a configuration that is no TOML",
        typed="train my.lmdb -o new --config notes.txt",
        says="notes.txt",
        do="must be TOML",
    ),
    Mistake(
        what="train with an unknown setting",
        first=lambda: edit("small.toml", "epochs = 2", "epoch = 2"),
        typed="train my.lmdb -o new --config small.toml",
        says="epoch",
        do="small.toml",
    ),
    Mistake(
        what="train with an impossible setting",
        first=lambda: edit("small.toml", "epochs = 2", "learning_rate = -1"),
        typed="train my.lmdb -o new --config small.toml",
        says="learning_rate must be above 0",
        do="small.toml",
    ),
    Mistake(
        what="train with an unknown table",
        first=lambda: write("small.toml", CONFIG + "[optimizer]\nname = 'adam'\n"),
        typed="train my.lmdb -o new --config small.toml",
        says="optimizer",
        do="[train]",
    ),
    Mistake(
        what="train for no epoch", typed=f"train my.lmdb -o new {QUICK} --epochs 0", says="--epochs", do="at least 1"
    ),
    Mistake(what="train for ever", typed=f"train my.lmdb -o new {QUICK} --epochs inf", says="'inf'", do="at least 1"),
    Mistake(
        what="train with a negative seed",
        typed=f"train my.lmdb -o new {QUICK} --seed -1",
        says="--seed",
        do="at least 0",
    ),
    Mistake(
        what="train with negative workers",
        typed=f"train my.lmdb -o new {QUICK} --streaming --workers -2",
        says="--workers",
        do="at least 0",
    ),
    Mistake(
        what="train on a device that is not here",
        typed="train my.lmdb -o new --config small.toml --device mps",
        says="got 'mps'",
        do="cpu",
    ),
    Mistake(
        what="train on a device that is none",
        typed="train my.lmdb -o new --config small.toml --device gpu",
        says="'gpu'",
        do="cpu",
    ),
    Mistake(
        what="train on a constant task",
        first=_constant_task,
        typed="train my.lmdb -o new --config small.toml --tasks same --device cpu",
        says="same",
        do="--tasks",
    ),
    Mistake(
        what="train on a task that a split lacks",
        first=_rare_task,
        typed="train my.lmdb -o new --config small.toml --tasks rare --device cpu",
        says="rare",
        do="--tasks",
    ),
    Mistake(
        what="train on three crystals",
        typed="train cifs.lmdb -o new --config small.toml --device cpu",
        says="split",
        do="take more crystals",
    ),
    Mistake(
        what="train with shares above one",
        typed=f"train my.lmdb -o new {QUICK} --valid 0.7 --test 0.7",
        says="0.7",
        do="--test",
    ),
    Mistake(
        what="train with a share that is none",
        typed=f"train my.lmdb -o new {QUICK} --valid half",
        says="'half'",
        do="--valid",
    ),
    Mistake(
        what="train on a damaged store",
        first=lambda: cut("my.lmdb", 0.3),
        typed=f"train my.lmdb -o new {QUICK}",
        says="my.lmdb",
        do="again",
    ),
    Mistake(
        what="train on a store without targets",
        first=lambda: call("build cifs bare.lmdb --quiet"),
        typed="train bare.lmdb -o new --config small.toml",
        says="bare.lmdb",
        do="--targets",
    ),
]

PREDICT = [
    Mistake(what="predict without anything", typed="predict", says="required: EXPORT, FILES", do="predict --help"),
    Mistake(what="predict without crystals", typed="predict model", says="required: FILES", do="predict --help"),
    Mistake(
        what="predict with a model that is not there",
        typed="predict modle cifs",
        says="modle",
        do="did you mean 'model'?",
    ),
    Mistake(
        what="predict with a misspelt model that ships",
        typed="predict mp-e5 cifs",
        says="mp-e5",
        do="did you mean 'mp-e4'?",
    ),
    Mistake(what="predict with a folder that is no model", typed="predict cifs cifs", says="cifs", do="tuner.export"),
    Mistake(
        what="predict with a run",
        typed="predict runs/done cifs",
        says="runs/done",
        do="crystune export runs/done -o DIR",
    ),
    Mistake(
        what="predict a file that is not there",
        typed="predict model cifs/NbCoSn.cif nowhere.cif",
        says="nowhere.cif",
        do="files or folders that are there",
    ),
    Mistake(
        what="predict a pattern that matches nothing",
        typed="predict model new/*.cif",
        says="new/*.cif",
        do="files or folders that are there",
    ),
    Mistake(what="predict into a folder", typed="predict model cifs -o thesis", says="thesis", do="must be a file"),
    Mistake(
        what="predict into a folder that is not there",
        typed="predict model cifs -o results/out.csv",
        says="results",
        do="mkdir -p results",
    ),
    Mistake(
        what="predict onto one of its crystals",
        typed="predict model cifs/NbCoSn.cif -o cifs/NbCoSn.cif",
        says="NbCoSn.cif",
        do="choose another",
    ),
    Mistake(
        what="predict onto one crystal of a folder of them",
        typed="predict model cifs -o cifs/NbCoSn.cif",
        says="cifs/NbCoSn.cif lies in cifs",
        do="choose another name",
    ),
    Mistake(
        what="predict with half the weights",
        first=lambda: cut("model/model.safetensors"),
        typed="predict model cifs",
        says="model.safetensors",
        do="copy or export it again",
    ),
    Mistake(
        what="predict with damaged weights",
        first=lambda: flip_byte("model/model.safetensors", 0.9),
        typed="predict model cifs",
        says="damaged",
        do="copy or export it again",
    ),
    Mistake(
        what="predict with an edited configuration",
        first=_other_config,
        typed="predict model cifs",
        says="meV",
        do="from the same model again, or export it again",
    ),
    Mistake(
        what="predict with a foreign configuration",
        first=_foreign_config,
        typed="predict model cifs",
        says="config.json",
        do="from the same model again, or export it again",
    ),
    Mistake(
        what="predict without the configuration",
        first=lambda: Path("model/config.json").unlink(),
        typed="predict model cifs",
        says="config.json",
        do="from the same model again, or export it again",
    ),
    Mistake(
        what="predict without the weights",
        first=lambda: Path("model/model.safetensors").unlink(),
        typed="predict model cifs",
        says="model.safetensors",
        do="model",
    ),
    Mistake(
        what="predict with the configuration of another model",
        first=lambda: shutil.copy("best/config.json", "model/config.json"),
        typed="predict model cifs",
        says="config.json",
        do="from the same model again, or export it again",
    ),
    Mistake(
        what="predict on a device that is not here", typed="predict model cifs --device mps", says="'mps'", do="cpu"
    ),
    Mistake(
        what="predict with a misspelt option",
        typed="predict model cifs --ouput out.csv",
        says="--ouput",
        do="did you mean '--output'?",
    ),
    Mistake(
        what="predict a bad crystal among good ones",
        first=lambda: write("cifs/bad.cif", "data_x\n_cell_length_a what\n"),
        typed="predict model cifs -o out.csv --device cpu",
        says="1 ",
        do="error",
        status=1,
        may_make=("out.csv",),
        notes=4,
    ),
    Mistake(
        what="predict bad crystals only",
        first=lambda: write("bad/bad.cif", "data_x\n_cell_length_a what\n"),
        typed="predict model bad -o out.csv --device cpu",
        says="0 of 1 crystals",
        do="error",
        status=1,
        may_make=("out.csv",),
        notes=4,
    ),
]

EVALUATE = [
    Mistake(what="evaluate without a store", typed="evaluate model", says="required: STORE", do="evaluate --help"),
    Mistake(what="evaluate a model that is not there", typed="evaluate modle my.lmdb", says="modle", do="did you mean"),
    Mistake(
        what="evaluate on a store that is not there",
        typed="evaluate model no.lmdb",
        says="no.lmdb",
        do="crystune build SOURCE",
    ),
    Mistake(
        what="evaluate on a split that is none",
        typed="evaluate model my.lmdb --split tset",
        says="'tset'",
        do="did you mean 'test'?",
    ),
    Mistake(what="evaluate on crystals", typed="evaluate model cifs", says="cifs", do="build"),
    Mistake(
        what="evaluate into a folder", typed="evaluate model my.lmdb -o thesis", says="thesis", do="must be a file"
    ),
    Mistake(
        what="evaluate into a folder that is not there",
        typed="evaluate model my.lmdb -o results/out.csv",
        says="results",
        do="mkdir -p results",
    ),
    Mistake(
        what="evaluate on a store with other properties",
        first=lambda: call("build cifs bare.lmdb --quiet"),
        typed="evaluate model bare.lmdb --split all",
        says="band_gap",
        do="--targets",
    ),
    Mistake(
        what="evaluate in other units",
        first=_two_gaps_are_unlike,
        typed="evaluate model meV.lmdb --split all",
        says="meV",
        do="eV",
    ),
    Mistake(
        what="evaluate on other graphs",
        first=lambda: call("build cifs wide.lmdb --targets targets.csv --num-neighbors 8 --quiet"),
        typed="evaluate model wide.lmdb --split all",
        says="num_neighbors: 8, not 12",
        do="build a store with these settings",
    ),
    Mistake(
        what="evaluate with an edited configuration",
        first=_other_config,
        typed="evaluate model my.lmdb",
        says="meV",
        do="from the same model again, or export it again",
    ),
]

IMPORT = [
    Mistake(what="import of nothing", typed="import-cgcnn", says="required:", do="import-cgcnn --help"),
    Mistake(
        what="import of a file that is not there",
        typed="import-cgcnn no.pth.tar --atom-init atom_init.json -o new",
        says="no.pth.tar",
        do="must be a file",
    ),
    Mistake(
        what="import of another file",
        first=lambda: write("atom_init.json", "{}"),
        typed="import-cgcnn notes.txt --atom-init atom_init.json -o new",
        says="notes.txt",
        do="checkpoint of CGCNN",
    ),
    Mistake(
        what="import of our own model",
        first=lambda: write("atom_init.json", "{}"),
        typed="import-cgcnn model/model.safetensors --atom-init atom_init.json -o new",
        says="model.safetensors",
        do="checkpoint of CGCNN",
    ),
    Mistake(
        what="import among crystals",
        first=lambda: write("atom_init.json", "{}"),
        typed="import-cgcnn notes.txt --atom-init atom_init.json -o cifs",
        says="cifs",
        do="choose another",
    ),
]

ALL = TRAIN + PREDICT + EVALUATE + IMPORT


@pytest.mark.parametrize("mistake", ALL, ids=ids(ALL))
def test_the_answer_is_one_line_and_nothing_is_lost(
    mistake: Mistake, stage: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check(mistake, stage, tmp_path, capsys)
