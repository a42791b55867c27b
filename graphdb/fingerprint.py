"""Fingerprints: what a store holds, in 64 hexadecimal digits.

They tell nothing of how a store was built: number of workers, order of arrival and interruptions leave no trace.
"""

import hashlib
import json
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from graphdb.graphsettings import GraphSettings

FORMAT_VERSION = 1
"""Of the store's entries and records; see docs/data-format.md. Any change of them raises it (tests pin the layout)."""


class GraphsHash:
    """Fingerprint of ids, settings and graphs: SHA-256 over them in the order of the ids."""

    def __init__(self, settings: GraphSettings) -> None:
        """Begin with the settings."""
        self._hash = hashlib.sha256(json.dumps([FORMAT_VERSION, settings.as_dict()], sort_keys=True).encode())

    def add(self, material_id: str, record: bytes) -> None:
        """Take in the next crystal."""
        name = material_id.encode()
        self._hash.update(len(name).to_bytes(4, "little") + len(record).to_bytes(4, "little") + name + record)

    def hexdigest(self) -> str:
        """The fingerprint of what was added so far."""
        return self._hash.hexdigest()


def targets_fingerprint(
    graphs_fingerprint: str, columns: Mapping[str, NDArray[np.float64]], units: Mapping[str, str]
) -> str:
    """Fingerprint of a whole store: its graphs and its targets, by name."""
    digest = hashlib.sha256(graphs_fingerprint.encode())
    for name in sorted(columns):
        values = np.where(np.isnan(columns[name]), np.nan, columns[name])  # one bit pattern for all unknowns
        digest.update(json.dumps([name, units[name]]).encode() + values.astype("<f8").tobytes())
    return digest.hexdigest()
