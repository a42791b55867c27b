"""Mistakes that users of search, report, preflight and remote make: each is answered in one line, and harms nothing.

Nothing here starts Ray: what is refused is refused before.
"""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tuner import search
from tuner.cluster.resources import Resources
from tuner.driver import SearchDriver
from tuner.preflight import __main__ as preflight
from tuner.remote import __main__ as remote
from tuner.report import __main__ as report

ROOT = Path(__file__).parents[2]
COMMANDS = {"search": search.main, "report": report.main, "preflight": preflight.main, "remote": remote.main}
ONE = "[parameters]\natom_dim = [8, 16]\n"
SPACES = {
    "mine": ONE,
    "reduction": f"{ONE}[asha]\nreduction = 1\n",
    "grace": f"{ONE}[asha]\ngrace_epochs = 40\n",
    "half": f"{ONE}[asha]\ngrace_epochs = 0.5\n",
    "nan": "[parameters]\nlearning_rate = { low = nan, high = 1.0 }\n",
    "inf": "[parameters]\nlearning_rate = { low = 1e-4, high = inf }\n",
    "big": f"[parameters]\natom_dim = {{ low = 1, high = {10**30} }}\n",
    "tiny": "[parameters]\nlearning_rate = { low = 1e-3, high = 1e-2, step = 1e-12 }\n",
    "none": "[parameters]\natom_dim = []\n",
    "empty": "",
    "broken": "[parameters\n",
    "number": "parameters = 3\n",
    "nested": "[parameters]\natom_dim = [[8], 16]\n",
    "date": "[parameters]\natom_dim = 1979-05-27\n",
    "baseline": f"{ONE}[baseline]\natom_dim = [8]\n",
    "fixed": f"{ONE}[fixed]\nbatch_size = 0\n",
    "weights": "[parameters]\nloss_weight = { values = [1, 2], per_task = true }\n",
    "range": "[parameters]\nlearning_rate = { low = 1e-4, high = 1e-1 }\n",
}
MISTAKES = [
    # The space.
    ("search", "--space must be given: a TOML file or one of table5; to go on with a search, add --resume"),
    ("search --space ''", "--space must not be empty, got ''"),
    ("search --space tabel5", "got 'tabel5', and there is no such file; did you mean 'table5'?"),
    ("search --space mime.toml", "did you mean 'mine.toml'?"),
    ("search --space .", "which cannot be read (.: is a directory)"),
    ("search --space binary.toml", "which is not text in UTF-8"),
    ("search --space reduction.toml", "reduction must be a whole number of at least 2 (one in so many goes on"),
    ("search --space half.toml", "grace_epochs must be a whole number of at least 1 (epochs), got 0.5"),
    ("search --space grace.toml", "grace_epochs must be at most --max-epochs (30), got 40 (grace.toml, [asha])"),
    ("search --space grace.toml --max-epochs 39", "raise --max-epochs, or say --no-asha"),
    ("search --space nan.toml", "low must be below high, got low = nan"),
    ("search --space inf.toml", "learning_rate must be above 0 and at most 10, got inf"),
    ("search --space big.toml", "atom_dim must be an integer in 1 to 1024"),
    ("search --space tiny.toml", "step must divide high - low"),
    ("search --space none.toml", "values must be a list with at least one entry, got []"),
    ("search --space empty.toml", "must vary something in [parameters], got nothing; an example"),
    ("search --space broken.toml", "broken.toml must be TOML"),
    ("search --space number.toml", "[parameters] must be a table, got 3"),
    ("search --space nested.toml", "values must be numbers, strings or booleans, got [8]"),
    ("search --space date.toml", "atom_dim must be a list of values or a table"),
    ("search --space baseline.toml", "the first trial must lie in the space"),
    ("search --space fixed.toml", "batch_size must be an integer of at least 1, got 0"),
    ("search --space weights.toml --tasks band_gap", "must vary something in [parameters]"),
    ("search --space range.toml --sampler grid", "--sampler grid needs values that can be counted"),
    # Crystals and tasks.
    ("search --space table5 --store nowhere", "there is no store at nowhere"),
    ("search --space table5 --store ''", "--store must not be empty"),
    ("search --space table5 --store mine.toml", "mine.toml is no store of graphs"),
    ("search --space table5 --store .", "a store is a file, . is a folder"),
    ("search --space table5 --tasks band_gab", "got 'band_gab'; did you mean 'band_gap'?"),
    ("search --space table5 --tasks band_gap,band_gap", "each task must be named once"),
    ("search --space table5 --tasks ' ,'", "argument --tasks: must name properties, separated by commas"),
    ("search --space table5 --valid 0.0001", "the validation split must have at least"),
    ("search --space table5 --valid 0.9 --test 0.2", "both together must leave crystals to train on"),
    (
        "search --space table5 --valid 2",
        "argument --valid: must be a share of at least 0 and below 1, such as 0.1, got '2'",
    ),
    ("search --space table5 --valid ten", "argument --valid: must be a share of at least 0 and below 1"),
    ("search --space table5 --test 0", "--test must be above 0, got 0: the finalists are measured on the test split"),
    # What the machine has.
    ("search --space table5 --gpus-per-trial 1", "must be at most 0, got 1: this machine has no GPUs; lower it"),
    ("search --space table5 --cpus-per-trial 64", "must be at most 2, got 64: this machine has 2 CPUs"),
    ("search --space table5 --concurrent 3", "must be at most 2, got 3: 2 trials of 1 CPU fit this machine"),
    ("search --space table5 --concurrent 2 --cpus-per-trial 2", "1 trial of 2 CPUs fits this machine"),
    (
        "search --space table5 --device mps",
        "--device must be auto or one that is here, got 'mps'; there are: cpu; choose another",
    ),
    # Names and places.
    ("search --space table5 --name first", "runs/first exists; go on with it by --resume, choose another --name"),
    ("search --space table5 --name ''", "--name must be a plain name such as first, got ''"),
    ("search --space table5 --name a/b", "--name must be a plain name such as first, got 'a/b'"),
    ("search --space table5 --name ..", "--name must be a plain name such as first, got '..'"),
    ("search --space table5 --runs ''", "--runs must not be empty"),
    ("search --space table5 --runs mine.toml", "mine.toml is a file; choose another with --runs"),
    ("search --space table5 --runs ftp://bucket/runs", "must be a folder or a URI like s3://bucket/runs"),
    ("search --space table5 --runs s3://", "Missing bucket name in S3 URI"),
    # Going on.
    ("search --space table5 --retry-failed", "--retry-failed must come with --resume"),
    ("search --resume --runs empty", "--resume needs a run, but there is none in empty"),
    ("search --resume --name fisrt", "needs a run named 'fisrt', but runs/fisrt is none; did you mean 'first'?"),
    ("search --resume --name other", "but runs/other is none; leave --resume out to start it"),
    ("search --resume --name ''", "--name must be a plain name"),
    ("search --resume --seed 7", "--seed was 0 and is now 7 (run first); leave the flag out, or start a new search"),
    ("search --resume --valid 0.2", "--valid was 0.1 and is now 0.2"),
    ("search --resume --tasks band_gap", "--tasks was formation_energy_per_atom,band_gap,fermi_energy and is now"),
    ("search --resume --max-epochs 9", "--max-epochs was 30 and is now 9"),
    ("search --resume --no-asha", "early stopping (--no-asha, [asha]) was grace_epochs 4, reduction 3 and is now none"),
    ("search --resume --sampler random", "--sampler was tpe and is now random"),
    ("search --resume --space mine.toml", "--space was the space as it was (table5.toml) and is now another text"),
    ("search --resume --store {small}", "is not the sample that ships, with which the search began"),
    # How flags are written.
    ("search --space table5 --trials 0", "argument --trials: must be an integer of at least 1, got '0'"),
    (
        f"search --space table5 --seed {2**63}",
        "argument --seed: must be an integer of at most 9,223,372,036,854,775,807",
    ),
    ("search --space table5 --seed -1", "argument --seed: must be an integer of at least 0, got '-1'"),
    ("search --space table5 --max-epochs 1e3", "argument --max-epochs: must be an integer"),
    ("search --space table5 --concurrent two", "argument --concurrent: must be an integer of at least 1"),
    ("search --space table5 --cpus-per-trial 0", "argument --cpus-per-trial: must be a number above 0, got '0'"),
    ("search --space table5 --gpus-per-trial inf", "argument --gpus-per-trial: must be a number of at least 0"),
    ("search --space table5 --time-budget 2d", "a duration must look like 2h, 30m, 90s or 1h30m, got '2d'"),
    ("search --space table5 --time-budget 0s", "a duration must be > 0, got '0s'"),
    ("search --space table5 --sampler gird", "must be one of tpe, random, grid, got 'gird'; did you mean 'grid'?"),
    ("search --space table5 --trails 4", "there is no option --trails; did you mean '--trials'?"),
    ("search --space table5 more", "there is one argument too many: 'more'"),
    # Report.
    ("report", "the following arguments are required: RUN"),
    ("report runs/fisrt", "(with run.json), but there is none; did you mean 'runs/first'?"),
    ("report first", "but there is none; did you mean 'runs/first'?"),
    ("report nowhere/at_all", "nowhere/at_all must be the folder of a search (with run.json), but there is none"),
    ("report mine.toml", "mine.toml must be the folder of a search (with run.json), but it is a file"),
    ("report empty", "empty must be the folder of a search (with run.json), but it holds none"),
    ("report damaged", "run.json must be JSON, but it is damaged"),
    ("report foreign", "these differ: "),
    ("report ftp://bucket/runs/x", "must be a folder or a URI like s3://bucket/runs"),
    ("report s3://", "must name a bucket, such as s3://bucket/runs, got 's3:'"),
    ("report file:///nowhere/at_all", "a mirrored run must be at file:///nowhere/at_all, but there is none"),
    ("report runs/first more", "there is one argument too many: 'more'"),
    # Clusters.
    ("preflight", "CLUSTER_FILE must be given, such as cluster.yaml"),
    ("preflight cluster.yml", "there is no cluster.yml; did you mean 'cluster.yaml'?"),
    ("preflight --ofline x.yaml", "there is no option --ofline; did you mean '--offline'?"),
    ("remote", "the following arguments are required: COMMAND"),
    ("remote submitt cluster.yaml", "got 'submitt'; did you mean 'submit'?"),
    ("remote submit", "the following arguments are required: CLUSTER"),
    ("remote submit cluster.yaml", "--space must be given: a TOML file or one of table5"),
    (
        "remote submit none.yaml --space table5",
        "the cluster file must be one such as cluster.yaml, but there is no none.yaml",
    ),
    ("remote submit mine.toml --space table5", "mine.toml, line 2: must be YAML, but "),
    ("remote submit cluster.yaml --space table5", "but it has no cluster_name"),
    ("remote submit cluster.yaml --space table5 --name 'a b'", "the name of a search on a cluster must be letters"),
    ("remote submit cluster.yaml --space table5 --name ''", "got ''; choose another --name"),
    ("remote submit cluster.yaml --space table5 --resume", "--resume must not be given to submit"),
    ("remote submit cluster.yaml --space table5 --retry-failed", "tuner.remote resume CLUSTER NAME --retry-failed"),
    ("remote submit cluster.yaml --spase table5", "there is no option --spase; did you mean '--space'?"),
    ("remote resume cluster.yaml first --name second", "must be resumed under its own name 'first', got --name 'sec"),
    ("remote watch none.yaml", "the cluster file must be one such as cluster.yaml, but there is no none.yaml"),
    ("remote status mine.toml", "mine.toml, line 2: must be YAML, but "),
    ("remote fetch cluster.yaml", "the following arguments are required: NAME"),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the user stands: spaces, a run of the sample that was begun, and what is none."""
    folder = tmp_path_factory.mktemp("place")
    for name, text in SPACES.items():
        (folder / f"{name}.toml").write_text(text)
    (folder / "binary.toml").write_bytes(b"\xff\xfe[")
    (folder / "cluster.yaml").write_text("max_workers: 1\n")
    (folder / "empty").mkdir()
    for name, text in (("damaged", '{"settings": '), ("foreign", '{"settings": {"space": 1}}')):
        (folder / name).mkdir()
        (folder / name / "run.json").write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(SearchDriver, "execute", SearchDriver._begin)
        assert search.main(["--space", "table5", "--name", "first"]) == 0
    return folder


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() if path.is_file() else b"" for path in folder.rglob("*")}


@pytest.mark.parametrize(("line", "message"), MISTAKES, ids=[line for line, _ in MISTAKES])
def test_a_mistake_is_answered_in_one_line_and_changes_nothing(
    place: Path,
    small_store: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    line: str,
    message: str,
) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setattr("tuner.cluster.resources.this_machine", lambda: Resources(cpus=2, gpus=0))
    before = everything(place)
    name, *words = shlex.split(line.format(small=small_store))
    try:
        status = COMMANDS[name](words)
    except SystemExit as end:
        status = int(end.code or 0)
    shown = capfd.readouterr()
    assert status == 2, shown
    assert shown.err.startswith("error: "), shown.err
    assert shown.err.count("\n") == 1, shown.err
    assert message in shown.err, shown.err
    assert shown.out == ""
    assert "Traceback" not in shown.err
    assert "[Errno" not in shown.err
    assert everything(place) == before


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_examples_that_are_read(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["submit"], ["fetch"]) if name == "remote" else ([],):
        with pytest.raises(SystemExit, match="0"):
            COMMANDS[name]([*arguments, "--help"])
        examples = capsys.readouterr().out.partition("examples:\n")[2].splitlines()
        assert len(examples) >= 2
        assert all(example.startswith(f"  python -m tuner.{name} ") for example in examples)


def test_a_reader_that_has_seen_enough_is_no_error(place: Path) -> None:
    command = [sys.executable, "-m", "tuner.report", str(place / "runs" / "first")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 0


def test_ctrl_c_in_report_is_one_line(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tuner.report.written_files.write_report", interrupted)
    assert report.main([str(place / "runs" / "first")]) == 130
    assert capsys.readouterr().err == "interrupted: the search itself is untouched\n"
