"""Ids of targets and crystals: what matches, what would, and what is far too much to look at."""

from collections.abc import Sequence

import pytest

from graphdb.errors import SourceError
from graphdb.matching import CrystalIds, what_would_match
from tests.graphdb.targettexts import GAPS, MP, csv_text, read


@pytest.mark.parametrize(
    ("header", "row", "remarks"),
    [
        ("id,gap\n", "{id}.cif,{gap}", ["file names as ids"]),
        ("id,gap\n", "{id}.cif.gz,{gap}", ["file names as ids"]),
        ("file,gap\n", "data/cifs/{id}.vasp,{gap}", ["file names as ids"]),
        ("file,gap\n", "C:\\data\\{id}.cif,{gap}", ["file names as ids"]),
        ("file,gap\n", "{id}/POSCAR,{gap}", ["file names as ids"]),
        ("file,gap\n", "POSCAR-{id}.vasp,{gap}", ["file names as ids"]),
        (",material_id,gap\n", "{i},{id},{gap}", []),
        (",jid,gap\n", "{i},{id},{gap}", []),
        ("gap,ID\n", "{gap},{id}", []),
        ("gap,#,Material ID\n", "{gap},,{id}", []),
        ("gap,path\n", "{gap},/x/{id}.cif", ["file names as ids"]),
        (",compound,gap\n", "{i},{id},{gap}", ["the ids of column 'compound'"]),
        ("index,compound,gap\n", "{i},{id},{gap}", ["the ids of column 'compound'", "without column 'index'"]),
        ("Unnamed: 0,compound,gap\n", "{i},{id},{gap}", ["column 'compound'", "without column 'Unnamed: 0'"]),
        ("id\tgap\n", "{id}\t{gap}", ["with tabs between its cells"]),
        ("id;gap\n", "{id};{gap}", ["with semicolons between its cells"]),
        ("id|gap\n", "{id}|{gap}", ["with bars between its cells"]),
        ("gap\n", "{id},{gap}", []),
        ('"id","gap"\n', '"{id}","{gap}"', []),
    ],
)
def test_ids_are_found_where_they_are_and_what_was_unusual_is_said(header: str, row: str, remarks: list[str]) -> None:
    table, matching = read(csv_text(header, row), MP)
    assert table.columns() == GAPS
    assert len(matching.remarks) == len(remarks)
    for remark, expected in zip(matching.remarks, remarks, strict=True):
        assert remark.startswith("read ")
        assert expected in remark
    assert (matching.num_rows, matching.num_crystals, matching.unmatched) == (3, 3, ())


def test_a_file_name_in_the_source_is_found_by_the_id_without_suffix() -> None:
    table, _ = read("id,gap\nx,1\ny.cif,2\n", ["x.cif", "y.cif"])
    assert table.columns() == {"gap": {"x.cif": 1.0, "y.cif": 2.0}}
    with pytest.raises(SourceError, match="none of its 1 is"):
        read("id,gap\nx,1\n", ["x.cif", "x.vasp"])  # which of the two is meant cannot be told


@pytest.mark.parametrize(
    ("ids", "known", "advice"),
    [
        (["MP-1", "MP-2"], MP, "in lower case 2 of 2 would match"),
        (["1", "2", "7"], MP, "with 'mp-' before them 2 of 3 would match"),
        (["mp-1.xyz", "mp-2.xyz"], MP, "without '.xyz' 2 of 2 would match"),
        (["mp_1", "mp_2"], MP, "with the same hyphens or underscores 2 of 2 would match"),
        (["1.0", "2.0"], ("1", "2"), "without the decimals '.0' 2 of 2 would match"),
        (["007", "008"], ("7", "8"), "without leading zeros 2 of 2 would match"),
        (["'mp-1'", "'mp-2'"], MP, "without quotation marks 2 of 2 would match"),
        (["oqmd-mp-1", "oqmd-mp-2"], MP, "without 'oqmd-' 2 of 2 would match"),
        (["mp-1", "mp-2"], ("mp-1-GGA", "mp-2-GGA"), "with '-GGA' after them 2 of 2 would match"),
        (["x", "y", "z", "w"], MP, "is it the file of another source"),
        (["mp-11", "mp-12", "mp-31"], ("mp-1", "mp-3", "mp-311"), "is it the file of another source"),
    ],
)
def test_ids_that_match_nothing_are_an_error_that_says_what_would(
    ids: list[str], known: Sequence[str], advice: str
) -> None:
    with pytest.raises(SourceError, match=advice) as caught:
        read("name,gap\n" + "".join(f"{name},{i}\n" for i, name in enumerate(ids)), known)
    text = str(caught.value)
    assert f"none of its {len(ids)} is: it has {', '.join(ids[:3])}" in text
    assert f"SOURCE has {', '.join(sorted(known)[:3])}" in text


def test_of_many_crystals_only_those_are_looked_at_whose_ids_begin_or_end_alike(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked_at: list[str] = []

    def affixes(text: str, name: str) -> list[object]:
        looked_at.append(name)
        return []

    monkeypatch.setattr("graphdb.matching._affixes", affixes)
    what_would_match(["mp-17"], CrystalIds([*(f"oqmd-{i}" for i in range(5000)), "mp-17-GGA", "x-mp-17", "17", "7-mp"]))
    assert sorted(looked_at) == ["17", "mp-17-GGA", "x-mp-17"]


def test_a_column_of_numbers_is_no_id_column_by_chance() -> None:
    with pytest.raises(SourceError, match="column 'num_sites' would match 2 of 3: name it material_id"):
        read("name,num_sites\nx,2\ny,4\nz,9\n", ["1", "2", "3", "4"])


def test_rows_for_other_crystals_are_counted_apart() -> None:
    table, matching = read("id,gap\na,1\nx,2\ny,3\nz.cif,inf\n")
    assert table.columns() == {"gap": {"a": 1.0}}
    assert (matching.num_rows, matching.num_crystals, matching.unmatched) == (4, 1, ("x", "y", "z.cif"))
    assert table.problems() == []
