"""Graphs as bytes: raw little-endian arrays in the narrowest integers that hold them, no pickle, no JSON.

A record is a header and six arrays; a block is a table of offsets and up to `BLOCK_SIZE` records, so that neither
LMDB's pages nor its keys cost much per crystal. Every record, every table of offsets and every column carries its
CRC-32, which is seeded with its place: a block in the place of another one is noticed too.
"""

import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphdb.errors import CorruptRecord
from graphdb.graph import CrystalGraph, FlatGraphs
from graphdb.shapes import Int

#: Graphs per block: blocks of about 50 kB fill LMDB's 4 kB pages to 95 %.
BLOCK_SIZE = 64

# num_atoms, nodes A, edges E; bytes per multiplicity, neighbor count and neighbor index; flags
_HEADER = struct.Struct("<IIIBBBB")
_CRC = struct.Struct("<I")
_COLUMN_HEAD = struct.Struct("<II")  # CRC-32, zero: keeps 8-byte numbers aligned
_ALL_WEIGHTS_ONE = 1
_UNSIGNED: dict[int, np.dtype[Any]] = {1: np.dtype("u1"), 2: np.dtype("<u2"), 4: np.dtype("<u4")}
_F4 = np.dtype("<f4")

_PADDING = (b"", b"\0\0\0", b"\0\0", b"\0")
"""By the remainder of a length divided by 4."""

Buffer = bytes | memoryview


def encode_graph(graph: CrystalGraph) -> bytes:
    """A graph as a record without checksum; equal graphs give equal bytes."""
    multiplicity = _narrow(graph.multiplicity)
    count = _narrow(graph.neighbor_count)
    index = _narrow(graph.neighbor_index)
    weight = graph.neighbor_weight.astype(_F4)
    flags = _ALL_WEIGHTS_ONE if (weight == 1).all() else 0
    widths = (multiplicity.itemsize, count.itemsize, index.itemsize)
    parts = [
        _HEADER.pack(graph.num_atoms, len(graph.atomic_numbers), len(graph.neighbor_index), *widths, flags),
        graph.neighbor_distance.astype(_F4).tobytes(),
        b"" if flags & _ALL_WEIGHTS_ONE else weight.tobytes(),
        multiplicity.tobytes(),
        count.tobytes(),
        index.tobytes(),
        graph.atomic_numbers.astype("u1").tobytes(),
    ]
    return b"".join(parts)


def decode_graph(record: Buffer) -> CrystalGraph:
    """The graph of a record; its arrays are copies, so that the record's memory may go."""
    num_atoms, distance, weight, multiplicity, count, index, numbers = _views(record)
    return CrystalGraph(
        num_atoms=num_atoms,
        atomic_numbers=numbers.copy(),
        multiplicity=multiplicity.astype(np.int32),
        neighbor_count=count.astype(np.int32),
        neighbor_index=index.astype(np.int32),
        neighbor_distance=distance.astype(np.float32),
        neighbor_weight=np.ones(len(distance), np.float32) if weight is None else weight.astype(np.float32),
    )


def record_sizes(record: Buffer) -> tuple[int, int, int]:
    """Atoms in the cell, nodes and edges of a record."""
    num_atoms, nodes, edges, *_ = _HEADER.unpack_from(record)
    return num_atoms, nodes, edges


def _views(record: Buffer) -> tuple[Any, ...]:
    """Arrays that look into the record: distance, weight (None: all 1), multiplicity, count, index, atomic numbers."""
    num_atoms, nodes, edges, wide_multiplicity, wide_count, wide_index, flags = _HEADER.unpack_from(record)
    at = _HEADER.size
    distance = np.frombuffer(record, _F4, edges, at)
    at += 4 * edges
    weight = None
    if not flags & _ALL_WEIGHTS_ONE:
        weight = np.frombuffer(record, _F4, edges, at)
        at += 4 * edges
    multiplicity = np.frombuffer(record, _UNSIGNED[wide_multiplicity], nodes, at)
    at += wide_multiplicity * nodes
    count = np.frombuffer(record, _UNSIGNED[wide_count], nodes, at)
    at += wide_count * nodes
    index = np.frombuffer(record, _UNSIGNED[wide_index], edges, at)
    at += wide_index * edges
    return num_atoms, distance, weight, multiplicity, count, index, np.frombuffer(record, np.uint8, nodes, at)


