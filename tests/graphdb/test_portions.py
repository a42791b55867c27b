"""Graphs of any files in portions: the same rows whoever reads them, and those that are done are not made again."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from graphdb import ingest, portions
from graphdb.build import build_store
from graphdb.errors import SkippedCrystal, StoreError
from graphdb.graphsettings import SoftNeighbors
from graphdb.portions import GraphFiles, Portion
from graphdb.usable import SourceChanged
from tests.graphdb.sourcefiles import IRON, NACL, text

SETTINGS = SoftNeighbors()
NUM_FILES = 11


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portions, "_SOURCE_ROWS", 2)
    monkeypatch.setattr(portions, "_STORE_ROWS", 3)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Crystals, one that is none, a file of another kind, and a first text of an id that cannot be used."""
    place = tmp_path / "folder"
    place.mkdir()
    for number in range(NUM_FILES - 4):
        (place / f"c{number:02d}.vasp").write_text(text(NACL if number % 2 else IRON, "poscar"))
    (place / "c03b.cif").write_text("data_broken\n_cell_length_a x\n")
    (place / "c04.cif").write_text("")
    (place / "notes.txt").write_text("no crystal\n")
    (place / "z.vasp").write_text(text(IRON, "poscar"))
    return place


class Kept:
    """What an earlier run got of its first portions."""

    def __init__(self, made: list[Portion]) -> None:
        self.material_ids: Iterator[str] = iter([name for portion in made for name in portion.material_ids])
        self._made = made

    def texts(self, group: int) -> Iterator[tuple[bytes, SkippedCrystal | None]]:
        for portion in self._made:
            if portion.group == group:
                yield from portion.texts


def rows(made: list[Portion]) -> list[tuple[str, str, str]]:
    """Id, refusal and note of each row."""
    found = []
    for portion in made:
        for row, name in enumerate(portion.material_ids):
            refusal = portion.refusals.get(row)
            found.append((name, refusal.message if refusal else "", portion.notes.get(row, "")))
    return found


def same(one: Portion, other: Portion) -> bool:
    graphs = all(
        np.array_equal(getattr(one.graphs, name), getattr(other.graphs, name)) for name in one.graphs.__slots__
    )
    return graphs and (one.group, rows([one]), one.repeats, one.texts) == (
        other.group,
        rows([other]),
        other.repeats,
        other.texts,
    )


def test_a_folder_comes_in_its_order_with_a_row_for_everything(folder: Path) -> None:
    files = GraphFiles([str(folder)], SETTINGS)
    made = list(files.portions())
    assert [len(portion.material_ids) for portion in made] == [2] * 5 + [1]
    names = [name for name, _, _ in rows(made)]
    assert names == ["c00", "c01", "c02", "c03", "c03b", "c04", "c05", "c06", "notes.txt", "z", "c04"]
    refused = {name: message.partition(":")[0] for name, message, _ in rows(made) if message}
    assert refused == {"c03b": "no atoms", "notes.txt": "not a structure", "c04": "duplicate id"}
    assert [portion.share for portion in made] == sorted(portion.share for portion in made)
    assert made[-1].share == 1.0
    assert files.empty == []


@pytest.mark.parametrize("num_done", [0, 1, 3, 5, 6])
def test_what_is_done_is_not_made_again_and_the_rest_is_the_same(
    folder: Path, sample_store: Path, num_done: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [str(folder / "c00.vasp"), str(folder), str(folder / "z.vasp")]
    made = list(GraphFiles(names, SETTINGS).portions())
    converted: list[str] = []

    def watched(raw: object, *how: object) -> object:
        converted.append(raw.where)  # type: ignore[attr-defined]
        return whole(raw, *how)  # type: ignore[arg-type]

    whole = ingest.build_one
    monkeypatch.setattr(ingest, "build_one", watched)
    rest = list(GraphFiles(names, SETTINGS).portions(Kept(made[:num_done])))
    assert len(rest) == len(made) - num_done
    assert all(same(one, other) for one, other in zip(rest, made[num_done:], strict=True))
    assert len(converted) == sum(len(portion.texts) for portion in rest)


def test_a_second_end_in_the_same_run_of_refused_texts_is_gone_on_with(folder: Path) -> None:
    made = list(GraphFiles([str(folder)], SETTINGS).portions())
    again = [*made[:3], *list(GraphFiles([str(folder)], SETTINGS).portions(Kept(made[:3])))[:1]]
    rest = list(GraphFiles([str(folder)], SETTINGS).portions(Kept(again)))
    assert rows([*again, *rest]) == rows(made)


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "c01.vasp").write_text(text(IRON, "poscar") + "\n"),
        lambda folder: (folder / "c01.vasp").unlink(),
        lambda folder: (folder / "c00b.vasp").write_text(text(IRON, "poscar")),
        lambda folder: (folder / "c00b.txt").write_text("no crystal"),
        lambda folder: [path.unlink() for path in folder.iterdir() if path.name != "c00.vasp"],
    ],
    ids=["another text", "one less", "one more", "another file of another kind", "all but one gone"],
)
def test_files_that_changed_are_noticed(folder: Path, change: object) -> None:
    made = list(GraphFiles([str(folder)], SETTINGS).portions())
    change(folder)  # type: ignore[operator]
    with pytest.raises(SourceChanged):
        next(GraphFiles([str(folder)], SETTINGS).portions(Kept(made[:2])))


