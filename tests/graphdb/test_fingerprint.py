"""Fingerprints: those of stores that are there must not change."""

import pytest

from graphdb.fingerprint import GraphsHash
from graphdb.graphsettings import GraphSettings, HardNeighbors, SoftNeighbors


@pytest.mark.parametrize(
    ("settings", "fingerprint"),
    [
        (SoftNeighbors(), "6edfa25a73da13294e3ae6cad3fd7c885cdbc903d2bcc4e9556145e24cd14c71"),
        (HardNeighbors(), "a16b9eb20df56681252eae5d2d6947b7390e71cea14ad58b5c42bac6d8788137"),
    ],
)
def test_the_same_graphs_have_the_fingerprint_that_version_0_1_0_gave_them(
    settings: GraphSettings, fingerprint: str
) -> None:
    graphs = GraphsHash(settings)
    graphs.add("salt", b"record")
    assert graphs.hexdigest() == fingerprint
