"""A folder of hostile files: each is digested with the right reason, or turns out to be a good crystal after all."""

import csv
import gzip
import io
import json
import os
import tarfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from graphdb import build
from graphdb.errors import NOTES, REASON_TEXT, Reason
from graphdb.store import Store


def cif(
    atoms: str = "  Na  Na0  1  0.0  0.0  0.0  1\n  Cl  Cl1  1  0.5  0.5  0.5  1\n",
    cell: tuple[object, ...] = (3.9, 3.9, 3.9, 60, 60, 60),
    name: str = "NaCl",
) -> str:
    """A CIF as pymatgen writes it."""
    names = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")
    lines = [f"_cell_{name}   {value}" for name, value in zip(names, cell, strict=True) if value is not None]
    columns = ["type_symbol", "label", "symmetry_multiplicity", "fract_x", "fract_y", "fract_z", "occupancy"]
    return "\n".join(
        [
            "# generated using pymatgen",
            f"data_{name}",
            "_symmetry_space_group_name_H-M   'P 1'",
            *lines,
            "loop_",
            " _symmetry_equiv_pos_site_id",
            " _symmetry_equiv_pos_as_xyz",
            "  1  'x, y, z'",
            "loop_",
            *(f" _atom_site_{column}" for column in columns),
            atoms,
        ]
    )


def poscar(elements: str = "Na Cl", counts: str = "1 1", cell: str = "0 2.8 2.8\n2.8 0 2.8\n2.8 2.8 0") -> str:
    return f"comment\n1.0\n{cell}\n{elements}\n{counts}\ndirect\n0 0 0\n0.5 0.5 0.5\n"


def structure(**changes: object) -> str:
    """A pymatgen Structure as JSON; entries that are None are left out."""
    sites = [
        {"species": [{"element": symbol, "occu": 1}], "abc": [x, x, x], "label": symbol}
        for symbol, x in (("Na", 0.0), ("Cl", 0.5))
    ]
    entry = {
        "@class": "Structure",
        "lattice": {"matrix": [[0, 2.8, 2.8], [2.8, 0, 2.8], [2.8, 2.8, 0]]},
        "sites": sites,
    }
    return json.dumps({key: value for key, value in {**entry, **changes}.items() if value is not None})


