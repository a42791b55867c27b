"""Several texts with one id: the first one that can be used counts."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from graphdb import usable
from graphdb.build import build_store
from graphdb.convert import Converted, to_crystal, to_graph
from graphdb.crystal import Crystal
from graphdb.errors import Reason, SkippedCrystal
from graphdb.graphsettings import SoftNeighbors
from graphdb.ingest import Text
from graphdb.rawcrystal import Entry
from graphdb.sources import TarSource
from graphdb.usable import iter_usable
from tests.graphdb.sourcefiles import IRON, IRON_CIF, NACL, NACL_CIF, read_usable, text, write_csv, write_tar


def test_another_crystal_of_the_same_id_is_told_from_a_second_text_of_one(tmp_path: Path) -> None:
    files = {
        "x/relax/CONTCAR": text(NACL, "poscar"),
        "x/relax/POSCAR": text(IRON, "poscar"),
        "y/relax/CONTCAR": text(IRON, "poscar"),
        "y/relax/POSCAR": "",
        "z/relax/CONTCAR": text(NACL, "poscar"),
    }
    for name, content in files.items():
        (tmp_path / "f" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "f" / name).write_text(content)
    for source in (tmp_path / "f", write_tar(tmp_path / "f.tar", files)):
        notes = {item.where: item for _, item in read_usable(source) if isinstance(item, SkippedCrystal)}
        assert {where: note.reason for where, note in notes.items()} == {
            "x/relax/POSCAR": Reason.DUPLICATE_ID,
            "y/relax/CONTCAR": Reason.ID_TAKEN,
            "y/relax/POSCAR": Reason.ID_TAKEN,
            "z/relax/CONTCAR": Reason.DUPLICATE_ID,
        }
        assert "rename the file or its folder" in notes["y/relax/CONTCAR"].message
    rows = [["id", "cif"], ["a", NACL_CIF], ["a", IRON_CIF], ["a", NACL_CIF]]
    table = write_csv(tmp_path / "t.csv", rows)
    reasons = [(item.reason, item.message) for _, item in read_usable(table) if isinstance(item, SkippedCrystal)]
    assert [reason for reason, _ in reasons] == [Reason.ID_TAKEN, Reason.DUPLICATE_ID]
    assert reasons[0][1].endswith("give each row an id of its own")


def test_the_first_usable_structure_of_an_id_counts_in_predictions(tmp_path: Path) -> None:
    for folder, contcar in (("a", ""), ("b", text(IRON, "poscar")), ("c", "")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "CONTCAR").write_text(contcar)
        (tmp_path / folder / "POSCAR").write_text(text(NACL, "poscar") if folder != "c" else "")
    found = list(read_usable(tmp_path))
    crystals = {name: len(item.atomic_numbers) for name, item in found if isinstance(item, Crystal)}
    assert crystals == {"a": 8, "b": 2}
    notes = [(name, item.reason, item.where, item.message) for name, item in found if isinstance(item, SkippedCrystal)]
    assert notes == [
        ("b", Reason.DUPLICATE_ID, "b/POSCAR", "the id is that of b/CONTCAR too; that one counts"),
        ("a", Reason.DUPLICATE_ID, "a/CONTCAR", "the file has no content; a/POSCAR has the same id and counts"),
        ("c", Reason.EMPTY_FILE, "c/CONTCAR", "the file has no content"),
        ("c", Reason.DUPLICATE_ID, "c/POSCAR", notes[-1][3]),
    ]


def test_a_text_without_a_graph_gives_way_to_a_later_one_in_predictions_as_in_a_build(tmp_path: Path) -> None:
    far_apart = IRON.copy()
    far_apart.scale_lattice(60.0**3)
    (tmp_path / "f" / "a").mkdir(parents=True)
    (tmp_path / "f" / "a" / "CONTCAR").write_text(text(far_apart, "poscar"))
    (tmp_path / "f" / "a" / "POSCAR").write_text(text(IRON, "poscar"))
    settings = SoftNeighbors()
    found = [item for _, item in read_usable(tmp_path / "f", partial(to_graph, settings=settings))]
    graph, note = found
    assert isinstance(graph, Converted)
    assert isinstance(note, SkippedCrystal)
    assert note.message.endswith("POSCAR has the same id and counts")
    report = build_store(tmp_path / "f", tmp_path / "store.lmdb", num_workers=1)
    assert (report.num_crystals, len(report.skipped)) == (1, 1)


def test_what_counts_does_not_depend_on_how_far_is_read_ahead(tmp_path: Path) -> None:
    """Several texts of an id may be converted before it is known that the first one can be used."""
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    (tmp_path / "a" / "x.cif").write_text("")
    for name, crystal in {"a/x.vasp": NACL, "b/w.vasp": NACL, "b/x.vasp": IRON, "b/y.vasp": IRON}.items():
        (tmp_path / name).write_text(text(crystal, "poscar"))

    def all_at_once(texts: Iterator[Text]) -> list[Crystal | SkippedCrystal]:
        return [to_crystal(raw) for raw, _ in list(texts)]

    def one_by_one(texts: Iterator[Text]) -> Iterator[Crystal | SkippedCrystal]:
        return (to_crystal(raw) for raw, _ in texts)

    ahead, plain = (
        [
            (item.source, item.share, item.material_id, item.digest, item.is_deferred, str(item.result))
            for item in iter_usable([tmp_path, tmp_path / "b"], convert)
        ]
        for convert in (all_at_once, one_by_one)
    )
    assert ahead == plain
    assert len({digest for _, _, _, digest, _, _ in plain if digest}) == 3


def test_files_of_other_kinds_do_not_pile_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many of them an archive has, with crystals among them or not."""
    monkeypatch.setattr(usable, "_MOST_IN_A_ROW", 8)
    files = {f"{number:03d}.txt": "no crystal" for number in range(100)}
    files |= {"010.vasp": text(IRON, "poscar"), "011.vasp": text(NACL, "poscar"), "060.vasp": text(IRON, "poscar")}
    read: list[Entry] = []

    class Watched(TarSource):
        def entries(self) -> Iterator[Entry]:
            for entry in super().entries():
                read.append(entry)
                yield entry

    monkeypatch.setattr(usable, "open_source", Watched)
    archive = write_tar(tmp_path / "f.tar", dict(sorted(files.items())))
    found, num_waiting = [], []

    def all_at_once(texts: Iterator[Text]) -> list[Crystal | SkippedCrystal]:
        return [to_crystal(raw) for raw, _ in list(texts)]

    for item in iter_usable([archive], all_at_once):
        found.append(item.result.where if isinstance(item.result, SkippedCrystal) else f"{item.material_id}.vasp")
        num_waiting.append(len(read) - len(found))
    assert found == sorted(files)
    assert max(num_waiting) <= 3 * 8