def _narrow(values: NDArray[Any]) -> NDArray[Any]:
    """The same whole numbers in 1, 2 or 4 bytes each, whichever is the least."""
    largest = int(values.max()) if len(values) else 0
    return values.astype(_UNSIGNED[1 if largest < 2**8 else 2 if largest < 2**16 else 4])


def encode_block(records: Sequence[bytes], first: int) -> bytes:
    """Records of the crystals ``first``, ``first + 1``, ... in one piece: CRC of the table, offsets, records."""
    table_end = _CRC.size + 4 * (len(records) + 1)
    sealed = [_CRC.pack(zlib.crc32(record, first + i)) + record for i, record in enumerate(records)]
    lengths = [table_end, *(len(record) for record in sealed)]
    table = np.cumsum(lengths).astype("<u4").tobytes()
    return b"".join([_CRC.pack(zlib.crc32(table, first)), table, *sealed])


def block_records(block: Buffer, first: int, num_records: int, which: range | None = None) -> list[memoryview]:
    """The records of a block, checked; they look into the block's memory.

    Args:
        block: what `encode_block` gave.
        first: index of its first crystal.
        num_records: how many it holds.
        which: positions in the block; None for all of them.

    Raises:
        CorruptRecord: if a byte of what is asked for has changed.
    """
    view = memoryview(block)
    table_end = _CRC.size + 4 * (num_records + 1)
    table = view[_CRC.size : table_end]
    if len(table) != 4 * (num_records + 1) or zlib.crc32(table, first) != _CRC.unpack_from(view)[0]:
        raise CorruptRecord(f"the table of the block of crystals {first} to {first + num_records - 1} is damaged")
    offsets = np.frombuffer(table, "<u4")
    records = []
    for i in which if which is not None else range(num_records):
        start, stop = int(offsets[i]), int(offsets[i + 1])
        record = view[start + _CRC.size : stop]
        if stop > len(view) or zlib.crc32(record, first + i) != _CRC.unpack_from(view, start)[0]:
            raise CorruptRecord(f"the record of crystal {first + i} is damaged")
        records.append(record)
    return records


def encode_column(payload: Buffer, key: bytes) -> bytes:
    """Bytes with their checksum in front."""
    return _COLUMN_HEAD.pack(zlib.crc32(payload, zlib.crc32(key)), 0) + payload


def decode_column(value: Buffer, key: bytes) -> memoryview:
    """The bytes that `encode_column` was given under the same key; they look into the value's memory.

    Raises:
        CorruptRecord: if they have changed.
    """
    if len(value) < _COLUMN_HEAD.size:
        raise CorruptRecord(f"the entry {key.decode()!r} is cut off")
    payload = memoryview(value)[_COLUMN_HEAD.size :]
    if zlib.crc32(payload, zlib.crc32(key)) != _COLUMN_HEAD.unpack_from(value)[0]:
        raise CorruptRecord(f"the entry {key.decode()!r} is damaged")
    return payload