def tarball(names: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, content in names.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def atom(symbol: str, x: object = 0.0, occupancy: object = 1) -> str:
    return f"  {symbol}  {symbol}0  1  {x}  0.0  0.0  {occupancy}\n"


GOOD = None
NA_SITE = {"species": [{"element": "Na", "occu": 1}], "abc": [0, 0, 0]}
OPERATIONS = "\n".join(f"  {i}  'x+{i}/19, y, z'" for i in range(19))
NO_CELL = cif(cell=(None,) * 6).split("'P 1'")[1]
LONG = (20_000, 4, 4, 90, 90, 90)
SOME_ATOMS = "".join(atom("Na", i / 3000) for i in range(3000))
MANY_ATOMS = "".join(atom("Na", i / 6000) for i in range(6000))


@dataclass(frozen=True)
class Case:
    """A file and what must become of it."""

    name: str
    content: str | bytes | Callable[[Path], None]
    reason: Reason | None
    message: str = ""


CASES = [
    Case("good.cif", cif(), GOOD),
    # encodings and line ends
    Case("bom.cif", b"\xef\xbb\xbf" + cif().encode(), GOOD),
    Case("crlf.cif", cif().replace("\n", "\r\n"), GOOD),
    Case("mac_line_ends.cif", cif().replace("\n", "\r"), GOOD),
    Case("utf16.cif", cif().encode("utf-16"), GOOD),
    Case("latin1.cif", cif(name="Schr\xf6dinger").encode("latin-1"), GOOD),
    Case("zipped.cif.gz", gzip.compress(cif().encode()), GOOD),
    # names
    Case("ein Name mit Leerzeichen.cif", cif(), GOOD),
    Case("Кристалл-水.cif", cif(), GOOD),
    Case("SHOUTED.CIF", cif(), GOOD),
    Case("mp-77/POSCAR", poscar(), GOOD),
    Case("POSCAR_tagged", poscar(), GOOD),
    Case("some.vasp", poscar(), GOOD),
    Case("newline\nin name.cif", cif(), Reason.BAD_ID, "control characters"),
    Case("other/good.cif", cif(), Reason.DUPLICATE_ID, "good.cif too"),
    # not text, or not all of it
    Case("empty.cif", "", Reason.EMPTY_FILE),
    Case("blank.cif", " \n\t\r\n ", Reason.EMPTY_FILE),
    Case("zeros.cif", bytes(4096), Reason.EMPTY_FILE),
    Case("junk.cif", bytes(range(256)) * 40, Reason.UNPARSABLE, "binary"),
    Case("prose.cif", "Dear editor, please find enclosed our crystal.", Reason.UNPARSABLE, "_cell_length_a"),
    Case("html.cif", "<html><body>404 Not Found</body></html>", Reason.UNPARSABLE),
    Case("cut_in_cell.cif", cif()[:150], Reason.NO_ATOMS, "lists no atoms"),
    Case("cut_in_atoms.cif", cif().rstrip()[:-12], Reason.UNPARSABLE),
    Case("cut.cif.gz", gzip.compress(cif().encode())[:-20], Reason.UNPARSABLE, "gzip"),
    Case("not_gzip.cif.gz", cif(), GOOD),  # as after a download that unpacked it
    Case("bomb.cif.gz", gzip.compress(b"data_x\n" + b"#" * 70_000_000), Reason.TOO_LARGE),
    Case("long_comment.cif", cif() + "#" * 9_000_000, GOOD),
    # cells
    Case("no_lattice.cif", cif(cell=(None,) * 6), Reason.NO_LATTICE),
    Case("half_lattice.cif", cif(cell=(3.9, 3.9, None, 60, 60, 60)), Reason.NO_LATTICE, "_cell_length"),
    Case("no_angles.cif", cif(cell=(3.9, 3.9, 3.9, None, None, None)), Reason.NO_LATTICE),
    Case("system_only.cif", "data_x\n_symmetry_cell_setting cubic\n" + NO_CELL, Reason.NO_LATTICE),
    Case("zero_length.cif", cif(cell=(0, 3.9, 3.9, 60, 60, 60)), Reason.INVALID_CELL),
    Case("flat_angles.cif", cif(cell=(3.9, 3.9, 3.9, 60, 60, 120)), Reason.INVALID_CELL, "volume"),
    Case("nan_cell.cif", cif(cell=("nan", 3.9, 3.9, 60, 60, 60)), Reason.INVALID_CELL),
    Case("infinite_cell.cif", cif(cell=("inf", 3.9, 3.9, 60, 60, 60)), Reason.INVALID_CELL),
    Case("word_for_cell.cif", cif(cell=("long", 3.9, 3.9, 60, 60, 60)), Reason.UNPARSABLE),
    Case("zero_volume.vasp", poscar(cell="1 0 0\n2 0 0\n0 0 1"), Reason.INVALID_CELL, "volume"),
    # atoms
    Case("no_atoms.cif", cif(""), Reason.NO_ATOMS),
    Case("nan_atom.cif", cif(atom("Na", "nan")), Reason.BAD_COORDINATES, "finite"),
    Case("infinite_atom.cif", cif(atom("Na", "inf")), Reason.BAD_COORDINATES, "finite"),
    Case("question_mark.cif", cif(atom("Na", "?")), Reason.BAD_COORDINATES, "lacks some"),
    Case("far_atom.cif", cif(atom("Na", "7.25")), GOOD),
    Case("uncertain.cif", cif(atom("Na", "0.2500(13)")), GOOD),
    Case("twice_there.cif", cif(atom("Na") + atom("Na")), Reason.SITES_MERGED, "1 site"),
    Case("nearly_twice.cif", cif(atom("Na") + atom("Cl", 0.02)), Reason.COINCIDING_ATOMS, "apart"),
    Case("twice_oxidised.cif", cif(atom("Na+") + atom("Na+")), Reason.SITES_MERGED),
    Case("shared.cif", cif(atom("Na", 0, 0.5) + atom("K", 0, 0.5)), Reason.DISORDERED, "shared"),
    Case("partial.cif", cif(atom("Na", 0, 0.9)), Reason.DISORDERED, "partly empty"),
    Case("overfull.cif", cif(atom("Na", 0, 1.7)), Reason.COINCIDING_ATOMS, "more than 1"),
    # elements
    Case("made_up.cif", cif(atom("Qq")), Reason.UNKNOWN_ELEMENT, "Qq"),
    Case("dummy.cif", cif(atom("X")), Reason.UNKNOWN_ELEMENT, "X"),
    Case("undiscovered.cif", cif(atom("Uue")), Reason.UNKNOWN_ELEMENT, "Uue"),
    Case("vacancy.cif", cif(atom("Va")), Reason.UNKNOWN_ELEMENT, "Va"),
    Case("heavy.cif", cif(atom("Og")), Reason.ELEMENT_WITHOUT_FEATURES, "Og"),
    Case("lawrencium.cif", cif(atom("Lr")), Reason.ELEMENT_WITHOUT_FEATURES, "up to Fm"),
    Case("deuteride.cif", cif(atom("Li") + atom("D", 0.5)), GOOD),
    Case("ions.cif", cif(atom("Na1+") + atom("Cl1-", 0.5)), GOOD),
    Case("numbers_only.vasp", poscar(elements="1 1", counts="direct"), Reason.UNKNOWN_ELEMENT, "name the elements"),
    Case("placeholder.poscar", poscar(elements="X Cl"), Reason.UNKNOWN_ELEMENT, "X"),
    Case("no_counts.vasp", poscar(counts="0 0"), Reason.NO_ATOMS),
    Case("short.vasp", "comment\n1.0\n", Reason.UNPARSABLE, "8 lines"),
    Case("too_few_positions.vasp", poscar(counts="1 7"), Reason.UNPARSABLE),
    Case("billion.vasp", poscar(counts="1 1000000000"), Reason.TOO_LARGE, "1,000,000,001"),
    # sizes
    Case(
        "giant.cif",
        cif("".join(atom("Na", i / 6000) for i in range(6000)), (20_000, 4, 4, 90, 90, 90)),
        Reason.TOO_LARGE,
    ),
    Case("isolated.cif", cif(atom("He"), (60, 60, 60, 90, 90, 90)), Reason.TOO_SPARSE, "neighbors within"),
    Case("far_apart_dimer.cif", cif(atom("H") + atom("H", 0.01), (74, 74, 74, 90, 90, 90)), Reason.TOO_SPARSE),
    Case("slab.cif", cif(cell=(3.9, 3.9, 250, 90, 90, 90)), GOOD),
    Case("symmetry.cif", cif(SOME_ATOMS, LONG).replace("  1  'x, y, z'", OPERATIONS), Reason.TOO_LARGE, "at least"),
    Case("symmetry_and_all.cif", cif(MANY_ATOMS, LONG).replace("  1  'x, y, z'", OPERATIONS), Reason.TOO_LARGE),
    # several structures
    Case("two_blocks.cif", cif() + "\n" + cif(atom("Na"), name="other"), Reason.SEVERAL_STRUCTURES, "data_other"),
    Case("twice_the_same.cif", cif() + "\n" + cif(name="again"), GOOD),
    Case("journal.cif", "data_global\n_journal_year 1999\n" + cif(), GOOD),
    Case("archive.tar.gz", tarball({"inner.cif": cif().encode()}), Reason.NOT_A_STRUCTURE),
    Case("archive.zip", b"PK\x03\x04" + bytes(100), Reason.NOT_A_STRUCTURE),
    Case("notes.txt", "remember to relax", Reason.NOT_A_STRUCTURE),
    # JSON
    Case("good_structure.json", structure(), GOOD),
    Case("list.json", f"[{structure()}, {structure()}]", GOOD),
    Case("broken.json", structure()[:-7], Reason.UNPARSABLE, "not JSON"),
    Case("deep.json", "[" * 200_000, Reason.UNPARSABLE),
    Case("other.json", '{"model": "cgcnn", "epochs": 30}', Reason.NOT_A_STRUCTURE),
    Case("number.json", "42", Reason.NOT_A_STRUCTURE),
    Case("molecule.json", structure(lattice=None), Reason.NO_LATTICE, "molecule"),
    Case("no_sites.json", structure(sites=[]), Reason.NO_ATOMS),
    Case("null_sites.json", structure(sites=[None]), Reason.UNPARSABLE),
    Case("flat_matrix.json", structure(lattice={"matrix": [[1, 0], [0, 1]]}), Reason.INVALID_CELL, "shape"),
    Case("words_matrix.json", structure(lattice={"matrix": [["a"] * 3] * 3}), Reason.UNPARSABLE),
    Case("nan_matrix.json", structure(lattice={"matrix": [[float("nan")] * 3] * 3}), Reason.INVALID_CELL, "nan"),
    Case("foreign_class.json", structure(**{"@module": "os", "@class": "system"}), GOOD),
    Case(
        "half.json",
        structure(sites=[{"species": [{"element": "Na", "occu": 0.5}], "abc": [0, 0, 0]}]),
        Reason.DISORDERED,
    ),
    Case("thousand_dimensions.json", structure(sites=[{**NA_SITE, "abc": [0] * 1000}]), Reason.BAD_COORDINATES),
    # what is no regular file
    Case("dangling.cif", lambda path: path.symlink_to("nowhere.cif"), Reason.UNREADABLE),
    Case("link_to_folder", lambda path: path.symlink_to(path.parent), Reason.NOT_A_STRUCTURE, "not followed"),
    Case("pipe.cif", lambda path: os.mkfifo(path), Reason.NOT_A_STRUCTURE, "regular file"),
]
#: File names whose id is not simply their stem.
IDS = {
    "mp-77/POSCAR": "mp-77",
    "POSCAR_tagged": "tagged",
    "zipped.cif.gz": "zipped",
    "not_gzip.cif.gz": "not_gzip",
    "list.json": "list-0",
}


@dataclass(frozen=True)
class Digested:
    """What a build made of the folder."""

    store: Store
    skipped: dict[str, list[dict[str, str]]]  # rows by file
    screen: str


@pytest.fixture(scope="module")
def digested(tmp_path_factory: pytest.TempPathFactory) -> Digested:
    folder = tmp_path_factory.mktemp("hostile") / "source"
    for case in CASES:
        path = folder / case.name
        path.parent.mkdir(parents=True, exist_ok=True)
        if callable(case.content):
            case.content(path)
        else:
            path.write_bytes(case.content if isinstance(case.content, bytes) else case.content.encode())
    store = folder.parent / "my.store"
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("error")  # a warning would reach the user's screen
        screen = io.StringIO()
        patch.setattr("sys.stdout", screen)
        patch.setattr("sys.stderr", screen)
        assert build.main([str(folder), str(store)]) == 0
    skipped: dict[str, list[dict[str, str]]] = {}
    with (folder.parent / "my.store.skipped.csv").open(newline="") as lines:
        for row in csv.DictReader(lines):
            skipped.setdefault(row["where"], []).append(row)
    return Digested(Store(store), skipped, screen.getvalue())


def is_stored(case: Case) -> bool:
    return case.reason is None or case.reason in NOTES


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.encode("unicode_escape").decode())
def test_each_hostile_file_is_digested_with_its_reason(digested: Digested, case: Case) -> None:
    rows = digested.skipped.get(case.name, [])
    material_id = IDS.get(case.name, Path(case.name).stem)
    if case.reason is None:
        assert rows == []
    assert (material_id in digested.store.material_ids) == is_stored(case) or case.reason == Reason.DUPLICATE_ID
    if case.reason is not None:
        assert [row["reason"] for row in rows] == [case.reason], rows
        assert case.message in rows[0]["message"]
        assert "Traceback" not in rows[0]["message"]


