"""Files of targets for tests."""

import io
from collections.abc import Sequence

from graphdb.errors import Reason
from graphdb.matching import CrystalIds
from graphdb.targetfile import Matching, TargetFile
from graphdb.targets import TargetTable

KNOWN = tuple("abcd")


def read(
    text: str | bytes, known: Sequence[str] = KNOWN, *, names: Sequence[str] | None = None
) -> tuple[TargetTable, Matching]:
    """The targets of a file for the crystals of a source."""
    table = TargetTable()
    content = io.BytesIO(text if isinstance(text, bytes) else text.encode())
    return table, TargetFile(content, "targets.csv", names=names).match(CrystalIds(known), table)


def notes(table: TargetTable) -> list[tuple[str, Reason]]:
    return [(note.material_id, note.reason) for note in table.problems()]


ROWS = [("mp-1", "1"), ("mp-2", "2"), ("mp-3", "3")]


MP = ("mp-1", "mp-2", "mp-3", "mp-10")


GAPS = {"gap": {"mp-1": 1.0, "mp-2": 2.0, "mp-3": 3.0}}


def csv_text(header: str, row: str) -> str:
    return header + "".join(row.format(i=i, id=name, gap=gap) + "\n" for i, (name, gap) in enumerate(ROWS))
