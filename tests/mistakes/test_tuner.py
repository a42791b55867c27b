"""Mistakes with ``crystune search``, ``report``, ``export``, ``preflight``, ``remote`` and the command itself."""

import json
import shutil
from pathlib import Path

import pytest

from tests.mistakes.stage import SPACE, Mistake, call, check, cut, flip_byte, ids, write
from tests.mistakes.test_model import _constant_task, _rare_task

NEW = "search --space mine.toml --store my.lmdb --tasks band_gap --device cpu"
RESUME = "search --resume --name done --device cpu"


def _space(text: str) -> None:
    write("mine.toml", text)


def _parameter(line: str) -> None:
    write("mine.toml", SPACE.replace("atom_dim = [8, 16]\n", line + "\n"))


def _space_mistake(what: str, line: str, says: str, do: str) -> Mistake:
    return Mistake(what=what, first=lambda: _parameter(line), typed=NEW, says=says, do=do)


def _asha_mistake(what: str, line: str, says: str, do: str) -> Mistake:
    return Mistake(what=what, first=lambda: _space(SPACE + f"[asha]\n{line}\n"), typed=NEW, says=says, do=do)


def _deleted_store() -> None:
    Path("my.lmdb").unlink()


def _another_store() -> None:
    assert call("build cifs my.lmdb --targets targets.csv --overwrite --quiet") == 0


def _file_in_the_way() -> None:
    shutil.rmtree("runs/done/report", ignore_errors=True)
    write("runs/done/report", "x")


def _damaged_checkpoints() -> None:
    for path in Path("runs/done/trials").rglob("*.safetensors"):
        flip_byte(str(path), 0.9)


