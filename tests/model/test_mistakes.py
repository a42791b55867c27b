"""Mistakes in commands of `model`: one line that says what to do, status 2, and everything of the user's as it was."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from graphdb import build
from model import evaluate, import_cgcnn, predict, train
from model.checkpoint import load_checkpoint, save_checkpoint
from model.shipped import WEIGHTS

NACL = "x\n1.0\n0 2.8 2.8\n2.8 0 2.8\n2.8 2.8 0\nNa Cl\n1 1\ndirect\n0 0 0\n0.5 0.5 0.5\n"
SMALL = "[architecture]\nnum_convs = 1\natom_dim = 4\nhead_dim = 4\n[train]\nepochs = 2\n"
MAINS = {"predict": predict.main, "evaluate": evaluate.main, "train": train.main, "import_cgcnn": import_cgcnn.main}


def build_salts(folder: Path, name: str, columns: dict[str, Callable[[int], object]], number: int = 25) -> Path:
    """A store of salts with these targets, by the number of each salt."""
    source = folder / f"{name}-crystals"
    source.mkdir()
    kinds = [f"{x} {y}" for x in ("Li", "Na", "K", "Rb", "Cs") for y in ("F", "Cl", "Br", "I", "H")][:number]
    lines = [",".join(["id", *columns])]
    for i, kind in enumerate(kinds):
        (source / f"salt{i}.vasp").write_text(NACL.replace("Na Cl", kind).replace("2.8", f"{2.5 + i / 20}"))
        lines.append(",".join([f"salt{i}", *(str(value(i)) for value in columns.values())]))
    (folder / f"{name}.csv").write_text("\n".join(lines))
    store = folder / f"{name}.lmdb"
    assert build.main([str(source), str(store), "--targets", str(folder / f"{name}.csv")]) == 0
    return store


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with stores, models and crystals to make mistakes with."""
    folder = tmp_path_factory.mktemp("mistakes")
    (folder / "small.toml").write_text(SMALL)
    (folder / "one.vasp").write_text(NACL)
    (folder / "two.vasp").write_text(NACL.replace("Cl", "Br"))
    (folder / "text.txt").write_text("no crystal")
    (folder / "old.csv").write_text("mine\n")
    (folder / "cifs").mkdir()
    (folder / "cifs" / "mine.vasp").write_text(NACL)
    build_salts(folder, "salts", {"gap [eV]": lambda i: i / 7, "ratio": lambda i: (i * 7) % 11})
    build_salts(folder, "flat", {"gap [eV]": lambda i: i / 7, "flat": lambda i: 3})
    build_salts(folder, "holes", {"gap [eV]": lambda i: i / 7, "rare": lambda i: i if i < 3 else "nan"})
    build_salts(folder, "few", {"gap [eV]": lambda i: i / 7}, number=5)
    build_salts(folder, "kelvin", {"gap [K]": lambda i: i / 7, "ratio": lambda i: i})
    shares = ["--valid", "0.25", "--test", "0.15", "--device", "cpu"]
    command = [str(folder / "salts.lmdb"), "-o", str(folder / "model"), "--config", str(folder / "small.toml")]
    assert train.main([*command, *shares]) == 0
    (folder / "cut").mkdir()
    for name in ("config.json", WEIGHTS):
        (folder / "cut" / name).write_bytes((folder / "model" / name).read_bytes()[:100])
    (folder / "run").mkdir()
    (folder / "empty").mkdir()
    (folder / "stores").mkdir()
    (folder / "stores" / "salts.lmdb").write_bytes((folder / "salts.lmdb").read_bytes())
    (folder / "link.cif").symlink_to(folder / "nothing.cif")
    (folder / "run" / "run.json").write_text("{}")
    return folder


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