@pytest.mark.parametrize("num_done", range(6))
def test_stores_and_crystals_come_in_the_order_of_the_files(folder: Path, tmp_path: Path, num_done: int) -> None:
    store = tmp_path / "graphs"  # told by its content
    build_store(folder, store, num_workers=1)
    names = [str(folder / "z.vasp"), str(store), str(folder / "c00.vasp")]
    made = list(GraphFiles(names, SETTINGS).portions())
    assert [name for name, _, _ in rows(made)] == ["z", *(f"c{i:02d}" for i in range(7)), "z", "c00"]
    assert [portion.group for portion in made] == [0, 1, 1, 1, 2]
    again = {portion.material_ids[row]: file for portion in made for row, file in portion.repeats.items()}
    assert again == {"z": names[0], "c00": names[1]}
    rest = list(GraphFiles(names, SETTINGS).portions(Kept(made[:num_done])))
    assert all(same(one, other) for one, other in zip(rest, made[num_done:], strict=True))
    direct = list(GraphFiles([str(folder / "z.vasp")], SETTINGS).portions())
    assert np.array_equal(direct[0].graphs.neighbor_distance, made[0].graphs.neighbor_distance)


def test_another_store_in_the_place_of_one_is_noticed(folder: Path, tmp_path: Path) -> None:
    store = tmp_path / "graphs"
    build_store(folder, store, num_workers=1)
    made = list(GraphFiles([str(store)], SETTINGS).portions())
    (folder / "a.vasp").write_text(text(IRON, "poscar"))
    build_store(folder, store, num_workers=1)
    with pytest.raises(SourceChanged):
        next(GraphFiles([str(store)], SETTINGS).portions(Kept(made[:1])))


def test_a_store_tells_its_notes_and_a_store_in_a_folder_is_a_file_of_another_kind(
    tmp_path: Path, folder: Path
) -> None:
    noted = text(NACL, "cif").replace("_chemical_formula_sum", "_chemical_formula_sum 'Na8 Cl4'\n_other")
    place = tmp_path / "one"
    place.mkdir()
    (place / "salt.cif").write_text(noted)
    build_store(place, tmp_path / "graphs", num_workers=1)
    from_cif, from_store = (
        rows(list(GraphFiles([str(path)], SETTINGS).portions())) for path in (place, tmp_path / "graphs")
    )
    assert from_cif == from_store
    assert from_store[0][2].startswith("formula differs: ")
    (tmp_path / "graphs").rename(place / "graphs.lmdb")
    (_, _, _), (name, message, _) = sorted(rows(list(GraphFiles([str(place)], SETTINGS).portions())), reverse=True)
    assert name == "graphs.lmdb"
    assert message.startswith("not a structure: it is an LMDB file")
    assert "give the store itself to model.predict" in message
    assert "SOURCE" not in message


def test_a_store_that_is_not_whole_is_refused_before_anything_is_read(tmp_path: Path, sample_store: Path) -> None:
    content = sample_store.read_bytes()
    (tmp_path / "cut").write_bytes(content[: len(content) // 2])
    with pytest.raises(StoreError, match=r"cut (is cut off|is damaged)"):
        GraphFiles([str(tmp_path / "nothing.cif"), str(tmp_path / "cut")], SETTINGS)


def test_an_archive_that_breaks_off_has_a_row_after_those_before(tmp_path: Path) -> None:
    (tmp_path / "cut.tar.gz").write_bytes(b"\x1f\x8b")
    ((name, message, _),) = rows(list(GraphFiles([str(tmp_path / "cut.tar.gz")], SETTINGS).portions()))
    assert name == "cut.tar"
    assert "must be a complete tar archive" in message