def test_at_least_forty_inputs_are_hostile() -> None:
    assert sum(case.reason is not None for case in CASES) >= 40


def test_nothing_is_dropped_silently(digested: Digested) -> None:
    assert len(digested.store) == sum(is_stored(case) for case in CASES) + 1  # list.json holds two
    assert len(digested.skipped) == sum(case.reason is not None for case in CASES)
    noted = sum(digested.store.num_noted.values())
    assert noted == sum(case.reason in NOTES for case in CASES if case.reason is not None)
    assert sum(digested.store.num_skipped.values()) + noted == len(digested.skipped)


def test_summary_counts_every_reason_without_warnings_or_tracebacks(digested: Digested) -> None:
    for reason, count in (digested.store.num_skipped | digested.store.num_noted).items():
        assert f"{count:,} {reason}" in digested.screen
    assert "Traceback" not in digested.screen
    assert "Warning" not in digested.screen


def test_a_good_crystal_has_the_same_graph_however_it_was_encoded(digested: Digested) -> None:
    ids = digested.store.material_ids
    good = digested.store.graph(ids.index("good"))
    for name in ("bom", "crlf", "mac_line_ends", "utf16", "latin1", "zipped"):
        other = digested.store.graph(ids.index(name))
        assert other.neighbor_distance.tolist() == good.neighbor_distance.tolist(), name


def test_every_reason_is_explained() -> None:
    assert set(REASON_TEXT) == set(Reason)