CASES: dict[str, tuple[str, Sequence[str], str]] = {
    # command, its arguments ({} is the folder), what the line says
    "file that is not there": (
        "predict",
        ["{}/model", "{}/one.vasp", "{}/tow.vasp"],
        "there is no .*tow.vasp; did you mean 'two.vasp'",
    ),
    "files that are not there": ("predict", ["{}/model", "a.cif", "b.cif"], r"no a.cif \(and 1 more are missing\)"),
    "pattern without a match": ("predict", ["{}/model", "{}/*.cif"], r"nothing matches .*/\*.cif"),
    "folder without crystals": ("predict", ["{}/model", "{}/empty"], "FILES must hold at least one crystal, but there"),
    "folder without crystals, into a file": (
        "predict",
        ["{}/model", "{}/empty", "-o", "{}/none.csv"],
        "FILES must hold at least one crystal, but there",
    ),
    "folder with a store alone, into a file": (
        "predict",
        ["{}/model", "{}/stores", "-o", "{}/none.csv"],
        "none in .*stores, only such as salts.lmdb: not a structure: .* give the store itself to model.predict",
    ),
    "link to nowhere": ("predict", ["{}/model", "{}/link.cif"], "there is no .*link.cif"),
    "file in no folder": ("predict", ["{}/model", "{}/no/a.cif"], "there is no folder .*no"),
    "misspelled model": ("predict", ["mp-e5", "{}/one.vasp"], "got mp-e5, which is not there; did you mean 'mp-e4'"),
    "file as a model": (
        "predict",
        ["{}/one.vasp", "{}/one.vasp"],
        "which is a file of another kind; the model comes before what is read",
    ),
    "file of a model": ("predict", ["{}/model/config.json", "{}/one.vasp"], "of one; give the folder .*/model$"),
    "model without a name": ("predict", ["", "{}/one.vasp"], "a model that ships, got ''$"),
    "model in capitals": ("predict", ["MP-E4", "{}/one.vasp"], "got MP-E4, .*; did you mean 'mp-e4'"),
    "standard input": ("predict", ["{}/model", "-"], "got '-'; nothing is read from standard input"),
    "search as a model": ("predict", ["{}/run", "{}/one.vasp"], "is a search; .*export .*/run -o DIR makes a model"),
    "cut model": ("predict", ["{}/cut", "{}/one.vasp"], "truncated or no safetensors file"),
    "no files": ("predict", ["{}/model"], "the following arguments are required: FILES"),
    "unknown option": ("predict", ["{}/model", "{}/one.vasp", "--ouput", "x"], "no option --ouput; did you mean"),
    "absent device": (
        "predict",
        ["{}/model", "{}/one.vasp", "--device", "mps"],
        "device must be auto or one that is here, got 'mps'; there are: cpu",
    ),
    "device of nobody": ("predict", ["{}/model", "{}/one.vasp", "--device", "tpu"], "got 'tpu'; there are: cpu"),
    "table in no folder": (
        "predict",
        ["{}/model", "{}/one.vasp", "-o", "{}/a b/out.csv"],
        r"there is no folder .*/a b; mkdir -p '.*/a b' makes it",
    ),
    "table as a folder": ("predict", ["{}/model", "{}/one.vasp", "-o", "{}/cifs"], "-o must be a file .* a folder"),
    "table without a name": (
        "predict",
        ["{}/model", "{}/one.vasp", "-o", ""],
        "-o must be a file for the table, got ''; leave it out for the screen",
    ),
    "table over a crystal": (
        "predict",
        ["{}/model", "{}/one.vasp", "-o", "{}/one.vasp"],
        "-o must be another file than those that are read",
    ),
    "table over another crystal": (
        "predict",
        ["{}/model", "{}/one.vasp", "-o", "{}/two.vasp"],
        "two.vasp is there and is named as a crystal; choose another name",
    ),
    "table over another store": (
        "predict",
        ["{}/model", "{}/one.vasp", "-o", "{}/salts.lmdb"],
        "salts.lmdb is there and is an LMDB file, such as a store",
    ),
    "table over another model": (
        "predict",
        ["mp-e4", "{}/one.vasp", "-o", "{}/model/" + WEIGHTS],
        "is there and is a model; choose another name",
    ),
    "table over the weights": (
        "predict",
        ["{}/model", "{}/one.vasp", "-o", "{}/model/" + WEIGHTS],
        "-o must be another file than those that are read",
    ),
    "store that is not there": ("evaluate", ["{}/model", "{}/no.lmdb"], "there is no store at .*no.lmdb"),
    "crystals as a store": ("evaluate", ["{}/model", "{}/old.csv"], "old.csv"),
    "store without the tasks": (
        "evaluate",
        ["{}/model", "{}/holes.lmdb"],
        r"holes.lmdb must have targets for what .*model predicts \(gap, ratio\): .*got 'ratio'.*--targets",
    ),
    "store in another unit": ("evaluate", ["{}/model", "{}/kelvin.lmdb"], "gap must be in eV .* has it in K; build"),
    "unknown split": ("evaluate", ["{}/model", "{}/salts.lmdb", "--split", "tets"], "got 'tets'; did you mean 'test'"),
    "table over the store": (
        "evaluate",
        ["{}/model", "{}/salts.lmdb", "-o", "{}/salts.lmdb"],
        "-o must be another file than those that are read",
    ),
    "output among crystals": ("train", ["{}/salts.lmdb", "-o", "{}/cifs"], "holds other files; choose another"),
    "output as a file": (
        "train",
        ["{}/salts.lmdb", "-o", "{}/old.csv"],
        "-o must be a folder, but .*old.csv is a file",
    ),
    "output below a file": (
        "train",
        ["{}/salts.lmdb", "-o", "{}/old.csv/x/y"],
        "-o must be a folder, but .*old.csv is",
    ),
    "output of a finished model": ("train", ["{}/salts.lmdb", "-o", "{}/model"], "holds a finished model; choose"),
    "misspelled task": (
        "train",
        ["{}/salts.lmdb", "-o", "{}/new", "--tasks", "gap,ration"],
        "got 'ration'; did you mean 'ratio'",
    ),
    "empty task": (
        "train",
        ["{}/salts.lmdb", "-o", "{}/new", "--tasks", "gap,"],
        "--tasks: must name properties, separated",
    ),
    "empty task in a name in quotes": (
        "train",
        ["{}/salts.lmdb", "-o", "{}/new", "--tasks", '"a,,b"'],
        "got 'a,,b'; it has",
    ),
    "no epochs": ("train", ["{}/salts.lmdb", "-o", "{}/new", "--epochs", "0"], "--epochs: must be an integer of at le"),
    "half an epoch": ("train", ["{}/salts.lmdb", "-o", "{}/new", "--epochs", "1.5"], "of at least 1, got '1.5'"),
    "negative seed": ("train", ["{}/salts.lmdb", "-o", "{}/new", "--seed", "-1"], "--seed: must be an integer of at l"),
    "seed without end": (
        "train",
        ["{}/salts.lmdb", "-o", "{}/new", "--seed", "9" * 30],
        "--seed: must be .* of at most",
    ),
    "output without a name": (
        "train",
        ["{}/salts.lmdb", "-o", ""],
        "-o/--output: must be the name of a folder, got ''",
    ),
    "negative workers": (
        "train",
        ["{}/salts.lmdb", "-o", "{}/new", "--workers", "-2"],
        "--workers: must be an integer",
    ),
    "share above 1": (
        "train",
        ["{}/salts.lmdb", "-o", "{}/new", "--valid", "20"],
        "--valid: must be a share .*got '20'",
    ),
    "shares of everything": (
        "train",
        ["{}/salts.lmdb", "-o", "{}/new", "--valid", "0.5", "--test", "0.5"],
        "both together must leave crystals to train on",
    ),
    "configuration that is not there": (
        "train",
        ["{}/salts.lmdb", "-o", "{}/new", "--config", "{}/no.toml"],
        "--config must be a file, but there is none at .*no.toml",
    ),
    "folder as configuration": (
        "train",
        ["{}/salts.lmdb", "-o", "{}/new", "--config", "{}/model"],
        "is a folder; name the config.json in it",
    ),
    "constant task": (
        "train",
        ["{}/flat.lmdb", "-o", "{}/new"],
        "two different values, but flat is always 3 in .*flat.lmdb; leave it out with --tasks",
    ),
    "task unknown in a split": (
        "train",
        ["{}/holes.lmdb", "-o", "{}/new"],
        "split must have .*got . of rare .*; leave rare out with --tasks",
    ),
    "few crystals": ("train", ["{}/few.lmdb", "-o", "{}/new"], "the .* split must have .*(--valid|more crystals)"),
    "weights that are not there": (
        "import_cgcnn",
        ["{}/no.pth.tar", "--atom-init", "{}/a.json", "-o", "{}/new"],
        "must be a file that can be read, but .*no.pth.tar: no such file",
    ),
    "import among crystals": (
        "import_cgcnn",
        ["{}/no.pth.tar", "--atom-init", "{}/a.json", "-o", "{}/cifs"],
        "holds other files",
    ),
    "import over a trained model": (
        "import_cgcnn",
        ["{}/no.pth.tar", "--atom-init", "{}/a.json", "-o", "{}/model"],
        "holds a finished model",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_mistake_is_answered_in_a_line_and_changes_nothing(
    case: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command, arguments, message = CASES[case]
    before = everything(place)
    try:
        status = MAINS[command]([argument.replace("{}", str(place)) for argument in arguments])
    except SystemExit as stop:
        status = int(stop.code or 0)
    printed = capsys.readouterr()
    assert status == 2, printed.err
    assert printed.err.startswith("error: "), printed.err
    assert len(printed.err.splitlines()) == 1, printed.err
    assert re.search(message, printed.err), printed.err
    assert "[Errno" not in printed.err
    assert printed.out == "" or case == "folder without crystals"
    assert everything(place) == before
    assert not (place / "new").exists()


def test_shares_that_the_message_recommends_train(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [str(place / "holes.lmdb"), "-o", str(place / "shared"), "--config", str(place / "small.toml")]
    assert train.main([*command, "--tasks", "gap", "--valid", "0.01", "--test", "0.01"]) == 2
    error = capsys.readouterr().err
    advice = re.search(r"(--valid \S+ --test \S+) would do", error)
    assert advice, error
    assert train.main([*command, "--tasks", "gap", "--device", "cpu", *advice[1].split()]) == 0


def test_training_without_a_test_split_says_so(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [str(place / "salts.lmdb"), "-o", str(tmp_path / "m"), "--config", str(place / "small.toml")]
    assert train.main([*command, "--valid", "0.25", "--test", "0", "--device", "cpu"]) == 0
    assert "no test split" in capsys.readouterr().out
    assert evaluate.main([str(tmp_path / "m"), str(place / "salts.lmdb")]) == 2
    assert "choose another --split" in capsys.readouterr().err
    assert evaluate.main([str(tmp_path / "m"), str(place / "salts.lmdb"), "--split", "validation"]) == 0


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--epochs", "60"], "config.epochs was 300 and is now 60"),
        (["--seed", "5"], "config.seed was 0 and is now 5"),
        (["--tasks", "gap"], r"tasks was \['gap \[eV\]', 'ratio'\] and is now \['gap \[eV\]'\]"),
        (["--valid", "0.3"], "split.fractions was .*0.25.* and is now .*0.3"),
    ],
)
def test_interrupted_training_goes_on_with_the_same_settings_alone(
    more: list[str],
    message: str,
    place: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from model.training import Trainer

    run_epoch = Trainer.run_epoch

    def interrupted(self: Trainer) -> object:
        if self.epoch == 2:
            raise KeyboardInterrupt
        return run_epoch(self)

    command = [str(place / "salts.lmdb"), "-o", str(tmp_path / "run"), "--config", str(place / "small.toml")]
    command += ["--valid", "0.25", "--test", "0.15", "--epochs", "300", "--device", "cpu"]
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "run_epoch", interrupted)
        assert train.main(command) == 130
    assert "goes on after the last finished epoch" in capsys.readouterr().err
    before = everything(tmp_path)
    for main, argument in ((evaluate.main, "salts.lmdb"), (predict.main, "one.vasp")):
        assert main([str(tmp_path / "run"), str(place / argument)]) == 2
        error = capsys.readouterr().err
        assert re.search(r"run, which is a training that has not ended, .* model\.train with the arguments", error)
    assert train.main([*command, *more]) == 2
    error = capsys.readouterr().err
    assert re.search(message, error)
    assert "the same settings as before" in error
    assert len(error.splitlines()) == 1
    assert everything(tmp_path) == before


def test_interrupted_training_of_another_store_is_refused(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    command = ["-o", str(tmp_path / "run"), "--config", str(place / "small.toml"), "--tasks", "gap"]
    command += ["--valid", "0.25", "--test", "0.15", "--device", "cpu"]
    with monkeypatch.context() as patch:
        patch.setattr("model.train._line", interrupted)
        assert train.main([str(place / "salts.lmdb"), *command]) == 130
    capsys.readouterr()
    assert train.main([str(place / "flat.lmdb"), *command]) == 2
    assert "store_fingerprint was" in capsys.readouterr().err


def test_batch_that_does_not_fit_is_answered_with_what_to_lower(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: 9 bytes")

    monkeypatch.setattr("model.training.Trainer.run_epoch", full)
    assert train.main([str(place / "salts.lmdb"), "-o", str(tmp_path / "run"), "--valid", "0.25"]) == 2
    assert "lower batch_size in [train]" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_training_interrupted_before_its_first_epoch_leaves_nothing(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("model.training.Trainer.run_epoch", interrupted)
    assert train.main([str(place / "salts.lmdb"), "-o", str(tmp_path / "a" / "run"), "--valid", "0.25"]) == 130
    assert not (tmp_path / "a" / "run").exists()


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Crystals that take some seconds."""
    folder = tmp_path_factory.mktemp("many")
    for i in range(4000):
        (folder / f"c{i:04d}.vasp").write_text(NACL)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_prediction_ended_in_the_middle_leaves_the_old_table_and_the_part_beside_it(
    number: signal.Signals, status: int, place: Path, many: Path, tmp_path: Path, repository: Path
) -> None:
    output = tmp_path / "keep.csv"
    output.write_text("mine\n")
    partial = tmp_path / "keep.csv.partial"
    command = [sys.executable, "-m", "model.predict", str(place / "model"), str(many), "-o", str(output)]
    with subprocess.Popen(command, cwd=repository, stderr=subprocess.PIPE, text=True, env=os.environ) as process:
        while process.poll() is None and not (partial.exists() and partial.stat().st_size > 20_000):  # two portions
            pass
        process.send_signal(number)
        _, errors = process.communicate(timeout=120)
    assert process.returncode == status
    assert output.read_text() == "mine\n"
    assert "c0000" in partial.read_text()
    if number != signal.SIGKILL:
        said = [line for line in errors.splitlines() if not line.startswith("predicting: ")]  # a slow machine
        goes_on = f"the predictions so far are in {partial}, the same command goes on from there"
        assert said == [f"interrupted: {goes_on}; {output} is as it was"]
    assert predict.main([str(place / "model"), str(place / "one.vasp"), "-o", str(output)]) == 0
    assert output.read_text().splitlines()[1].startswith("one,")
    assert [path.name for path in tmp_path.iterdir()] == ["keep.csv"]


def test_failing_prediction_leaves_the_old_table(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "keep.csv"
    output.write_text("mine\n")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", str(output))

    monkeypatch.setattr("model.predict._answers", full)
    assert predict.main([str(place / "model"), str(place / "one.vasp"), "-o", str(output)]) == 2
    assert "no space left on device; make room" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["keep.csv"]
    assert output.read_text() == "mine\n"


def test_table_may_go_to_a_device_and_through_a_link(place: Path, tmp_path: Path) -> None:
    command = [str(place / "model"), str(place / "one.vasp"), "--device", "cpu", "-o"]
    assert predict.main([*command, os.devnull]) == 0
    assert not Path(os.devnull).is_file()
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "table.csv").write_text("old")
    (tmp_path / "link.csv").symlink_to(tmp_path / "real" / "table.csv")
    assert predict.main([*command, str(tmp_path / "link.csv")]) == 0
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "real" / "table.csv").read_text().splitlines()[1].startswith("one,")


def test_files_of_other_kinds_in_a_folder_are_listed_and_no_failure(
    place: Path, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict.main([str(place / "model"), str(repository / "examples"), "--device", "cpu"]) == 0
    printed = capsys.readouterr()
    assert "3 of 3 crystals predicted" in printed.err
    assert "1 file beside them" in printed.err
    assert 'README.md,,,,"not a structure' in printed.out
    assert predict.main([str(place / "model"), str(repository / "examples" / "README.md"), "--device", "cpu"]) == 1


def test_table_in_a_folder_that_is_read_has_no_row_for_itself(place: Path, tmp_path: Path) -> None:
    (tmp_path / "one.vasp").write_text(NACL)
    (tmp_path / "notes.txt").write_text("no crystal")
    (tmp_path / "link.txt").symlink_to(tmp_path / "out.csv")
    output = tmp_path / "out.csv"
    for _ in range(2):  # the second time over the first table
        assert predict.main([str(place / "model"), str(tmp_path), "-o", str(output), "--device", "cpu"]) == 0
        assert [line.partition(",")[0] for line in output.read_text().splitlines()] == [
            "material_id",
            "notes.txt",
            "one",
        ]


def test_another_crystal_of_the_same_id_is_a_failure(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [tmp_path / "deep" / name / "relax" for name in ("mp-1", "mp-2")]
    for folder, text in zip(folders, (NACL, NACL), strict=True):
        folder.mkdir(parents=True)
        (folder / "CONTCAR").write_text(text)
    command = [str(place / "model"), str(tmp_path / "deep"), "--device", "cpu"]
    assert predict.main(command) == 0
    (folders[1] / "CONTCAR").write_text(NACL.replace("Cl", "Br"))
    (folders[1] / "POSCAR").write_text(NACL.replace("Cl", "I"))
    capsys.readouterr()
    assert predict.main(command) == 1
    printed = capsys.readouterr()
    assert "1 of 3 crystals predicted" in printed.err
    assert printed.out.count("id taken: the id is that of mp-1/relax/CONTCAR too") == 2


def test_a_folder_without_crystals_beside_others_is_told(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "README.md").write_text("nothing here")
    assert predict.main([str(place / "model"), str(place / "one.vasp"), str(tmp_path), "--device", "cpu"]) == 1
    printed = capsys.readouterr().err
    assert "1 of 1 crystals predicted" in printed
    assert f"no crystal in {tmp_path}" in printed


def test_elements_that_were_not_in_training_are_named_and_counted(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "known.vasp").write_text(NACL)
    (tmp_path / "strange.vasp").write_text(NACL.replace("Na Cl", "Pu Xe"))
    files = [str(tmp_path / name) for name in ("known.vasp", "strange.vasp")]
    assert predict.main([str(place / "model"), *files, "--device", "cpu"]) == 0
    printed = capsys.readouterr()
    header, known, strange = printed.out.splitlines()
    assert header == "material_id,gap [eV],ratio,warning,error"
    assert known.endswith(",,")
    assert strange.endswith(",elements not in training: Pu Xe,")
    assert "1 crystal with elements that the model has not seen" in printed.err


def test_elements_are_told_by_task_where_tasks_differ(place: Path, tmp_path: Path) -> None:
    model, info = load_checkpoint(place / "model")
    kept = {key: info[key] for key in ("graph", "split")}
    everything = info["training_elements"]["gap"]
    seen = {"gap": everything, "ratio": [symbol for symbol in everything if symbol != "Cl"]}
    save_checkpoint(tmp_path / "model", model, {**kept, "training_elements": seen})
    output = tmp_path / "out.csv"
    assert predict.main([str(tmp_path / "model"), str(place / "one.vasp"), "-o", str(output)]) == 0
    assert output.read_text().splitlines()[1].endswith(",elements not in training of ratio: Cl,")


def test_model_that_does_not_say_its_elements_is_told_of(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, info = load_checkpoint(place / "model")
    save_checkpoint(tmp_path / "old", model, {key: info[key] for key in ("graph", "split")})
    assert predict.main([str(tmp_path / "old"), str(place / "one.vasp"), "--device", "cpu"]) == 0
    assert "does not say which elements it was trained on" in capsys.readouterr().err
    save_checkpoint(tmp_path / "bad", model, {"graph": info["graph"], "training_elements": {"gap": ["Qq"]}})
    assert predict.main([str(tmp_path / "bad"), str(place / "one.vasp"), "--device", "cpu"]) == 2
    assert "must list the elements of each task" in capsys.readouterr().err


def test_edited_configuration_is_refused_by_the_commands(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, info = load_checkpoint(place / "model")
    save_checkpoint(tmp_path / "m", model, {key: info[key] for key in ("graph", "split")})
    path = tmp_path / "m" / "config.json"
    path.write_text(path.read_text().replace('"eV"', '"meV"'))
    for main, argument in ((predict.main, "one.vasp"), (evaluate.main, "salts.lmdb")):
        assert main([str(tmp_path / "m"), str(place / argument)]) == 2
        error = capsys.readouterr().err
        assert "config.json must be the configuration of the weights beside it, but tasks is" in error
        assert len(error.splitlines()) == 1


def test_evaluation_counts_crystals_with_elements_that_were_not_in_training(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, info = load_checkpoint(place / "model")
    fewer = {task: [s for s in symbols if s != "Li"] for task, symbols in info["training_elements"].items()}
    kept = {key: info[key] for key in ("graph", "split")}
    save_checkpoint(tmp_path / "m", model, {**kept, "training_elements": fewer})
    assert evaluate.main([str(tmp_path / "m"), str(place / "salts.lmdb"), "--split", "all"]) == 0
    printed = capsys.readouterr()
    assert "5 crystals with elements that the model has not seen" in printed.err
    assert "ratio " in printed.out
    assert "[]" not in printed.out