SEARCH = [
    Mistake(what="search without a space", typed="search --store my.lmdb", says="--space must be given", do="table5"),
    Mistake(
        what="search over a misspelt space",
        typed="search --space tabel5",
        says="'tabel5'",
        do="did you mean 'table5'?",
    ),
    Mistake(
        what="search over a misspelt file",
        typed="search --space mien.toml --store my.lmdb",
        says="'mien.toml'",
        do="did you mean 'mine.toml'?",
    ),
    Mistake(what="search over a folder", typed="search --space cifs", says="'cifs'", do="must be a TOML file"),
    Mistake(what="search over another file", typed="search --space notes.txt", says="notes.txt", do="must be TOML"),
    Mistake(
        what="search over a CIF", typed="search --space cifs/NbCoSn.cif --store my.lmdb", says="NbCoSn.cif", do="TOML"
    ),
    _space_mistake("space with a misspelt setting", "atom_dimm = [8, 16]", "'atom_dimm'", "did you mean 'atom_dim'?"),
    _space_mistake(
        "space with a range upside down", "atom_dim = {low = 16, high = 8}", "low = 16", "low must be below"
    ),
    _space_mistake("space with half a range", "atom_dim = {low = 8}", "high is missing", "low and high"),
    _space_mistake("space with a step that does not fit", "atom_dim = {low=8, high=16, step=3}", "step", "must divide"),
    _space_mistake("space with a log range from zero", "weight_decay={low=0.0,high=0.1,log=true}", "low", "> 0"),
    _space_mistake("space with no values", "atom_dim = []", "[]", "at least one entry"),
    _space_mistake("space with a value twice", "atom_dim = [8, 8]", "[8, 8]", "must differ"),
    _space_mistake("space with an impossible value", "atom_dim = [0, 8]", "atom_dim = 0", "must be"),
    _space_mistake("space with a constant", "atom_dim = 8", "got 8", "[fixed]"),
    _space_mistake("space with epochs", "epochs = [2, 3]", "'epochs'", "--max-epochs"),
    _space_mistake("space with a seed", "seed = [2, 3]", "'seed'", "--seed"),
    _space_mistake("space with an unknown form", "atom_dim = {lwo = 8, high = 16}", "'lwo'", "did you mean 'low'?"),
    _space_mistake("space with a condition on nothing", "atom_dim={values=[8],when={x=1}}", "'x'", "stand before it"),
    _space_mistake("space with weights of no task", "loss_weight = [1, 2]", "per_task must be true", "per task"),
    Mistake(
        what="space with an unknown section",
        first=lambda: _space(SPACE + "[fix]\nhead_dim = 8\n"),
        typed=NEW,
        says="'fix'",
        do="did you mean 'fixed'?",
    ),
    Mistake(
        what="space with a setting twice",
        first=lambda: _space(SPACE + "atom_dim = 8\n"),
        typed=NEW,
        says="atom_dim",
        do="one place",
    ),
    Mistake(
        what="space with nothing to vary",
        first=lambda: _space("[fixed]\natom_dim = 8\n"),
        typed=NEW,
        says="must vary something",
        do="num_convs = [2, 3, 4]",
    ),
    Mistake(
        what="space with a baseline outside of it",
        first=lambda: _space(SPACE + "[baseline]\natom_dim = 12\n"),
        typed=NEW,
        says="got 12",
        do="must lie in the space",
    ),
    _asha_mistake("space with a reduction of one", "reduction = 1", "got 1", "at least 2"),
    _asha_mistake("space with a reduction of zero", "reduction = 0", "got 0", "at least 2"),
    _asha_mistake("space with half a reduction", "reduction = 1.5", "got 1.5", "whole number of at least 2"),
    _asha_mistake("space with no grace", "grace_epochs = 0", "got 0", "grace_epochs"),
    _asha_mistake("space with a misspelt rule", "grace = 1", "'grace'", "did you mean 'grace_epochs'?"),
    Mistake(
        what="search over a store that is not there",
        typed="search --space mine.toml --store no.lmdb",
        says="no.lmdb",
        do="crystune build SOURCE",
    ),
    Mistake(what="search over crystals", typed="search --space mine.toml --store cifs", says="cifs", do="build"),
    Mistake(
        what="search over another file as store",
        typed="search --space mine.toml --store notes.txt",
        says="notes.txt",
        do="build",
    ),
    Mistake(what="search over half a store", first=lambda: cut("my.lmdb", 0.3), typed=NEW, says="my.lmdb", do="again"),
    Mistake(
        what="search over a misspelt task",
        typed="search --space mine.toml --store my.lmdb --tasks band_gab",
        says="'band_gab'",
        do="did you mean 'band_gap'?",
    ),
    Mistake(what="search over no task", typed="search --space mine.toml --tasks ,", says="','", do="--tasks"),
    Mistake(
        what="search over a constant task",
        first=_constant_task,
        typed="search --space mine.toml --store my.lmdb --tasks same",
        says="same",
        do="--tasks",
    ),
    Mistake(
        what="search over a task that a split lacks",
        first=_rare_task,
        typed="search --space mine.toml --store my.lmdb --tasks rare",
        says="rare",
        do="--tasks",
    ),
    Mistake(
        what="search over three crystals",
        typed="search --space mine.toml --store cifs.lmdb",
        says="split",
        do="take more crystals",
    ),
    Mistake(what="search for no trial", typed=f"{NEW} --trials 0", says="--trials", do="at least 1"),
    Mistake(what="search for half a trial", typed=f"{NEW} --trials 1.5", says="'1.5'", do="at least 1"),
    Mistake(what="search for no epoch", typed=f"{NEW} --max-epochs 0", says="--max-epochs", do="at least 1"),
    Mistake(what="search for two days", typed=f"{NEW} --time-budget 2d", says="'2d'", do="2h"),
    Mistake(what="search for no time", typed=f"{NEW} --time-budget 0", says="'0'", do="> 0"),
    Mistake(what="search with a negative seed", typed=f"{NEW} --seed -1", says="--seed", do="at least 0"),
    Mistake(
        what="search with no concurrent trial", typed=f"{NEW} --concurrent 0", says="--concurrent", do="at least 1"
    ),
    Mistake(
        what="search with more concurrent trials than fit",
        typed=f"{NEW} --concurrent 4000",
        says="4000",
        do="lower it, or leave it out",
    ),
    Mistake(what="search with no CPU", typed=f"{NEW} --cpus-per-trial 0", says="--cpus-per-trial", do="above 0"),
    Mistake(
        what="search with more CPUs than there are",
        typed=f"{NEW} --cpus-per-trial 4000",
        says="got 4000",
        do="lower it, or leave it out",
    ),
    Mistake(
        what="search with a GPU that is not there",
        typed=f"{NEW} --gpus-per-trial 1000",
        says="got 1000",
        do="lower it, or leave it out",
    ),
    Mistake(
        what="search with a misspelt sampler",
        typed=f"{NEW} --sampler tpee",
        says="'tpee'",
        do="did you mean 'tpe'?",
    ),
    Mistake(what="search on a grid without end", typed=f"{NEW} --sampler grid", says="continuous range", do="counted"),
    Mistake(
        what="search on a device that is not here",
        typed="search --space mine.toml --store my.lmdb --device mps",
        says="'mps'",
        do="leave it out",
    ),
    Mistake(what="search with a misspelt option", typed=f"{NEW} --tirals 3", says="--tirals", do="'--trials'"),
    Mistake(what="search with no name", typed=f'{NEW} --name ""', says="--name", do="''"),
    Mistake(what="search with a path as name", typed=f"{NEW} --name a/b", says="'a/b'", do="--runs"),
    Mistake(what="search with dots as name", typed=f"{NEW} --name ..", says="'..'", do="--runs"),
    Mistake(
        what="search under a name that is taken", typed=f"{NEW} --name done", says="runs/done exists", do="--resume"
    ),
    Mistake(what="search into a file", typed=f"{NEW} --runs notes.txt", says="notes.txt", do="must be a folder"),
    Mistake(
        what="search into a place that is none", typed=f"{NEW} --runs ftp://x/y", says="'ftp://x/y", do="s3://bucket"
    ),
    Mistake(
        what="search into a bucket with a slash too few",
        typed=f"{NEW} --runs s3:/bucket/runs",
        says="'s3:/bucket/runs'",
        do="did you mean 's3://bucket/runs'?",
    ),
    Mistake(
        what="search with retries but no resume",
        typed=f"{NEW} --retry-failed",
        says="--retry-failed",
        do="--resume",
    ),
    Mistake(
        what="search with shares above one",
        typed=f"{NEW} --valid 0.7 --test 0.7",
        says="0.7",
        do="--test",
    ),
    Mistake(
        what="search with an address where nobody answers",
        typed=f"{NEW} --address 127.0.0.1:1",
        says="127.0.0.1:1",
        do="leave --address out",
    ),
    Mistake(
        what="search with an address that is none",
        typed=f"{NEW} --address there",
        says="'there'",
        do="leave --address out",
    ),
    Mistake(
        what="search with final epochs of none", typed=f"{NEW} --final-epochs 0", says="--final-epochs", do="at least 1"
    ),
    Mistake(
        what="resume of a search that is not there",
        typed="search --resume --name dnoe",
        says="'dnoe'",
        do="did you mean 'done'?",
    ),
    Mistake(
        what="resume where there is no search",
        typed="search --resume --runs nothing",
        says="there is none in nothing",
        do="leave --resume out",
    ),
    Mistake(what="resume with another seed", typed=f"{RESUME} --seed 9", says="--seed was 0 and is now 9", do="name"),
    Mistake(
        what="resume with other epochs",
        typed=f"{RESUME} --max-epochs 9",
        says="--max-epochs was 1 and is now 9",
        do="name",
    ),
    Mistake(
        what="resume with another store",
        typed=f"{RESUME} --store cifs.lmdb",
        says="--store",
        do="name",
    ),
    Mistake(what="resume with another sampler", typed=f"{RESUME} --sampler random", says="--sampler was", do="name"),
    Mistake(what="resume with other shares", typed=f"{RESUME} --valid 0.2", says="--valid", do="name"),
    Mistake(what="resume without its store", first=_deleted_store, typed=RESUME, says="my.lmdb", do="build"),
    Mistake(what="resume with a store that changed", first=_another_store, typed=RESUME, says="store", do="new search"),
    Mistake(
        what="resume of a run with half a run.json",
        first=lambda: cut("runs/done/run.json", 0.5),
        typed=RESUME,
        says="run.json",
        do="damaged",
    ),
    Mistake(
        what="resume of a run whose settings lack something",
        first=lambda: write("runs/done/run.json", json.dumps({"settings": {}})),
        typed=RESUME,
        says="run.json",
        do="",
    ),
]

