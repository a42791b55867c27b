"""The folder in which the mistakes are made: a user's crystals, targets, store, model and search.

It is built once, by the commands themselves; each mistake is made in a copy of it, and what the mistake may not touch
is compared byte by byte.
"""

import csv
import glob
import gzip
import hashlib
import importlib
import shlex
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tuner.cli import main

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SAMPLE = Path(__file__).resolve().parents[2] / "graphdb" / "sample" / "cubic_pbe.csv.gz"
CONFIG = "[architecture]\nnum_convs = 1\natom_dim = 8\nhead_dim = 8\n\n[train]\nepochs = 2\nbatch_size = 16\n"
SPACE = (
    "[parameters]\nlearning_rate = { low = 1e-3, high = 1e-2, log = true }\natom_dim = [8, 16]\n"
    "[fixed]\nnum_convs = 1\nhead_dim = 8\nbatch_size = 16\n"
)
LINE_LENGTH = 420
"""Of an error, at most; longer ones are not read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Mistake:
    """What a user does wrong, and what the answer must be."""

    what: str
    """In words."""
    typed: str
    """After ``crystune``; ``*`` is a pattern as in a shell."""
    says: str
    """Part of the line: what came, or what must hold."""
    do: str
    """Part of the line: what to do."""
    first: Callable[[], object] = lambda: None
    """Done in the folder before."""
    status: int = 2
    may_make: tuple[str, ...] = ()
    """Names, with folders, of what may be there or be other afterwards; everything else must be as before."""
    notes: int = 0
    """Lines on stderr that are no error: at most so many."""
    listed: bool = False
    """Whether the answer is a finding among others on stdout, as those of preflight are."""


def copy_of(stage: Path, folder: Path) -> Path:
    """A copy to make a mistake in; its search is over its own store."""
    copy = Path(shutil.copytree(stage, folder, symlinks=True))
    settings = copy / "runs" / "done" / "run.json"
    settings.write_text(settings.read_text().replace(str(stage), str(copy)))
    return copy


def snapshot(folder: Path) -> dict[str, str]:
    """Digest of each file by its name; folders have none."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        found[name] = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
    return found


def call(typed: str) -> int:
    """Run a command line in this process; returns its exit status."""
    words: list[str] = []
    for word in shlex.split(typed):
        words += sorted(glob.glob(word)) or [word] if "*" in word else [word]
    try:
        return main(words)
    except SystemExit as end:
        return int(end.code or 0)


def check(mistake: Mistake, stage: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Make the mistake in a copy of the stage, and hold the answer against what it must be."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["crystune"])
        (folder / "home").mkdir(parents=True)
        patch.setenv("HOME", str(folder / "home"))
        patch.chdir(copy_of(stage, folder / "stage"))
        mistake.first()
        before = snapshot(Path())
        capsys.readouterr()
        status = call(mistake.typed)
        said = capsys.readouterr()
        after = snapshot(Path())
    shown = f"crystune {mistake.typed}\nstatus {status}\n{said.err}"
    lines = said.err.splitlines() if not mistake.listed else [f"error: {' '.join(said.out.split())}"]
    errors = [line for line in lines if line.startswith("error: ")]
    assert status == mistake.status, shown
    assert len(errors) == (1 if status == 2 else 0), shown
    assert len(lines) - len(errors) <= mistake.notes, shown
    for text in (mistake.says, mistake.do):
        assert text in (errors[0] if errors else said.err), f"{text!r} is not in it:\n{shown}"
    for raw in ("Traceback", "[Errno", "<class ", "object at 0x", " 1 trials", "usage:"):
        assert raw not in said.err, shown
    assert mistake.listed or all(len(line) <= LINE_LENGTH for line in lines), shown

    def allowed(name: str) -> bool:
        return any(name == made or name.startswith(made.rstrip("/") + "/") for made in mistake.may_make)

    assert snapshot(folder / "home") == {}, "something was left in HOME"
    changed = [name for name in before.keys() | after.keys() if before.get(name) != after.get(name)]
    assert [name for name in sorted(changed) if not allowed(name)] == [], f"changed by the mistake:\n{shown}"


def build_stage(folder: Path) -> Path:
    """Make everything by the commands."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("cifs").mkdir()
        for name in ("NbCoSn.cif", "NbFeSb.cif", "ScNiSb.vasp"):
            shutil.copy(EXAMPLES / name, "cifs")
        Path("targets.csv").write_text("material_id,band_gap [eV]\nNbCoSn,1.0\nNbFeSb,0.5\nScNiSb,0.25\n")
        Path("mine.toml").write_text(SPACE)
        Path("small.toml").write_text(CONFIG)
        Path("notes.txt").write_text("buy milk\n")
        Path("thesis").mkdir()
        Path("thesis/chapter1.tex").write_text("Crystals are\n")
        with gzip.open(SAMPLE, "rt", newline="") as lines:
            rows = list(csv.reader(lines))
        with open("crystals.csv", "w", newline="") as file:
            csv.writer(file).writerows([rows[0], *rows[1:-1:11][:64]])
        for typed in (
            "build crystals.csv my.lmdb --quiet",
            "build cifs cifs.lmdb --targets targets.csv --quiet",
            "train my.lmdb -o model --config small.toml --tasks band_gap --device cpu",
            "search --space mine.toml --store my.lmdb --tasks band_gap --trials 2 --max-epochs 1 --finalists 0 "
            "--name done --device cpu",
            "export runs/done -o best",
        ):
            status = call(typed)
            assert status == 0, typed
    return folder


def flip_byte(name: str, place: float = 0.5) -> None:
    """Damage a file at this share of its length."""
    content = bytearray(Path(name).read_bytes())
    content[int(place * (len(content) - 1))] ^= 0xFF
    Path(name).write_bytes(content)


def cut(name: str, share: float = 0.5) -> None:
    """Leave this share of a file."""
    content = Path(name).read_bytes()
    Path(name).write_bytes(content[: int(share * len(content))])


def write(name: str, text: str | bytes) -> None:
    """Make a file, and the folders for it."""
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_bytes(text.encode() if isinstance(text, str) else text)


def edit(name: str, old: str, new: str) -> None:
    """Change a text file."""
    text = Path(name).read_text()
    assert old in text, f"{old!r} is not in {name}"
    Path(name).write_text(text.replace(old, new, 1))


def ids(mistakes: Sequence[Mistake]) -> list[str]:
    """Names of the tests."""
    names = [mistake.what for mistake in mistakes]
    assert len(set(names)) == len(names)
    return names


def module(name: str) -> object:
    """A module, loaded when it is needed."""
    return importlib.import_module(name)
