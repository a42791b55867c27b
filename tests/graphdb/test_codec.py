"""Records and blocks: what was written comes back, and damage is noticed."""

import numpy as np
import pytest

from graphdb import codec
from graphdb.codec import decode_graph, encode_graph
from graphdb.errors import (
    CorruptRecord,
)
from tests.graphdb.randomgraphs import assert_same, random_graph


@pytest.mark.parametrize("nodes", [1, 2, 200, 300, 70_000])
@pytest.mark.parametrize(("large", "ones"), [(1, False), (1, True), (300, False), (70_000, True)])
def test_a_record_gives_back_the_graph_exactly(nodes: int, large: int, ones: bool) -> None:
    graph = random_graph(np.random.default_rng(nodes), nodes, large=large, ones=ones)
    record = encode_graph(graph)
    assert_same(decode_graph(record), graph)
    assert encode_graph(decode_graph(record)) == record


def test_any_flipped_bit_of_a_block_is_noticed() -> None:
    rng = np.random.default_rng(0)
    block = codec.encode_block([encode_graph(random_graph(rng, 2)) for _ in range(3)], 64)
    codec.block_records(block, 64, 3)
    for at in range(len(block)):
        damaged = bytearray(block)
        damaged[at] ^= 1 << (at % 8)
        with pytest.raises(CorruptRecord, match="crystal"):
            codec.block_records(bytes(damaged), 64, 3)
    with pytest.raises(CorruptRecord):
        codec.block_records(block, 128, 3)  # a block in another one's place