REPORT = [
    Mistake(what="report of nothing", typed="report", says="required: RUN", do="report --help"),
    Mistake(what="report of a run that is not there", typed="report runs/dnoe", says="runs/dnoe", do="did you mean"),
    Mistake(what="report of all runs", typed="report runs", says="runs", do="folder of a search"),
    Mistake(what="report of crystals", typed="report cifs", says="cifs", do="folder of a search"),
    Mistake(what="report of a store", typed="report my.lmdb", says="my.lmdb", do="folder of a search"),
    Mistake(
        what="report of a run with half a run.json",
        first=lambda: cut("runs/done/run.json", 0.5),
        typed="report runs/done",
        says="run.json",
        do="damaged",
    ),
    Mistake(
        what="report where a file is in the way",
        first=_file_in_the_way,
        typed="report runs/done",
        says="runs/done/report",
        do="",
    ),
    Mistake(what="report of a run in a bucket of no kind", typed="report ftp://x/y", says="ftp://x/y", do="s3://"),
]

EXPORT = [
    Mistake(what="export of nothing", typed="export", says="required: RUN, -o", do="export --help"),
    Mistake(what="export without an output", typed="export runs/done", says="required: -o", do="export --help"),
    Mistake(what="export of a run that is not there", typed="export runs/dnoe -o new", says="runs/dnoe", do="done"),
    Mistake(what="export of crystals", typed="export cifs -o new", says="cifs", do="folder of a search"),
    Mistake(what="export into a file", typed="export runs/done -o notes.txt", says="notes.txt", do="choose another"),
    Mistake(what="export among crystals", typed="export runs/done -o cifs", says="cifs", do="choose another"),
    Mistake(
        what="export of a trial that is not there",
        typed="export runs/done -o new --trial 99",
        says="99",
        do="tuner.report",
    ),
    Mistake(
        what="export of a trial in words",
        typed="export runs/done -o new --trial best",
        says="'best'",
        do="export --help",
    ),
    Mistake(
        what="export without the store",
        first=_deleted_store,
        typed="export runs/done -o new",
        says="my.lmdb",
        do="build",
    ),
    Mistake(
        what="export with a store that changed",
        first=_another_store,
        typed="export runs/done -o new",
        says="fingerprint",
        do="search over it anew",
    ),
    Mistake(
        what="export of a damaged checkpoint",
        first=_damaged_checkpoints,
        typed="export runs/done -o new",
        says="damaged",
        do="",
    ),
    Mistake(
        what="export on a device that is not here",
        typed="export runs/done -o new --device mps",
        says="'mps'",
        do="cpu",
    ),
]