class FlatBuilder:
    """Decodes records straight into arrays whose sizes are known, many at a time."""

    def __init__(self, sizes: Int[NDArray[np.int32], "crystals 3"]) -> None:
        """Make room.

        Args:
            sizes: atoms in the cell, nodes and edges of each crystal to come.
        """
        zero = np.zeros((1, 2), np.int64)
        ends = np.concatenate([zero, np.cumsum(sizes[:, 1:], axis=0, dtype=np.int64)])
        nodes, edges = ends[-1]
        self._filled = 0
        self._flat = FlatGraphs(
            num_atoms=sizes[:, 0].astype(np.int32),
            atom_ptr=ends[:, 0].copy(),
            edge_ptr=ends[:, 1].copy(),
            atomic_numbers=np.empty(nodes, np.uint8),
            multiplicity=np.empty(nodes, np.int32),
            neighbor_count=np.empty(nodes, np.int32),
            neighbor_index=np.empty(edges, np.int32),
            neighbor_distance=np.empty(edges, np.float32),
            neighbor_weight=np.ones(edges, np.float32),
        )

    def add(self, records: Sequence[Buffer]) -> None:
        """Decode the next crystals: the more at a time, the less each costs."""
        if not records:
            return
        flat, these = self._flat, slice(self._filled, self._filled + len(records))
        self._filled += len(records)
        nodes = np.diff(flat.atom_ptr[these.start : these.stop + 1])
        edges = np.diff(flat.edge_ptr[these.start : these.stop + 1])
        # Each record begins at a multiple of 4, so that its numbers of 4 bytes do.
        joined = b"".join(part for record in records for part in (record, _PADDING[len(record) % 4]))
        lengths = np.array([len(record) for record in records])
        lengths += -lengths % 4
        text = np.frombuffer(joined, np.uint8)
        at = np.cumsum(lengths) - lengths
        head = text[at[:, None] + np.arange(_HEADER.size - 4, _HEADER.size)]
        wide_multiplicity, wide_count, wide_index, flags = head.astype(np.int64).T
        at += _HEADER.size
        words = text.view(_F4)
        to_nodes, to_edges = flat.atom_ptr[these], flat.edge_ptr[these]
        node, edge = slice(to_nodes[0], to_nodes[0] + nodes.sum()), slice(to_edges[0], to_edges[0] + edges.sum())
        flat.neighbor_distance[edge] = words[_ranges(at // 4, edges)]
        at += 4 * edges
        weighted = flags & _ALL_WEIGHTS_ONE == 0
        if weighted.any():
            rows = _ranges(to_edges[weighted], edges[weighted])
            flat.neighbor_weight[rows] = words[_ranges(at[weighted] // 4, edges[weighted])]
            at += 4 * edges * weighted
        for into, widths, counts in (
            (flat.multiplicity[node], wide_multiplicity, nodes),
            (flat.neighbor_count[node], wide_count, nodes),
            (flat.neighbor_index[edge], wide_index, edges),
        ):
            _read_integers(into, text, at, counts, widths)
            at += widths * counts
        flat.atomic_numbers[node] = text[_ranges(at, nodes)]

    def finish(self) -> FlatGraphs:
        """The arrays, once every crystal was added."""
        assert self._filled == len(self._flat.num_atoms)
        return self._flat


def decode_graphs(records: Sequence[Buffer]) -> FlatGraphs:
    """The graphs of some records, end to end."""
    builder = FlatBuilder(np.array([record_sizes(record) for record in records], np.int32).reshape(-1, 3))
    builder.add(records)
    return builder.finish()


def _ranges(start: NDArray[np.int64], count: NDArray[np.int64]) -> NDArray[np.int64]:
    """``start[0], start[0] + 1, ...`` (count[0] of them), ``start[1], ...``."""
    return np.repeat(start - np.cumsum(count) + count, count) + np.arange(count.sum())


def _read_integers(
    into: NDArray[np.int32],
    text: NDArray[np.uint8],
    at: NDArray[np.int64],
    count: NDArray[np.int64],
    width: NDArray[np.int64],
) -> None:
    """Fill an array with so many integers of each record, which begin there and take 1, 2 or 4 bytes."""
    to = np.cumsum(count) - count
    for size, kind in _UNSIGNED.items():
        these = width == size
        if these.any():
            found = text[_ranges(at[these], size * count[these])].view(kind)
            into[_ranges(to[these], count[these])] = found
