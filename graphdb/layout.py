"""The finished file: all graphs by id in blocks, columns of targets, and the description of it all."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphdb.codec import BLOCK_SIZE, encode_block, encode_column, record_sizes
from graphdb.entries import SKIPPED, read_skip
from graphdb.errors import NOTES, SkippedCrystal
from graphdb.fingerprint import FORMAT_VERSION, GraphsHash, targets_fingerprint
from graphdb.graphsettings import GraphSettings
from graphdb.shapes import Float
from graphdb.store import FORMAT_NAME, META_KEY, Property, block_key, target_key, write_items
from graphdb.versions import versions

_FINAL_BATCH_BYTES = 16 * 2**20


def lay_out(
    env: Any,
    settings: GraphSettings,
    found: Iterable[tuple[str, bytes, bytes, bytes]],
    columns: Mapping[str, Float[NDArray[np.float64], " crystals"]],
    units: Mapping[str, str],
    skipped: Sequence[SkippedCrystal],
) -> str:
    """Write every entry of the final file in the order of the keys, so that LMDB fills its pages.

    Args:
        env: of the file, which is empty.
        settings: of the graphs.
        found: what `entries.entries` gives.
        columns: targets by name, for the ids that have a graph; nan where unknown.
        units: by name of the column.
        skipped: all that was left out, and all notes, for the record.

    Returns:
        The fingerprint.
    """
    graphs = GraphsHash(settings)
    ids: list[str] = []
    digests: list[bytes] = []
    sizes: list[tuple[int, int, int]] = []
    skip_digests: dict[SkippedCrystal, bytes] = {}
    graph_digests: dict[str, bytes] = {}
    records: list[bytes] = []
    batch: list[tuple[bytes, bytes]] = []
    batch_bytes = 0

    def flush_block() -> None:
        nonlocal batch_bytes
        first = len(ids) - len(records)
        batch.append((block_key(first // BLOCK_SIZE), encode_block(records, first)))
        batch_bytes += len(batch[-1][1])
        records.clear()
        if batch_bytes > _FINAL_BATCH_BYTES:
            write_items(env, batch, append=True)
            batch.clear()
            batch_bytes = 0

    for material_id, digest, kind, payload in found:
        if kind == SKIPPED:
            skip_digests[read_skip(material_id, payload)] = digest
            continue
        ids.append(material_id)
        digests.append(digest)
        graph_digests[material_id] = digest
        sizes.append(record_sizes(payload))
        graphs.add(material_id, payload)
        records.append(payload)
        if len(records) == BLOCK_SIZE:
            flush_block()
    if records:
        flush_block()
    fingerprint = targets_fingerprint(graphs.hexdigest(), columns, units)
    num_skipped: dict[str, int] = {}
    num_noted: dict[str, int] = {}
    for skip in skipped:
        counts = num_noted if skip.reason in NOTES else num_skipped
        counts[skip.reason] = counts.get(skip.reason, 0) + 1
    meta = {
        "format": FORMAT_NAME,
        "format_version": FORMAT_VERSION,
        "finished": True,
        "settings": settings.as_dict(),
        "num_crystals": len(ids),
        "graphs_fingerprint": graphs.hexdigest(),
        "fingerprint": fingerprint,
        "properties": {name: _describe(columns[name], units[name]) for name in columns},
        "num_skipped": num_skipped,
        **({"num_noted": num_noted} if num_noted else {}),
        "created_by": versions("crystune", "pymatgen", "gemmi", "numpy"),
    }
    notes = [
        [
            *(s.material_id, s.reason, s.message, s.where),
            (graph_digests.get(s.material_id, b"") if s.reason in NOTES else skip_digests.get(s, b"")).hex(),
        ]
        for s in skipped
    ]
    entries = {
        b"digests": b"".join(digests),
        b"ids": "\n".join(ids).encode(),
        META_KEY: json.dumps(meta).encode(),
        b"sizes": np.array(sizes, "<i4").tobytes(),
        b"skipped": json.dumps(notes).encode(),
        **{target_key(name): values.astype("<f8").tobytes() for name, values in columns.items()},
    }
    batch.extend((key, encode_column(entries[key], key)) for key in sorted(entries))
    write_items(env, batch, append=True)
    return fingerprint


def _describe(values: NDArray[np.float64], unit: str) -> dict[str, Any]:
    known = values[~np.isnan(values)]
    if len(known) == 0:
        return {"unit": unit, "count": 0, "minimum": None, "maximum": None, "mean": None}
    mean = math.fsum(known) / len(known)
    return asdict(Property(unit, len(known), float(known.min()), float(known.max()), mean))
