"""Ids that come again: the file that had them first, in little memory."""

import tracemalloc

import pytest

from graphdb import repeats
from graphdb.repeats import FirstFiles


@pytest.mark.parametrize("fewest", [0, 3, 4096])
def test_each_id_has_the_file_that_it_came_from_first(fewest: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeats, "_FEWEST", fewest)
    files, expected = FirstFiles(), dict[str, int]()
    for file in range(5):
        for number in range(0, 300, file + 1):
            material_id = f"mp-{number * (file + 1) % 211}"
            assert files.first(material_id, file) == expected.setdefault(material_id, file)


def test_a_hundred_thousand_ids_take_25_bytes_each() -> None:
    number = 100_000
    tracemalloc.start()
    try:
        files = FirstFiles()
        for i in range(number):
            files.first(f"mp-{i}", 0)
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size < 25 * number
    assert files.first("mp-5", 1) == 0