CLUSTER = [
    Mistake(
        what="preflight of nothing", typed="preflight", says="CLUSTER_FILE must be given", do="such as cluster.yaml"
    ),
    Mistake(what="preflight of a file that is not there", typed="preflight no.yaml", says="no.yaml", do="cluster"),
    Mistake(what="preflight of a folder", typed="preflight cifs", says="cifs", do="name another", listed=True),
    Mistake(
        what="preflight of broken YAML",
        first=lambda: write("c.yaml", "a: [1, 2\n"),
        typed="preflight c.yaml",
        says="c.yaml",
        do="YAML",
        listed=True,
    ),
    Mistake(
        what="preflight with a misspelt option", typed="preflight c.yaml --runing", says="--runing", do="'--running'"
    ),
    Mistake(what="remote without a verb", typed="remote", says="required", do="remote --help"),
    Mistake(what="remote with a misspelt verb", typed="remote sumbit c.yaml", says="'sumbit'", do="'submit'"),
    Mistake(
        what="remote submit without a space", typed="remote submit no.yaml", says="--space must be given", do="table5"
    ),
    Mistake(
        what="remote submit to a cluster that is not there",
        typed="remote submit no.yaml --space table5",
        says="no.yaml",
        do="",
    ),
    Mistake(what="remote watch of a cluster that is not there", typed="remote watch no.yaml x", says="no.yaml", do=""),
    Mistake(what="crystune without a command", typed="", says="required: COMMAND", do="crystune --help"),
    Mistake(what="crystune with a misspelt command", typed="serach", says="'serach'", do="did you mean 'search'?"),
    Mistake(what="crystune with a file", typed="cifs/NbCoSn.cif", says="NbCoSn.cif", do="crystune --help"),
]

ALL = SEARCH + REPORT + EXPORT + CLUSTER


@pytest.mark.parametrize("mistake", ALL, ids=ids(ALL))
def test_the_answer_is_one_line_and_nothing_is_lost(
    mistake: Mistake, stage: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check(mistake, stage, tmp_path, capsys)


def test_the_table_is_long_enough() -> None:
    from tests.mistakes import test_graphdb, test_model

    assert len(ALL) + len(test_graphdb.BUILD) + len(test_graphdb.INFO) + len(test_model.ALL) >= 150
